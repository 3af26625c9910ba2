//! Timers as the columnar world has them.

use super::Instance;
use super::imports::{Store, request};
use super::wire::{Failure, TimersIn};
use crate::allowance;
use crate::host::Host;
use millstream_engine::call::Call;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{LinkerInstance, WasmList};

/// What a change of a timer costs the host.
const TIMER_BYTES: usize = 64;

/// Adds what is staged of timers to `effects`.
pub(super) fn add(effects: &mut LinkerInstance<'_, Host>) -> Result<()> {
    effects.func_wrap(
        "set-timers",
        |mut store: Store<'_>, (timer, key_rows, ids, times_ms): (u32, WasmList<u32>, WasmList<u64>, WasmList<i64>)| {
            store.data_mut().spend(key_rows.len() * TIMER_BYTES)?;
            request(&mut store, |call, memory| {
                let (ids, times_ms) = (ids.as_le_slice(memory), times_ms.as_le_slice(memory));
                call.set_timers(timer, key_rows.as_le_slice(memory), ids, times_ms)
            })
        },
    )?;
    effects.func_wrap(
        "cancel-timers",
        |mut store: Store<'_>, (timer, key_rows, ids): (u32, WasmList<u32>, WasmList<u64>)| {
            store.data_mut().spend(key_rows.len() * TIMER_BYTES)?;
            request(&mut store, |call, memory| {
                call.cancel_timers(timer, key_rows.as_le_slice(memory), ids.as_le_slice(memory))
            })
        },
    )
}

impl Instance {
    /// Has the operator handle timers.
    pub(super) fn fire(&mut self, call: Box<Call>, limit_ms: u64) -> Result<std::result::Result<(), Failure>> {
        let Self { store, on_timers, .. } = self;
        let (fired, batch) = (call.fired.clone().unwrap_or_default(), Arc::clone(&call.batch));
        store.data_mut().begin(call);
        let Some(on_timers) = on_timers else { wasmtime::bail!("the module does not export `timers`") };
        allowance::grant(store, limit_ms);
        let on_timers = on_timers.typed::<(TimersIn<'_>,), (std::result::Result<(), Failure>,)>(&*store)?;
        let timers = TimersIn { timers: &fired.timers, ids: &fired.ids, times_ms: &batch.timestamps_ms };
        let (result,) = on_timers.call(store, (timers,))?;
        Ok(result)
    }
}
