//! One operator on one worker: its instance, its keyed state, and what happens to batches it fails on.

mod dead_letter;
mod door;
mod migrate;
mod outputs;
mod parts;
mod step;
mod sweep;
mod timing;
mod verdicts;
mod windows;

pub use dead_letter::{DeadLetter, LETTER_BYTES_MIN, Provenance};
pub use door::{Door, admit_keys};
pub use migrate::Migrated;
pub use parts::TaskParts;
pub use step::{Step, next_step};
pub use timing::Firing;
pub use verdicts::{Verdict, Verdicts};
pub use windows::late_rows;

use crate::call::{Call, Mark, Measured, Rejection};
use crate::keyed::Share;
use crate::ports::{CallError, ChangeSet, OpenError, Operator};
use crate::timers::Timers;
use millstream_model::limits::OperatorLimits;
use millstream_model::record::RecordBatch;
use std::collections::HashMap;
use std::sync::Arc;

/// See the module.
pub struct Task {
    parts: Arc<TaskParts>,
    operator: Box<dyn Operator>,
    /// At home between calls.
    call: Option<Box<Call>>,
    timers: Timers,
    /// By key: how often in a row its timers have set another one that was due at once.
    rounds: HashMap<Box<[u8]>, u32>,
    /// What a record usually takes, in nanoseconds: the search for a record that loops gives up on parts of a batch after a multiple of it.
    record_ns: u64,
    /// What the open epoch has measured, and the one that was cut last.
    measured: Measured,
    measured_frozen: Measured,
    migrated: Migrated,
    sweep: Option<sweep::Sweep>,
}

/// What became of one call.
#[derive(Debug)]
pub enum Attempt {
    /// It succeeded: state is merged, outputs wait in [`Task::take_call`]; these rows were refused.
    Applied(Vec<Rejection>),
    /// It did not, and left nothing.
    Failed(CallError),
}

/// What is kept of a task when a part of a batch is searched for the record at fault.
const SEARCH_LIMIT_MS_MIN: u64 = 30;

/// Time that a call with so many rows may take, in milliseconds.
fn time_limit_ms(limits: &OperatorLimits, rows: usize) -> u64 {
    limits.batch_time_ms + limits.record_time_us * rows as u64 / 1_000
}

fn busy() -> Attempt {
    Attempt::Failed(CallError::Host("the operator is called while it is called".to_owned()))
}

impl Task {
    /// Makes a task with an instance of its own.
    ///
    /// # Errors
    /// When the factory cannot make the instance.
    pub fn new(parts: &Arc<TaskParts>) -> Result<Self, OpenError> {
        Ok(Self::with(parts, parts.factory.instantiate()?))
    }

    /// Makes a task of an instance that is there.
    #[must_use]
    pub fn with(parts: &Arc<TaskParts>, operator: Box<dyn Operator>) -> Self {
        let call = Call { state: parts.state(), rules: Arc::clone(&parts.rules), ..Call::default() };
        Self {
            parts: Arc::clone(parts),
            operator,
            call: Some(Box::new(call)),
            timers: parts.timers(),
            rounds: HashMap::new(),
            record_ns: 0,
            measured: Measured::default(),
            measured_frozen: Measured::default(),
            migrated: Migrated::default(),
            sweep: None,
        }
    }

    /// Goes on with another instance, which has the same states; what is held of them stays. Gives back the instance before.
    pub fn take_over(&mut self, parts: &Arc<TaskParts>, operator: Box<dyn Operator>) -> Box<dyn Operator> {
        if let Some(call) = &mut self.call {
            call.state.describe(parts.columns.clone(), &parts.older_versions);
            call.rules = Arc::clone(&parts.rules);
        }
        self.timers.take_over(&parts.timers);
        self.parts = Arc::clone(parts);
        self.record_ns = 0;
        self.sweep = None;
        std::mem::replace(&mut self.operator, operator)
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &Arc<TaskParts> {
        &self.parts
    }

    /// Says which part of the operator's state is this task's; all of it until then.
    pub fn share_state(&mut self, share: &Share) {
        self.timers.share(share);
        if let Some(call) = &mut self.call {
            call.state.share(share.clone());
        }
    }

    /// Makes one call. `searching`: part of a batch that timed out, given less time unless it is a single record.
    pub fn attempt(&mut self, input: u32, batch: &Arc<RecordBatch>, mark: Mark, searching: bool) -> Attempt {
        let keyed = self.parts.node.keyed;
        if let Some(windowing) = self.parts.node.windows {
            return self.attempt_windowed(windowing, (input, batch), mark, searching);
        }
        let attempt = self.call_with(batch, searching, |call| call.begin(input, Arc::clone(batch), mark, keyed));
        let Attempt::Applied(_) = attempt else { return attempt };
        let Some(mut call) = self.call.take() else { return attempt };
        let applied = self.apply(&mut call, &[]);
        if applied.is_err() {
            call.discard();
        }
        self.call = Some(call);
        applied.map_or_else(Attempt::Failed, |()| attempt)
    }

    /// Calls the operator once the call is prepared. What is staged when it succeeded is still to be applied.
    fn call_with(&mut self, batch: &RecordBatch, searching: bool, begin: impl FnOnce(&mut Call)) -> Attempt {
        if let attempt @ Attempt::Failed(_) = self.begin_only(begin) {
            return attempt;
        }
        let time_limit_ms = self.time_limit_ms(batch.len(), searching);
        let Some(mut call) = self.call.take() else { return busy() };
        call.time_limit_ms = time_limit_ms;
        fail::fail_point!("mid_guest_call");
        let (call, result) = match (&call.window, &call.fired) {
            (Some(_), _) => self.operator.on_windows(call),
            (None, Some(_)) => self.operator.on_timers(call),
            (None, None) => self.operator.process(call),
        };
        let call = self.call.insert(call);
        match result {
            Ok(()) => Attempt::Applied(std::mem::take(&mut call.staged.rejections)),
            Err(error) => {
                call.discard();
                Attempt::Failed(error)
            }
        }
    }

    /// Prepares the call, and makes none.
    fn begin_only(&mut self, begin: impl FnOnce(&mut Call)) -> Attempt {
        let Some(mut call) = self.call.take() else { return busy() };
        begin(&mut call);
        if let Err(error) = self.ready(&mut call) {
            self.give_back(call);
            return Attempt::Failed(error);
        }
        self.call = Some(call);
        Attempt::Applied(Vec::new())
    }

    fn time_limit_ms(&self, rows: usize, searching: bool) -> u64 {
        let full = time_limit_ms(&self.parts.node.limits, rows);
        if !searching || rows == 1 {
            return full;
        }
        let usual_ms = self.record_ns * rows as u64 / 1_000_000;
        full.min(SEARCH_LIMIT_MS_MIN + usual_ms * 10)
    }

    /// Takes note of what a call that succeeded has taken.
    pub fn learn(&mut self, elapsed_ns: u64, rows: usize) {
        let record_ns = elapsed_ns / rows.max(1) as u64;
        self.record_ns = if self.record_ns == 0 { record_ns } else { (self.record_ns * 7 + record_ns) / 8 };
    }

    /// The call of the last attempt, to route its outputs; to be given back.
    pub fn take_call(&mut self) -> Option<Box<Call>> {
        self.call.take()
    }

    /// Gives the call back, its batch and effects forgotten.
    pub fn give_back(&mut self, mut call: Box<Call>) {
        call.staged.clear();
        call.batch = Arc::default();
        self.call = Some(call);
    }

    /// Ends the open epoch of the state; see [`KeyedState::freeze`].
    pub fn freeze(&mut self, changes: &mut ChangeSet) -> u32 {
        self.measured_frozen.append(std::mem::take(&mut self.measured));
        self.timers.freeze(changes);
        self.sweep_ends_epoch();
        self.call.as_mut().map_or(0, |call| call.state.freeze(changes))
    }

    /// See [`KeyedState::applied`]; then makes room down to `memory_bytes_max`.
    pub fn applied(&mut self, frozen: u32, memory_bytes_max: usize) {
        self.timers.applied();
        self.sweep_applied();
        if let Some(call) = &mut self.call {
            call.rules.metrics.publish(std::mem::take(&mut self.measured_frozen));
            call.state.applied(frozen);
        }
        self.trim(memory_bytes_max);
    }

    /// Makes room down to `memory_bytes_max`, as far as clean keys go.
    pub fn trim(&mut self, memory_bytes_max: usize) {
        self.timers.trim(memory_bytes_max / 2);
        let memory_bytes_max = memory_bytes_max.saturating_sub(self.timers.memory_bytes());
        if let Some(call) = &mut self.call
            && call.state.memory_bytes() > memory_bytes_max
        {
            call.state.evict(memory_bytes_max);
        }
    }

    /// Bytes the state holds in memory.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.timers.memory_bytes() + self.call.as_ref().map_or(0, |call| call.state.memory_bytes())
    }

    /// Bytes of state changed in the open epoch, nearly.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.timers.dirty_bytes() + self.call.as_ref().map_or(0, |call| call.state.dirty_bytes())
    }

    /// What the broadcast states hold, by state; see [`KeyedState`].
    pub fn table_digests(&self) -> impl Iterator<Item = (u32, u64)> {
        self.call.iter().flat_map(|call| call.state.table_digests())
    }

    /// Drops the open and the frozen epoch, and the instance that ran in them.
    ///
    /// # Errors
    /// When a new instance cannot be made.
    pub fn reset(&mut self) -> Result<(), OpenError> {
        self.timers.drop_epochs();
        self.rounds.clear();
        self.sweep_drops_epochs();
        self.measured = Measured::default();
        self.measured_frozen = Measured::default();
        if let Some(call) = &mut self.call {
            call.state.drop_epochs();
            call.staged.clear();
            call.batch = Arc::default();
        }
        self.operator = self.parts.factory.instantiate()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
