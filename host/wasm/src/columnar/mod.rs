//! The columnar world: `millstream:operator/stream-operator`.

mod described;
mod descriptor;
mod imports;
mod state;
mod timers;
mod windows;
mod wire;

pub(crate) use described::{CatalogEntryOut, DescriptorOut};
pub(crate) use descriptor::{check_names, check_outputs};
pub(crate) use imports::{add_to_linker, origin, request, write_line};
pub(crate) use wire::{LentParts, LogLevel};

use crate::allowance;
use crate::factory::Configured;
use crate::host::Host;
use crate::outcome;
use crate::restarts::Restarts;
use millstream_engine::call::Call;
use millstream_engine::ports::{CallError, OldValues, Operator};
use millstream_model::column::BytesColumn;
use std::sync::Arc;
use tracing::Level;
use wasmtime::Store;
use wasmtime::component::Func;
use wire::{BatchIn, ColumnIn, ColumnResult, Failure, RejectionResult};

/// An operator of the columnar world on one worker.
pub(crate) struct Columnar {
    configured: Arc<Configured>,
    /// None after a call that left the instance in an unknown state; the next call makes a new one.
    instance: Option<Instance>,
    restarts: Restarts,
    key_rows: Vec<u32>,
}

/// An open instance.
pub(crate) struct Instance {
    pub(crate) store: Store<Host>,
    pub(crate) process: Func,
    /// The optional export `migration.migrate`.
    pub(crate) migrate: Option<Func>,
    /// The optional export `broadcast-input.process-broadcast`.
    pub(crate) broadcast: Option<Func>,
    /// The optional export `timers.on-timers`.
    pub(crate) on_timers: Option<Func>,
    /// The optional export `windows.on-windows`.
    pub(crate) on_windows: Option<Func>,
}

impl Columnar {
    pub(crate) fn new(configured: Arc<Configured>, instance: Instance) -> Self {
        Self { configured, instance: Some(instance), restarts: Restarts::default(), key_rows: Vec::new() }
    }

    fn instance(&mut self) -> Result<Instance, CallError> {
        if let Some(instance) = self.instance.take() {
            return Ok(instance);
        }
        self.configured.pause(&self.restarts);
        self.configured.open_columnar().map_err(|error| CallError::Host(error.to_string()))
    }

    /// Takes the call back from an instance, and tells what became of it.
    fn finish(
        &mut self,
        mut instance: Instance,
        returned: wasmtime::Result<Result<(), Failure>>,
        (rows, limit_ms): (usize, u64),
    ) -> (Box<Call>, Result<(), CallError>) {
        let Some(call) = instance.store.data_mut().end() else {
            return (Box::default(), Err(CallError::Host("the call was lost inside its operator".to_owned())));
        };
        let is_broken = returned.is_err();
        let result = match returned {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(failure.into_error(rows)),
            Err(error) => Err(outcome::call_error(&error, instance.store.data(), limit_ms)),
        };
        self.put_back(instance, is_broken, &result);
        (call, result)
    }

    /// Keeps an instance that can go on, and drops one that cannot: why is a line of its log.
    fn put_back<T>(&mut self, instance: Instance, is_broken: bool, result: &Result<T, CallError>) {
        match result {
            Err(error) if is_broken || matches!(error, CallError::Trap { .. }) => {
                self.restarts.broke();
                if !error.names_its_rows() {
                    instance.store.data().log.line(Level::WARN, None, &format!("the call is dropped: it {error}"));
                }
            }
            _ => {
                self.restarts.worked();
                self.instance = Some(instance);
            }
        }
    }
}

impl Operator for Columnar {
    fn process(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let mut instance = match self.instance() {
            Ok(instance) => instance,
            Err(error) => return (call, Err(error)),
        };
        self.key_rows.clone_from(&call.key_rows);
        let batch = Arc::clone(&call.batch);
        let (limit_ms, rows) = (call.time_limit_ms, batch.len());
        let columns = BatchIn {
            input: call.input,
            key_rows: &self.key_rows,
            timestamps_ms: &batch.timestamps_ms,
            values: (&batch.values).into(),
        };
        let running = self.configured.ticker().run();
        let returned = instance.call(call, columns, limit_ms);
        drop(running);
        self.finish(instance, returned, (rows, limit_ms))
    }

    fn on_timers(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let mut instance = match self.instance() {
            Ok(instance) => instance,
            Err(error) => return (call, Err(error)),
        };
        let (limit_ms, rows) = (call.time_limit_ms, call.batch.len());
        let running = self.configured.ticker().run();
        let returned = instance.fire(call, limit_ms);
        drop(running);
        self.finish(instance, returned, (rows, limit_ms))
    }

    fn on_windows(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let mut instance = match self.instance() {
            Ok(instance) => instance,
            Err(error) => return (call, Err(error)),
        };
        let (limit_ms, rows) = (call.time_limit_ms, call.batch.len());
        let running = self.configured.ticker().run();
        let returned = instance.fire_windows(call, limit_ms);
        drop(running);
        self.finish(instance, returned, (rows, limit_ms))
    }

    fn migrate(&mut self, old: OldValues<'_>) -> Result<BytesColumn, CallError> {
        let mut instance = self.instance()?;
        let running = self.configured.ticker().run();
        let returned = instance.migrate(old);
        drop(running);
        let is_broken = returned.is_err();
        let result = match returned {
            Ok(Ok(new)) => new.checked().map_err(|error| CallError::Trap {
                reason: format!("`migrate` returned no column: {error}"),
                backtrace: None,
            }),
            Ok(Err(failure)) => Err(failure.into_error(old.values.len())),
            Err(error) => Err(outcome::call_error(&error, instance.store.data(), old.time_limit_ms)),
        };
        self.put_back(instance, is_broken, &result);
        result
    }
}

impl Instance {
    fn migrate(&mut self, old: OldValues<'_>) -> wasmtime::Result<Result<ColumnResult, Failure>> {
        let Self { store, migrate, .. } = self;
        let Some(migrate) = migrate else { wasmtime::bail!("the module does not export `migration`") };
        store.data_mut().begin_migration();
        allowance::grant(store, old.time_limit_ms);
        let migrate = migrate.typed::<(u32, u32, ColumnIn<'_>), (Result<ColumnResult, Failure>,)>(&*store)?;
        let (result,) = migrate.call(store, (old.state, old.from_version, old.values.into()))?;
        Ok(result)
    }

    fn call(&mut self, call: Box<Call>, batch: BatchIn<'_>, limit_ms: u64) -> wasmtime::Result<Result<(), Failure>> {
        let Self { store, process, broadcast, .. } = self;
        let is_broadcast = call.is_broadcast();
        store.data_mut().begin(call);
        let process = match broadcast {
            _ if !is_broadcast => process,
            Some(broadcast) => broadcast,
            None => wasmtime::bail!("the module does not export `broadcast-input`"),
        };
        allowance::grant(store, limit_ms);
        let process = process.typed::<(BatchIn<'_>,), (Result<(), Failure>,)>(&*store)?;
        let (result,) = process.call(store, (batch,))?;
        Ok(result)
    }
}

impl Failure {
    fn into_error(self, rows: usize) -> CallError {
        match self {
            Self::Retry(reason) => CallError::Retry(reason),
            Self::Stop(reason) => CallError::Stop(reason),
            Self::Reject(rejections) => match check_rejections(&rejections, rows) {
                Ok(()) => CallError::Reject(rejections.into_iter().map(|r| (r.row, r.reason)).collect()),
                Err(reason) => CallError::Trap { reason, backtrace: None },
            },
        }
    }
}

fn check_rejections(rejections: &[RejectionResult], rows: usize) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    if rejections.is_empty() {
        return Err("it failed with `reject` and named no row".to_owned());
    }
    for rejection in rejections {
        if rejection.row as usize >= rows {
            return Err(format!("it rejected row {}, the batch has {rows} rows", rejection.row));
        }
        if !seen.insert(rejection.row) {
            return Err(format!("it rejected row {} twice", rejection.row));
        }
    }
    Ok(())
}
