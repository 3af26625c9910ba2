//! One call of an operator: what it may read, and what it has staged so far.

mod broadcast;
mod change;
mod emit;
mod metrics;
mod reads;
mod sizes;
mod staged;
mod timers;
mod windows;

pub use crate::keyed::MapRange;
pub use emit::OutputColumns;
pub use metrics::{Measured, MetricNames, OwnMetric, OwnMetrics};
pub use reads::{EntryPage, EntryRange};
pub use sizes::SizeLimits;
pub use staged::{Metric, Rejection, Staged, StagedOutput, StateOp, TimerOp};
pub use timers::Fired;
pub use windows::{FiredWindows, Firing as WindowFiring, state_key};

use crate::keyed::KeyedState;
use crate::places::Places;
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::InputKind;
use millstream_model::ids::SinkIndex;
use millstream_model::limits::OperatorLimits;
use millstream_model::record::RecordBatch;
use std::sync::Arc;

/// Watermark and clock as of the last mark; they hold still during a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// No record with an earlier timestamp is expected; in milliseconds since 1970.
    pub watermark_ms: Option<i64>,
    /// Processing time in milliseconds since 1970.
    pub now_ms: i64,
}

/// Why a request of the guest is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The guest broke the contract: the call ends as a trap.
    Misuse(String),
    /// An effect is beyond a limit: the call ends as if the guest had refused this row.
    Refuse {
        /// The row at fault.
        row: u32,
        /// The limit and what passed it.
        reason: String,
    },
    /// The call as a whole is beyond a limit that no row is to blame for.
    Limit {
        /// Name of the setting below `limits`.
        limit: &'static str,
        /// What happened.
        reason: String,
    },
    /// The host failed; no row is to blame.
    Host(String),
}

impl From<Fault> for crate::ports::CallError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Misuse(reason) => Self::Trap { reason, backtrace: None },
            Fault::Refuse { row, reason } => Self::Reject(vec![(row, reason)]),
            Fault::Limit { limit, reason } => Self::Limit { limit, reason },
            Fault::Host(reason) => Self::Host(reason),
        }
    }
}

/// What every call of an operator has in common.
#[derive(Debug, Default)]
pub struct CallRules {
    /// The operator's limits.
    pub limits: OperatorLimits,
    /// Names of the outputs, by port.
    pub ports: Vec<String>,
    /// By port: the sinks behind it.
    pub port_sinks: Vec<Vec<SinkIndex>>,
    /// The largest records that sinks and changelog take.
    pub sizes: Arc<SizeLimits>,
    /// Names of the inputs.
    pub inputs: Vec<String>,
    /// Number of timers that the operator may set.
    pub timers: usize,
    /// Whether it works inside windows.
    pub is_windowed: bool,
    /// Kinds of the inputs; of one that is not here: records.
    pub input_kinds: Vec<InputKind>,
    /// The operator's own metrics, of all its tasks.
    pub metrics: Arc<OwnMetrics>,
    /// What the origins of records stand for.
    pub places: Arc<Places>,
}

/// A call in the making: owned, so that an operator can keep it beside its instance while the guest runs, and give it back.
#[derive(Default)]
pub struct Call {
    /// Position of the input in the descriptor.
    pub input: u32,
    /// Set in a call that fires timers; the rows of the batch are then these timers: their keys and times, and no values.
    pub fired: Option<Fired>,
    /// Set in a call that fires windows: `fired` tells then which of the host's timers do it.
    pub window: Option<FiredWindows>,
    /// In windows: the keys that state lies under, row by row; those of the records with the beginning of the window.
    pub state_keys: Option<BytesColumn>,
    /// The records. Shared, so that an operator can lend columns to its guest while the rest of the call is in use.
    pub batch: Arc<RecordBatch>,
    /// The key row of each record; for an operator that is not keyed, its own number.
    pub key_rows: Vec<u32>,
    /// The first record of each key row.
    pub first_rows: Vec<u32>,
    /// Watermark and clock.
    pub mark: Mark,
    /// Time the call may take in milliseconds; running longer is [`crate::ports::CallError::Timeout`].
    pub time_limit_ms: u64,
    /// State of the keys in this call; empty for an operator that is not keyed.
    pub state: KeyedState,
    /// Effects so far.
    pub staged: Staged,
    /// Limits and names.
    pub rules: Arc<CallRules>,
    /// Names of metrics, as far as this task knows them.
    pub metric_names: MetricNames,
}

impl Call {
    /// Prepares the call for a batch: key rows are numbered in order of first appearance, effects of the call before are forgotten. Records of a broadcast input
    /// belong to no key, whether the operator is keyed or not, and are shown no time: every worker has to make the same of them.
    pub fn begin(&mut self, input: u32, batch: Arc<RecordBatch>, mark: Mark, keyed: bool) {
        self.fired = None;
        self.window = None;
        self.state_keys = None;
        self.start(input, batch, mark, keyed);
    }

    /// Prepares the call for timers: the rows of the batch are their keys and times.
    pub fn begin_timers(&mut self, fired: Fired, batch: Arc<RecordBatch>, mark: Mark) {
        self.fired = Some(fired);
        self.window = None;
        self.state_keys = None;
        self.start(0, batch, mark, true);
    }

    fn start(&mut self, input: u32, batch: Arc<RecordBatch>, mark: Mark, keyed: bool) {
        self.input = input;
        self.mark = if self.is_broadcast() { Mark::default() } else { mark };
        self.state.begin_call(mark);
        self.staged.clear();
        self.metric_names.begin();
        if keyed && !self.is_broadcast() {
            self.state.begin_batch(
                self.state_keys.as_ref().unwrap_or(&batch.keys),
                &mut self.key_rows,
                &mut self.first_rows,
            );
        } else {
            let rows = 0..batch.len() as u32;
            self.key_rows.clear();
            self.key_rows.extend(rows.clone());
            self.first_rows.clear();
            self.first_rows.extend(rows);
        }
        self.batch = batch;
    }

    /// Whether the records come by a broadcast input.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        self.fired.is_none() && self.rules.input_kinds.get(self.input as usize) == Some(&InputKind::Broadcast)
    }

    /// Merges what is staged for state into the open epoch. Called once the call has succeeded, or by an operator whose records succeed one
    /// by one.
    pub fn apply_state(&mut self) {
        self.state.apply(&self.staged.ops, &self.staged.arena);
        self.staged.ops.clear();
        self.staged.arena.clear();
    }

    /// Takes back all that the call did: it has failed.
    pub fn discard(&mut self) {
        self.state.undo_to(0);
        self.staged.clear();
    }

    /// The key of a key row; an empty one where there is none.
    #[must_use]
    pub fn key(&self, key_row: u32) -> &[u8] {
        self.first_rows.get(key_row as usize).and_then(|&row| self.batch.keys.get(row)).unwrap_or_default()
    }

    /// Adds what a call that succeeded has measured to what its epoch has.
    pub fn apply_metrics(&mut self, measured: &mut Measured) {
        if !self.staged.metrics.is_empty() {
            self.metric_names.apply(&self.rules.metrics, &self.staged.metrics, measured);
        }
    }
}

#[cfg(test)]
mod tests;
