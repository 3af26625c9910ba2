//! The loop behind the exported `process`.

use crate::{
    BroadcastContext, Context, Error, Record, Result, Setup,
    broadcast::Fold,
    context::Work,
    descriptor::Descriptor,
    host::{Host, Platform},
    record::Call,
    timer::{Fired, Handle},
};

/// An operator: a function from records and the state of their keys to effects.
///
/// It is immutable after `open`, so what must last goes into state: the host may replace an instance between any two batches.
pub trait Operator: Sized + 'static {
    /// Declares what the operator has and reads its configuration. Depends on nothing but the configuration.
    ///
    /// # Errors
    /// The configuration is at fault; the text is shown to the author of the pipeline file.
    fn open(setup: &mut Setup) -> Result<Self>;

    /// JSON Schema of the configuration, as text. The host holds a configuration against it before `open`, names the setting at fault with its line, and
    /// editors know it. `millstream_sdk::schema::<Config>()` (feature `schema`) makes one of a type; without one only `open` judges.
    fn config_schema() -> Option<String> {
        None
    }

    /// Processes one record.
    ///
    /// # Errors
    /// [`Error::Reject`] undoes all this record did and sends it to the error policy, [`Error::Stop`] stops the pipeline. Any other
    /// error becomes `Reject` by `?`.
    fn process(&self, record: &Record<'_>, ctx: &mut Context<'_>) -> Result<()>;
}

/// An operator that is open, with the buffers of its calls.
#[derive(Debug)]
pub(crate) struct Instance<O> {
    operator: O,
    work: Work,
}

impl<O: Operator> Instance<O> {
    pub(crate) fn open(config: &str) -> Result<(Self, Descriptor), String> {
        let mut setup = Setup::new(config);
        let operator = O::open(&mut setup).map_err(|error| error.to_string())?;
        setup.finish().map_err(|error| error.to_string())?;
        let descriptor = setup.descriptor.clone();
        Ok((Self { operator, work: Work::new(setup) }, descriptor))
    }

    /// The operator itself.
    pub(crate) fn operator(&self) -> &O {
        &self.operator
    }

    /// Folds records of a broadcast input into broadcast states. The error asks the host to stop.
    pub(crate) fn process_broadcast(&mut self, fold: Fold<O>, call: &Call) -> Result<(), String> {
        if !call.is_well_formed() {
            return Err("the host sent a batch whose columns differ in length".into());
        }
        self.work.begin(&[]);
        for row in 0..call.rows() as u32 {
            Platform::enter(row);
            let mut ctx = BroadcastContext { work: &mut self.work };
            let result = fold(&self.operator, &Record { call, row }, &mut ctx);
            match result.and_then(|()| self.work.fault.take().map_or(Ok(()), Err)) {
                Ok(()) => self.work.keep_record(),
                Err(Error::Reject(reason)) => self.work.undo_record(row, reason),
                Err(Error::Stop(reason)) => return Err(reason),
            }
        }
        self.work.stage();
        Ok(())
    }

    /// Processes a batch and stages its effects. The error asks the host to stop.
    pub(crate) fn process(&mut self, call: &Call) -> Result<(), String> {
        self.each(call, |operator, record, ctx| operator.process(&record, ctx))
    }

    /// Handles timers and stages what they do. The error asks the host to stop.
    pub(crate) fn on_timers(&mut self, handle: Handle<O>, call: &Call) -> Result<(), String> {
        self.each(call, |operator, Record { call, row }, ctx| handle(operator, &Fired { call, row }, ctx))
    }

    /// Handles windows that fire and stages what comes of them. The error asks the host to stop.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn on_windows(&mut self, handle: crate::window::HandleWindow<O>, call: &Call) -> Result<(), String> {
        self.each(call, |operator, Record { call, row }, ctx| {
            handle(operator, &crate::window::Window { call, row }, ctx)
        })
    }

    /// Does something with every row of a call.
    fn each(
        &mut self,
        call: &Call,
        one: impl Fn(&O, Record<'_>, &mut Context<'_>) -> Result<()>,
    ) -> Result<(), String> {
        if !call.is_well_formed() {
            return Err("the host sent a batch whose columns differ in length".into());
        }
        self.work.begin(&call.key_rows);
        let mut ctx = Context { record: Record { call, row: 0 }, work: &mut self.work };
        for row in 0..call.rows() as u32 {
            ctx.record.row = row;
            Platform::enter(row);
            let record = ctx.record;
            let result = one(&self.operator, record, &mut ctx);
            match result.and_then(|()| ctx.work.fault.take().map_or(Ok(()), Err)) {
                Ok(()) => ctx.work.keep_record(),
                Err(Error::Reject(reason)) => ctx.work.undo_record(row, reason),
                Err(Error::Stop(reason)) => return Err(reason),
            }
        }
        self.work.stage();
        Ok(())
    }
}
