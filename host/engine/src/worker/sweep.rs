use super::{Worker, WorkerError};
use crate::ports::CallError;
use crate::swap::Tally;
use crate::swap::sweep::SweepPart;
use crate::task::Task;
use millstream_model::commit::CommitRecord;
use millstream_model::ids::OperatorIndex;

/// After a slice of a sweep, its time this often belongs to records: a sweep takes at most a quarter of a worker.
const REST_FACTOR: u64 = 3;

/// When the next slice of a sweep is due, in nanoseconds on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Pace {
    due_ns: u64,
}

impl Worker {
    /// Makes a slice of a sweep, if one is due. Never in a trial: what it changes would be dropped with it.
    pub(super) fn sweep(&mut self) -> Result<(), WorkerError> {
        if self.is_on_trial() || self.cut.is_open() || self.cut.was_last() {
            return Ok(());
        }
        let (worker, workers) = (self.exchange.worker(), self.exchange.workers());
        self.tasks.iter_mut().for_each(|task| task.start_sweep(worker, workers));
        let Some(at) = self.tasks.iter().position(Task::has_slice) else { return Ok(()) };
        let started_ns = self.shared.clock.monotonic_ns();
        if started_ns < self.pace.due_ns {
            return Ok(());
        }
        let memory_bytes_max = self.task_memory_bytes();
        let Some(task) = self.tasks.get_mut(at) else { return Ok(()) };
        let swept = task.sweep();
        task.trim(memory_bytes_max);
        let migrated = task.take_migrated();
        if let Some(counters) = self.shared.board.operators.get(at) {
            counters.add_migrated(&migrated);
        }
        self.count(at, Tally { failed: migrated.faults, ..Tally::default() });
        let ended_ns = self.shared.clock.monotonic_ns();
        self.pace.due_ns = ended_ns + ended_ns.saturating_sub(started_ns) * REST_FACTOR;
        self.tell_dirty_bytes();
        swept.map_err(|error| self.stopped_by_sweep(at, &error))
    }

    fn stopped_by_sweep(&self, at: usize, error: &CallError) -> WorkerError {
        let operator = self.plan.operators.get(at).map(|node| node.id.clone()).unwrap_or_default();
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
            let node = &task.parts().node;
            if task.is_migrating() && node.generation == committed.generation {
                let older = record.older_versions.get(&node.id).cloned().unwrap_or_default();
                task.set_older_versions(&older);
            }
        }
    }
}
