//! Windows as the columnar world has them.

use super::Instance;
use super::wire::{Failure, FiringIn, WindowsIn};
use crate::allowance;
use millstream_engine::call::Call;
use wasmtime::Result;

impl Instance {
    /// Has the operator turn windows into outputs.
    pub(super) fn fire_windows(&mut self, call: Box<Call>, limit_ms: u64) -> Result<std::result::Result<(), Failure>> {
        let Self { store, on_windows, .. } = self;
        let fired = call.window.clone();
        store.data_mut().begin(call);
        let Some(on_windows) = on_windows else { wasmtime::bail!("the module does not export `windows`") };
        let Some(fired) = fired else { wasmtime::bail!("no window fires") };
        allowance::grant(store, limit_ms);
        let on_windows = on_windows.typed::<(WindowsIn<'_>, FiringIn), (std::result::Result<(), Failure>,)>(&*store)?;
        let windows = WindowsIn { starts_ms: &fired.starts_ms, ends_ms: &fired.ends_ms };
        let (result,) = on_windows.call(store, (windows, fired.firing.into()))?;
        Ok(result)
    }
}
