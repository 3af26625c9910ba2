use super::{Worker, WorkerError};
use crate::ports::CallError;
use crate::swap::sweep::SweepPart;
use crate::task::Task;
use millstream_model::commit::CommitRecord;
use millstream_model::ids::OperatorIndex;
use std::time::{Duration, Instant};

/// After a slice of a sweep, its time this often belongs to records: a sweep takes at most a quarter of a worker.
const REST_FACTOR: u32 = 3;

/// When the next slice of a sweep is due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    due: Option<Instant>,
}

impl Pace {
    fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    fn rest_after(&mut self, took: Duration, now: Instant) {
        self.due = now.checked_add(took * REST_FACTOR);
    }
}

impl Worker {
    /// Begins the sweeps of state that the newest commit leaves to migrate.
    pub(super) fn start_sweeps(&mut self) {
        let (worker, workers) = (self.exchange.worker(), self.exchange.workers());
        self.tasks.iter_mut().for_each(|task| task.start_sweep(worker, workers));
    }

    /// Makes a slice of a sweep, if one is due.
    pub(super) fn sweep(&mut self) -> Result<(), WorkerError> {
        if self.cut.is_open() || self.cut.was_last() {
            return Ok(());
        }
        let Some(at) = self.tasks.iter().position(Task::has_slice) else { return Ok(()) };
        let (started, memory_bytes_max) = (Instant::now(), self.task_memory_bytes());
        if !self.pace.is_due(started) {
            return Ok(());
        }
        let Some(task) = self.tasks.get_mut(at) else { return Ok(()) };
        let swept = task.sweep();
        task.trim(memory_bytes_max);
        self.pace.rest_after(started.elapsed(), Instant::now());
        let migrated = task.take_migrated();
        if let Some(counters) = self.shared.board.operators.get(at) {
            counters.add_migrated(&migrated);
        }
        self.tell_dirty_bytes();
        swept.map_err(|error| self.stopped_by_sweep(at, &error))
    }

    fn stopped_by_sweep(&self, at: usize, error: &CallError) -> WorkerError {
        let operator = self.shared.plan.operators.get(at).map(|node| node.id.clone()).unwrap_or_default();
        let place = "a stored value that is to be migrated".to_owned();
        WorkerError::Stopped { operator, place, reason: error.to_string() }
    }

    /// How far the sweeps were at the cut.
    pub(super) fn sweep_parts(&self) -> Vec<SweepPart> {
        let tasks = (0u16..).zip(&self.tasks);
        tasks.filter_map(|(at, task)| task.sweep_part(OperatorIndex(at))).collect()
    }

    /// Takes over from a commit which versions still lie about. One of a generation before says nothing of what this one has to read.
    pub(super) fn take_older_versions(&mut self, record: &CommitRecord) {
        for (task, committed) in self.tasks.iter_mut().zip(&record.operators) {
            if task.is_migrating() && task.node().generation == committed.generation {
                task.set_older_versions(&record.older_versions);
            }
        }
        self.start_sweeps();
    }
}
