//! The simple world: `millstream:record-operator`, one call per record.
//!
//! Records succeed or fail one by one: what a failed one staged is undone to its mark, it is rejected, and the next goes on from there. State is
//! merged record by record, so that each sees what the one before wrote; that is why a call ends with an error only if the pipeline stops.

mod imports;

pub(crate) use imports::add_to_linker;

use crate::columnar::Instance;
use crate::factory::Configured;
use crate::outcome;
use crate::ticker::ticks;
use millstream_engine::call::Call;
use millstream_engine::ports::{CallError, Operator};
use millstream_model::record::RecordBatch;
use std::fmt;
use std::sync::Arc;
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
}

type Process<'a> = TypedFunc<(Option<&'a [u8]>, Option<&'a [u8]>, i64), (Result<(), String>,)>;

/// What became of one record.
enum Outcome {
    Done,
    /// The record is refused; the instance is as it was.
    Rejected(String),
    /// The call did not return: the instance is gone.
    Failed(CallError),
}

impl Simple {
    pub(crate) fn new(configured: Arc<Configured>, instance: Instance) -> Self {
        Self { configured, instance: Some(instance) }
    }

    /// Processes rows with one instance until it breaks; returns the row to go on with.
    fn run(
        &mut self,
        call: &mut Box<Call>,
        batch: &RecordBatch,
        first: u32,
        emitted: &mut u64,
    ) -> Result<u32, CallError> {
        let mut instance = match self.instance.take().map_or_else(|| self.configured.open_simple(), Ok) {
            Ok(instance) => instance,
            Err(error) => return Err(CallError::Host(error.to_string())),
        };
        let process: Process<'_> =
            instance.process.typed(&instance.store).map_err(|error| CallError::Host(error.to_string()))?;
        let limits = &call.rules.limits;
        let record_ms = limits.batch_time_ms + limits.record_time_us.div_ceil(1_000);
        let limit_ms = record_ms.min(call.time_limit_ms);
        let output_bytes_max = limits.output_bytes_max;
        for row in first..batch.len() as u32 {
            let mark = call.mark_staged();
            let full = *emitted > output_bytes_max.saturating_mul(BATCH_OUTPUTS_FACTOR);
            call.staged.output_bytes = if full { output_bytes_max } else { 0 };
            let before = call.staged.output_bytes;
            match instance.record(&process, call, batch, row, limit_ms) {
                Outcome::Done => {
                    *emitted += call.staged.output_bytes - before;
                    call.apply_state();
                }
                Outcome::Rejected(reason) => refuse(call, mark, row, &reason)?,
                Outcome::Failed(error @ (CallError::Stop(_) | CallError::Host(_))) => return Err(error),
                Outcome::Failed(error) => {
                    refuse(call, mark, row, &reason(error))?;
                    return Ok(row + 1);
                }
            }
        }
        self.instance = Some(instance);
        Ok(batch.len() as u32)
    }
}

impl Operator for Simple {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let batch = Arc::clone(&call.batch);
        let configured = Arc::clone(&self.configured);
        let _running = configured.ticker().run();
        let (mut row, mut emitted) = (0, 0);
        while row < batch.len() as u32 {
            match self.run(&mut call, &batch, row, &mut emitted) {
                Ok(next) => row = next,
                Err(error) => return (call, Err(error)),
            }
        }
        (call, Ok(()))
    }
}

/// Undoes what a record staged and refuses it.
fn refuse(call: &mut Call, mark: u32, row: u32, reason: &str) -> Result<(), CallError> {
    call.undo_to(mark).and_then(|()| call.reject(row, reason)).map_err(CallError::from)
}

/// The reason of a rejection.
fn reason(error: CallError) -> String {
    match error {
        CallError::Reject(rows) => rows.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

impl Instance {
    fn record<'b>(
        &mut self,
        process: &Process<'b>,
        call: &mut Box<Call>,
        batch: &'b RecordBatch,
        row: u32,
        limit_ms: u64,
    ) -> Outcome {
        let store = &mut self.store;
        let host = store.data_mut();
        host.record.row = row;
        host.begin(std::mem::take(call));
        store.set_epoch_deadline(ticks(limit_ms));
        let time = batch.timestamps_ms.get(row as usize).copied().unwrap_or_default();
        let returned = process.call(&mut *store, (batch.keys.get(row), batch.values.get(row), time));
        match store.data_mut().end() {
            Some(back) => *call = back,
            None => return Outcome::Failed(CallError::Host("the call was lost inside its operator".to_owned())),
        }
        match returned {
            Ok((Ok(()),)) => Outcome::Done,
            Ok((Err(reason),)) => Outcome::Rejected(reason),
            Err(error) => Outcome::Failed(outcome::call_error(&error, &store.data().log, limit_ms)),
        }
    }
}
