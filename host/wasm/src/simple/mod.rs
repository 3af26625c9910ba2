//! The simple world: `millstream:record-operator`, one call per record.
//!
//! Records succeed or fail one by one: what a failed one staged is undone to its mark, it is rejected, and the next goes on from there. State is
//! merged record by record, so that each sees what the one before wrote; that is why a call ends with an error only if the pipeline stops.

mod imports;

pub(crate) use imports::add_to_linker;

use crate::allowance;
use crate::columnar::{Instance, origin};
use crate::factory::Configured;
use crate::host::Host;
use crate::outcome;
use crate::restarts::Restarts;
use millstream_engine::call::Call;
use millstream_engine::ports::{CallError, Operator};
use millstream_model::record::RecordBatch;
use std::fmt;
use std::sync::Arc;
use tracing::Level;
use wasmtime::component::TypedFunc;

/// Name of the one state: an ordered map from names to bytes.
pub(crate) const STATE: &str = "state";

/// Outputs of a whole batch, as a multiple of what one record may emit: beyond it, records that emit are rejected. It takes more than that
/// many times the bytes of the batch itself to get there.
const BATCH_OUTPUTS_FACTOR: u64 = 8;

/// The guest asked to stop the pipeline.
#[derive(Debug)]
pub(crate) struct StopRequest(pub(crate) String);

impl fmt::Display for StopRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked to stop: {}", self.0)
    }
}

impl std::error::Error for StopRequest {}

/// An operator of the simple world on one worker.
pub(crate) struct Simple {
    configured: Arc<Configured>,
    instance: Option<Instance>,
    restarts: Restarts,
}

type Process<'a> = TypedFunc<(Option<&'a [u8]>, Option<&'a [u8]>, i64), (Result<(), String>,)>;

/// How far a run of records came.
enum Progress {
    /// To the end of the batch.
    Done,
    /// The instance broke at a record, which is refused; this is the next one.
    Broken(u32),
}

impl Simple {
    pub(crate) fn new(configured: Arc<Configured>, instance: Instance) -> Self {
        Self { configured, instance: Some(instance), restarts: Restarts::default() }
    }

    /// Processes rows from `first` on with one instance, until it breaks.
    fn run(&mut self, call: Box<Call>, first: u32, emitted: &mut u64) -> (Box<Call>, Result<Progress, CallError>) {
        if self.instance.is_none() {
            self.configured.pause(&self.restarts);
        }
        let mut instance = match self.instance.take().map_or_else(|| self.configured.open_simple(), Ok) {
            Ok(instance) => instance,
            Err(error) => return (call, Err(CallError::Host(error.to_string()))),
        };
        let batch = Arc::clone(&call.batch);
        let limits = &call.rules.limits;
        let record_ms = limits.batch_time_ms + limits.record_time_us.div_ceil(1_000);
        let limit_ms = record_ms.min(call.time_limit_ms);
        instance.store.data_mut().begin(call);
        let progress = instance.records(&batch, first, limit_ms, emitted);
        let Some(call) = instance.store.data_mut().end() else {
            return (Box::default(), Err(lost()));
        };
        match progress {
            Ok(Progress::Done) => {
                self.restarts.worked();
                self.instance = Some(instance);
            }
            Ok(Progress::Broken(next)) => {
                if next > first + 1 {
                    self.restarts.worked();
                }
                self.restarts.broke();
            }
            Err(_) => {}
        }
        (call, progress)
    }
}

impl Operator for Simple {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let configured = Arc::clone(&self.configured);
        let _running = configured.ticker().run();
        let (mut row, mut emitted) = (0, 0);
        loop {
            let (back, progress) = self.run(call, row, &mut emitted);
            call = back;
            match progress {
                Ok(Progress::Done) => return (call, Ok(())),
                Ok(Progress::Broken(next)) => row = next,
                Err(error) => return (call, Err(error)),
            }
        }
    }
}

fn lost() -> CallError {
    CallError::Host("the call was lost inside its operator".to_owned())
}

/// The reason of a rejection.
fn reason(error: CallError) -> String {
    match error {
        CallError::Reject(rows) => rows.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

impl Instance {
    /// Processes rows one by one; the call is in the store meanwhile.
    fn records(
        &mut self,
        batch: &RecordBatch,
        first: u32,
        limit_ms: u64,
        emitted: &mut u64,
    ) -> Result<Progress, CallError> {
        let store = &mut self.store;
        let process: Process<'_> = self.process.typed(&*store).map_err(|error| CallError::Host(error.to_string()))?;
        for row in first..batch.len() as u32 {
            let before = store.data_mut().begin_record(row, *emitted).ok_or_else(lost)?;
            allowance::grant_unread(store, limit_ms);
            let time_ms = batch.timestamps_ms.get(row as usize).copied().unwrap_or_default();
            let returned = process.call(&mut *store, (batch.keys.get(row), batch.values.get(row), time_ms));
            let (refusal, broken) = match returned {
                Ok((Ok(()),)) => {
                    *emitted += store.data_mut().keep_record(before.output_bytes).ok_or_else(lost)?;
                    continue;
                }
                Ok((Err(reason),)) => (reason, false),
                Err(error) => match outcome::call_error(&error, store.data(), limit_ms) {
                    error @ (CallError::Stop(_) | CallError::Host(_)) => return Err(error),
                    error => (reason(error), true),
                },
            };
            if broken {
                let line = format!("the record is refused: it {refusal}");
                store.data_mut().line_of(row, &line);
            }
            let call = store.data_mut().call().map_err(|_| lost())?;
            call.undo_to(before.mark).and_then(|()| call.reject(row, &refusal)).map_err(CallError::from)?;
            if broken {
                return Ok(Progress::Broken(row + 1));
            }
        }
        Ok(Progress::Done)
    }
}

/// Where a record began.
struct Before {
    mark: u32,
    output_bytes: u64,
}

impl Host {
    /// Logs why a record broke the instance.
    fn line_of(&mut self, row: u32, text: &str) {
        let log = Arc::clone(&self.log);
        let origin = self.call().and_then(|call| origin(call, row)).unwrap_or_default();
        log.line(Level::WARN, origin, text);
    }

    /// Gets ready for a record. The limit of outputs is for each record; once the batch is full, none is left.
    fn begin_record(&mut self, row: u32, emitted: u64) -> Option<Before> {
        self.record.row = row;
        self.log.begin_call();
        let call = self.call().ok()?;
        let mark = call.mark_staged();
        let bytes_max = call.rules.limits.output_bytes_max;
        let full = emitted > bytes_max.saturating_mul(BATCH_OUTPUTS_FACTOR);
        let output_bytes = if full { bytes_max } else { 0 };
        call.staged.output_bytes = output_bytes;
        self.grant_budget();
        Some(Before { mark, output_bytes })
    }

    /// Merges what a record did, and tells how many bytes it emitted.
    fn keep_record(&mut self, output_bytes_before: u64) -> Option<u64> {
        let call = self.call().ok()?;
        call.apply_state();
        Some(call.staged.output_bytes - output_bytes_before)
    }
}
