//! What an instance's store holds: the call in hand, and all that the guest can reach of the host.

use crate::allowance::Allowance;
use crate::limits::{LimitHit, MemoryLimiter, StagingBudget};
use crate::log::OperatorLog;
use crate::wasi::GuestClock;
use millstream_engine::call::{Call, Fault};
use millstream_model::limits::OperatorLimits;
use std::fmt;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Handles of WASI that a guest may hold at once.
const HANDLES_MAX: usize = 1_024;

/// See the module.
pub(crate) struct Host {
    /// There while the guest may read and stage, that is, during `process`.
    call: Option<Box<Call>>,
    pub(crate) budget: StagingBudget,
    /// The simple world's part.
    pub(crate) record: RecordInHand,
    /// Columns lent to the guest by the last request.
    pub(crate) lent: crate::columnar::LentParts,
    pub(crate) memory: MemoryLimiter,
    pub(crate) allowance: Allowance,
    pub(crate) log: Arc<OperatorLog>,
    pub(crate) clock: Arc<GuestClock>,
    pub(crate) table: ResourceTable,
    /// For the error that names them.
    pub(crate) stack_bytes_max: u64,
    pub(crate) request_bytes_max: u64,
    wasi: WasiCtx,
}

/// The record of a call in the simple world, and what the guest may ask of the pipeline file.
#[derive(Debug, Default)]
pub(crate) struct RecordInHand {
    pub(crate) row: u32,
    pub(crate) config: Arc<str>,
}

impl Host {
    pub(crate) fn new(limits: &OperatorLimits, config: Arc<str>, log: Arc<OperatorLog>) -> Self {
        let clock = Arc::new(GuestClock::default());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            call: None,
            budget: StagingBudget::default(),
            record: RecordInHand { row: 0, config },
            lent: crate::columnar::LentParts::default(),
            memory: MemoryLimiter::new(limits),
            allowance: Allowance::default(),
            wasi: crate::wasi::context(&clock, &log),
            log,
            clock,
            table,
            stack_bytes_max: limits.stack_bytes_max,
            request_bytes_max: limits.request_bytes_max,
        }
    }

    /// Lets the guest at a call.
    pub(crate) fn begin(&mut self, call: Box<Call>) {
        self.clock.set(call.mark.now_ms);
        self.budget.grant(&call.rules.limits);
        self.log.begin_call();
        self.call = Some(call);
    }

    /// Lets the guest at old values: without a call there are no records, no state and no effects, and the clock shows the beginning of time, as what is made of a value may depend
    /// on nothing but its bytes.
    pub(crate) fn begin_migration(&mut self) {
        self.clock.set(0);
        self.log.begin_call();
    }

    /// Lets the guest pile up as much again.
    pub(crate) fn grant_budget(&mut self) {
        self.budget.refill();
    }

    /// Takes the call back.
    pub(crate) fn end(&mut self) -> Option<Box<Call>> {
        self.call.take()
    }

    /// The call in hand.
    pub(crate) fn call(&mut self) -> Result<&mut Call, GuestFault> {
        self.call.as_deref_mut().ok_or_else(no_call)
    }

    /// Takes the call out for one request, so that the guest's memory can be read meanwhile; [`Host::put_call`] comes after.
    pub(crate) fn take_call(&mut self) -> Result<Box<Call>, GuestFault> {
        self.call.take().ok_or_else(no_call)
    }

    pub(crate) fn put_call(&mut self, call: Box<Call>) {
        self.call = Some(call);
    }

    /// Counts what a request leaves in the host.
    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.budget.spend(bytes)
    }
}

fn no_call() -> GuestFault {
    GuestFault(Fault::Misuse("asked for records, state or effects outside of `process`".to_owned()))
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A request that is not granted, on its way through the guest's frames.
#[derive(Debug)]
pub(crate) struct GuestFault(pub(crate) Fault);

impl fmt::Display for GuestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Misuse(reason) | Fault::Host(reason) => f.write_str(reason),
            Fault::Refuse { row, reason } => write!(f, "row {row}: {reason}"),
            Fault::Limit { limit, reason } => write!(f, "hit `limits.{limit}`: {reason}"),
        }
    }
}

impl std::error::Error for GuestFault {}

impl From<Fault> for GuestFault {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}
