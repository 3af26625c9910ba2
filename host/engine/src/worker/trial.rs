use super::switch::Awaits;
use super::{Report, Worker, WorkerError};
use crate::places::Place;
use crate::swap::{FaultPlace, Tally, TrialFailure};
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The records of a trial, counted by all workers.
#[derive(Debug)]
pub struct Quota {
    given: AtomicU64,
    records: u64,
}

impl Quota {
    /// A trial of that many records.
    #[must_use]
    pub fn new(records: u64) -> Self {
        Self { given: AtomicU64::new(0), records }
    }

    /// Records the new version was given.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Records after which it is judged.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether it was given enough.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.left() == 0
    }

    fn left(&self) -> u64 {
        self.records.saturating_sub(self.given())
    }
}

/// A record to keep an eye on: whether an operator fails on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Position of the operator in the plan.
    pub operator: usize,
    /// The record.
    pub origin: Origin,
}

/// Why a trial failed, as its worker saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialFault {
    /// For people.
    pub failure: TrialFailure,
    /// The record, for workers.
    pub origin: Option<Origin>,
}

/// A trial under way: nothing the new version does has an effect outside before it is judged.
pub(super) struct Trial {
    operator: usize,
    quota: Arc<Quota>,
    is_full_told: bool,
}

impl Trial {
    pub(super) fn new(operator: usize, quota: &Arc<Quota>) -> Self {
        Self { operator, quota: Arc::clone(quota), is_full_told: false }
    }
}

impl Worker {
    pub(super) fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether a failure of the operator ends a trial.
    pub(super) fn is_tried(&self, at: usize) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.operator == at)
    }

    /// Records that may be read at a time: in a trial no more than it still takes.
    pub(super) fn rows_left(&self) -> usize {
        let left = self.trial.as_ref().map(|trial| trial.quota.left());
        left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX)
    }

    /// Whether the trial has had its records; tells the committer when that is news.
    pub(super) fn is_sated(&mut self) -> bool {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.quota.is_full()) else { return false };
        if !std::mem::replace(&mut trial.is_full_told, true) {
            self.report(Report::TrialFull);
        }
        true
    }

    /// Counts what an operator did.
    pub(super) fn count(&mut self, at: usize, done: Tally) {
        if self.is_echo {
            return;
        }
        if let Some(tally) = self.tallies.get_mut(at) {
            tally.add(&done);
        }
        if let Some(trial) = self.trial.as_ref().filter(|trial| trial.operator == at) {
            trial.quota.given.fetch_add(done.records, Ordering::Relaxed);
        }
    }

    /// Takes note that an operator is at fault for a record.
    pub(super) fn blame(&mut self, at: usize, batch: &RecordBatch, row: u32) {
        let watched = self.watch.filter(|watch| watch.operator == at).map(|watch| watch.origin);
        self.has_failed_again |= watched.is_some() && batch.origins.get(row as usize).copied() == watched;
        self.count(at, Tally { records: 1, failed: 1, ..Tally::default() });
    }

    /// In a trial, what would stop the pipeline ends the trial instead: the worker says so and stands still until everything of it is dropped.
    ///
    /// # Errors
    /// The error, if it is not one that a new version can be at fault for.
    pub(super) fn fail_trial(&mut self, error: WorkerError) -> Result<(), WorkerError> {
        let (Some(trial), WorkerError::Stopped { operator, reason, .. }) = (&self.trial, &error) else {
            return Err(error);
        };
        let is_its_own = self.plan.operators.get(trial.operator).is_some_and(|node| node.id == *operator);
        let reason =
            if is_its_own { reason.clone() } else { format!("operator `{operator}` would have stopped: {reason}") };
        let origin = self.blamed.take();
        let place = origin.map(|origin| self.shared.places.of(origin)).map(fault_place);
        self.awaits = Some(Awaits::Verdict);
        self.report(Report::TrialFailed(TrialFault { failure: TrialFailure { reason, place }, origin }));
        Ok(())
    }

    /// Nothing of a trial is left, nor of what was counted since the last commit.
    pub(super) fn forget_trial(&mut self, watch: Option<Watch>) {
        (self.awaits, self.trial, self.blamed) = (None, None, None);
        (self.watch, self.has_failed_again) = (watch, false);
        self.tallies.fill(Tally::default());
        (self.touched, self.retreat) = (false, false);
    }
}

fn fault_place(place: Place) -> FaultPlace {
    FaultPlace { source: place.source.to_string(), partition: place.partition, offset: place.offset }
}
