//! What a run shows of itself: counters that workers and the committer add to once a batch, and snapshots of them for people.

pub use crate::call::OwnMetric;

use super::times::TimeBoard;
use crate::call::OwnMetrics;
use crate::swap::{MigrationStatus, SwapStatus};
use crate::task::Migrated;
use millstream_model::commit::CommitRecord;
use millstream_model::plan::Plan;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a source has delivered since the start of the process.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// Records.
    pub records: Counter,
    /// Bytes of keys, values and headers.
    pub bytes: Counter,
    /// Records refused for their timestamps.
    pub refused: Counter,
}

/// What an operator has done since the start of the process, work of dropped epochs included (but for its own metrics).
#[derive(Debug, Default)]
pub struct OperatorCounters {
    /// Records that came in.
    pub records_in: Counter,
    /// Records it emitted.
    pub records_out: Counter,
    /// Timers that came due.
    pub timers: Counter,
    /// Records it refused.
    pub refused: Counter,
    /// Records too late for all their windows.
    pub late: Counter,
    /// Records dropped by `null_key: drop` or `on_error: skip`.
    pub dropped: Counter,
    /// Calls.
    pub calls: Counter,
    /// Calls that failed.
    pub calls_failed: Counter,
    /// Time in calls, in nanoseconds.
    pub busy_ns: Counter,
    /// Values of its state that were migrated, before a call or by a sweep.
    pub migrated: Counter,
    /// Values of its state that could not be migrated.
    pub migrations_refused: Counter,
    /// Bytes its cached state holds, as of the last cut of each worker.
    pub state_bytes: AtomicU64,
    /// Its own metrics, of committed epochs.
    pub own: Arc<OwnMetrics>,
}

impl OperatorCounters {
    /// Adds what a task has migrated.
    pub fn add_migrated(&self, migrated: &Migrated) {
        if *migrated != Migrated::default() {
            self.migrated.add(migrated.values);
            self.migrations_refused.add(migrated.refused);
            self.calls_failed.add(migrated.calls_failed);
        }
    }
}

/// What has been written to a sink.
#[derive(Debug, Default)]
pub struct SinkCounters {
    /// Records of committed epochs.
    pub records: Counter,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunPhase {
    /// Taking the pipeline over and restoring state.
    #[default]
    Starting,
    /// Processing.
    Running,
    /// Finding out what became of an epoch that could not be committed.
    Resolving,
    /// Committing for the last time.
    Draining,
    /// At the end.
    Ended,
}

/// How far a source partition is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Id of the source.
    pub source: String,
    /// Number of the partition.
    pub partition: i32,
    /// First offset not yet read.
    pub next: i64,
    /// End of the log as last heard, -1 if unknown.
    pub end: i64,
}

/// What the committer has done.
#[derive(Debug, Default, Clone, Serialize)]
pub struct CommitStatus {
    /// What the run is doing.
    pub phase: RunPhase,
    /// Commits since the start of the process.
    pub commits: u64,
    /// Epochs dropped and replayed since the start of the process.
    pub rollbacks: u64,
    /// The newest commit's token.
    pub token: Option<String>,
    /// When it was, in milliseconds since 1970.
    pub committed_ms: Option<i64>,
    /// What the last commit took, from the cut to its end, in milliseconds.
    pub duration_ms: u64,
    /// Committed positions.
    pub positions: Vec<PartitionStatus>,
}

/// Everything a run shows.
#[derive(Debug)]
pub struct Board {
    /// In the order of the plan.
    pub sources: Vec<SourceCounters>,
    /// In the order of the plan.
    pub operators: Vec<OperatorCounters>,
    /// In the order of the plan.
    pub sinks: Vec<SinkCounters>,
    /// Event time.
    pub times: TimeBoard,
    status: Mutex<CommitStatus>,
    /// In the order of the plan.
    swaps: Mutex<Vec<SwapStatus>>,
}

impl Board {
    /// An empty board for a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            sources: plan.sources.iter().map(|_| SourceCounters::default()).collect(),
            operators: plan.operators.iter().map(|_| OperatorCounters::default()).collect(),
            sinks: plan.sinks.iter().map(|_| SinkCounters::default()).collect(),
            times: TimeBoard::new(plan),
            status: Mutex::default(),
            swaps: Mutex::new(plan.operators.iter().map(SwapStatus::of).collect()),
        }
    }

    /// Which version of each operator runs, and what becomes of it; in the order of the plan.
    #[must_use]
    pub fn swaps(&self) -> Vec<SwapStatus> {
        self.swaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update_swap(&self, operator: usize, change: impl FnOnce(&mut SwapStatus)) {
        if let Some(status) = self.swaps.lock().unwrap_or_else(PoisonError::into_inner).get_mut(operator) {
            change(status);
        }
    }

    /// Shows how far the sweep of an operator's old values is; `None`: there is none.
    pub(super) fn show_migration(&self, operator: usize, migration: Option<MigrationStatus>) {
        self.update_swap(operator, |status| status.migration = migration);
    }

    /// What the committer has done.
    #[must_use]
    pub fn status(&self) -> CommitStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut CommitStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn committed(&self, record: &CommitRecord, duration_ms: u64) {
        self.update(|status| {
            status.commits += 1;
            status.token = Some(record.token.to_string());
            status.committed_ms = Some(record.committed_ms);
            status.duration_ms = duration_ms;
        });
    }
}
