//! Windows: what an operator makes of one that fires.

use crate::{Context, Operator, Result, record::Call};

/// Why a window fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firing {
    /// Ahead of its end, because the pipeline file asks for early results; it will fire again.
    Early,
    /// The watermark has passed its end. Once per window that holds anything.
    OnTime,
    /// Records have arrived since it fired, within the lateness that the pipeline file allows.
    Late,
}

/// An operator that works inside windows: the pipeline file says which. Named in the export macro: `"sum": Sum with OnWindow`.
///
/// A window is part of the key: `process` folds the record into the states it declares, which are those of a key in a window, and may neither emit nor set timers. Once the window fires,
/// `on_window` reads them and emits. The host removes them when the window is over.
///
/// ```
/// use millstream_sdk::*;
///
/// /// Adds up amounts.
/// struct Sum { sum: Value<u64>, sums: Output }
///
/// impl Operator for Sum {
///     fn open(setup: &mut Setup) -> Result<Self> {
///         Ok(Self { sum: setup.value("sum"), sums: setup.output("sums") })
///     }
///     fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
///         let amount: u64 = record.text()?.parse()?;
///         let before = self.sum.get(ctx)?.unwrap_or_default();
///         self.sum.set(ctx, &(before + amount));
///         Ok(())
///     }
/// }
///
/// impl OnWindow for Sum {
///     fn on_window(&self, _: &Window, ctx: &mut Context) -> Result<()> {
///         let sum = self.sum.get(ctx)?.unwrap_or_default();
///         ctx.emit_display(self.sums, sum);
///         Ok(())
///     }
/// }
///
/// export_operators! { "sum": Sum with OnWindow }
/// ```
pub trait OnWindow: Operator {
    /// Makes outputs of a window that fires. The context is that of its key and window. What is emitted has the last moment of the window as its time, unless it says
    /// otherwise, and no headers; there is no value to forward.
    ///
    /// # Errors
    /// As [`Operator::process`]: a window that is rejected goes to the error policy with its key and time, and is gone.
    fn on_window(&self, window: &Window<'_>, ctx: &mut Context<'_>) -> Result<()>;
}

/// How an operator handles a window.
#[cfg(target_arch = "wasm32")]
pub(crate) type HandleWindow<O> = fn(&O, &Window<'_>, &mut Context<'_>) -> Result<()>;

/// Whether an operator that works inside windows keeps to what is possible there.
#[cfg(target_arch = "wasm32")]
pub(crate) fn check(is_windowed: bool, descriptor: &crate::descriptor::Descriptor) -> Result<(), String> {
    match descriptor.timers.first() {
        Some(timer) if is_windowed => Err(format!(
            "the operator works inside windows and declares the timer \"{}\": of a window, the host keeps the time",
            timer.name
        )),
        _ => Ok(()),
    }
}

/// A window that fires.
#[derive(Debug, Clone, Copy)]
pub struct Window<'b> {
    pub(crate) call: &'b Call,
    pub(crate) row: u32,
}

/// Which windows a call fires, one entry per row.
#[derive(Debug)]
pub(crate) struct WindowColumns {
    pub(crate) starts_ms: Vec<i64>,
    pub(crate) ends_ms: Vec<i64>,
    pub(crate) firing: Firing,
}

impl<'b> Window<'b> {
    fn columns(&self) -> Option<&'b WindowColumns> {
        self.call.windows.as_ref()
    }

    /// Where it begins, in milliseconds since 1970-01-01T00:00Z.
    pub fn start_ms(&self) -> i64 {
        self.columns().and_then(|columns| columns.starts_ms.get(self.row as usize)).copied().unwrap_or_default()
    }

    /// Where it ends; not part of it.
    pub fn end_ms(&self) -> i64 {
        self.columns().and_then(|columns| columns.ends_ms.get(self.row as usize)).copied().unwrap_or_default()
    }

    /// Why it fires.
    pub fn firing(&self) -> Firing {
        self.columns().map_or(Firing::OnTime, |columns| columns.firing)
    }

    /// Its key.
    pub fn key(&self) -> &'b [u8] {
        self.call.key(self.row).unwrap_or_default()
    }
}
