//! Timers that are due fire before anything else is read, in rounds of at most one per key, some at a time: an epoch can be cut in between, and what is left fires in
//! the next one. Records that come over the exchange and cannot wait (for the cut, or for room) are preceded by the due timers of their keys.

use super::{Worker, WorkerError};
use crate::call::{Fault, Mark};
use crate::swap::Tally;
use crate::task::{Attempt, Firing, Step, next_step};
use crate::timers::Due;
use millstream_model::record::RecordBatch;

/// Timers on their way through the calls that they take.
struct Portion {
    firing: Firing,
    searching: bool,
    attempts: u32,
}

impl Portion {
    fn of(firing: Firing) -> Self {
        Self { firing, searching: false, attempts: 0 }
    }

    fn part(&self, rows: impl Iterator<Item = usize>, searching: bool) -> Self {
        Self { searching, ..Self::of(self.firing.part(rows)) }
    }

    /// The portion without rows that were refused.
    fn without(&self, refused: &[(u32, String)]) -> Self {
        let is_left = |row: &usize| refused.iter().all(|(other, _)| *other as usize != *row);
        self.part((0..self.firing.due.len()).filter(is_left), self.searching)
    }
}

impl Worker {
    /// Fires some of the timers that are due, of the first operator that has any. An operator that has none left lets its mark go on.
    pub(super) fn fire(&mut self) -> Result<(), WorkerError> {
        let Some(at) = self.first_firing() else { return Ok(()) };
        let mark = self.timers_mark(at);
        let rows_max = self.plan.batch.rows_max;
        let due = self.tasks.get_mut(at).map_or(Ok(Vec::new()), |task| task.due(mark, rows_max));
        let due = due.map_err(|fault| self.timers_unreadable(at, fault))?;
        if due.is_empty() {
            return self.end_firing(at);
        }
        self.run_due(at, due)?;
        self.tell_dirty_bytes();
        Ok(())
    }

    /// Fires what is due of the keys of a batch, all of it, before the batch is processed.
    pub(super) fn fire_for(&mut self, at: usize, batch: &RecordBatch) -> Result<(), WorkerError> {
        let mark = self.timers_mark(at);
        loop {
            let due = self.tasks.get(at).map_or(Ok(Vec::new()), |task| task.due_of(batch, mark));
            let due = due.map_err(|fault| self.timers_unreadable(at, fault))?;
            if due.is_empty() {
                return Ok(());
            }
            self.run_due(at, due)?;
        }
    }

    fn run_due(&mut self, at: usize, due: Vec<Due>) -> Result<(), WorkerError> {
        let firings = self.tasks.get(at).map(|task| task.firings(due)).unwrap_or_default();
        firings.into_iter().try_for_each(|firing| self.run_timers(at, firing))
    }

    fn timers_unreadable(&self, at: usize, fault: Fault) -> WorkerError {
        let reason = match fault {
            Fault::Host(reason)
            | Fault::Misuse(reason)
            | Fault::Refuse { reason, .. }
            | Fault::Limit { reason, .. } => reason,
        };
        let operator = self.plan.operators.get(at).map(|node| node.id.clone()).unwrap_or_default();
        WorkerError::Stopped { operator, place: "its timers".to_owned(), reason }
    }

    /// Has an operator handle timers, whatever it takes: those it cannot handle are refused one by one.
    fn run_timers(&mut self, at: usize, firing: Firing) -> Result<(), WorkerError> {
        // What timers do cannot be put back, and they are this worker's alone.
        self.touched = true;
        self.is_echo = false;
        if let Some(counters) = self.shared.board.operators.get(at) {
            counters.timers.add(firing.due.len() as u64);
        }
        let mark = self.timers_mark(at);
        let mut portions = vec![Portion::of(firing)];
        while let Some(mut portion) = portions.pop() {
            if portion.firing.due.is_empty() {
                continue;
            }
            portion.attempts += 1;
            self.attempt_timers(at, mark, portion, &mut portions)?;
        }
        Ok(())
    }

    fn attempt_timers(
        &mut self,
        at: usize,
        mark: Mark,
        portion: Portion,
        portions: &mut Vec<Portion>,
    ) -> Result<(), WorkerError> {
        let Some(task) = self.tasks.get_mut(at) else { return Ok(()) };
        let started_ns = self.shared.clock.monotonic_ns();
        let attempt = task.attempt_timers(&portion.firing, mark, portion.searching);
        self.count_call(at, &attempt, started_ns, portion.firing.due.len());
        let error = match attempt {
            Attempt::Applied(rejections) => {
                let firing = &portion.firing;
                return self.settle(at, (firing.due.len(), &rejections), |worker, rejection| {
                    worker.refuse_timer(at, firing, rejection.row, &rejection.reason)
                });
            }
            Attempt::Failed(error) => error,
        };
        let retries = self.plan.operators.get(at).map_or(0, |node| node.retries);
        let count = portion.firing.due.len();
        match next_step(error, count, portion.attempts, retries) {
            Step::Blame(blamed) => {
                for (row, reason) in &blamed {
                    if self.is_tried(at) {
                        return Err(self.stopped(at, &portion.firing.batch, *row, reason.clone()));
                    }
                    self.blame(at, &portion.firing.batch, *row);
                    self.refuse_timer(at, &portion.firing, *row, reason)?;
                }
                portions.push(portion.without(&blamed));
            }
            Step::Refuse(refused) => {
                let rejected = refused.len() as u64;
                self.count(at, Tally { records: rejected, rejected, ..Tally::default() });
                for (row, reason) in &refused {
                    self.refuse_timer(at, &portion.firing, *row, reason)?;
                }
                portions.push(portion.without(&refused));
            }
            Step::Retry { after_ms } => {
                self.shared.clock.pause(after_ms);
                portions.push(portion);
            }
            Step::Split { at: first, timed_out } => {
                let searching = portion.searching || timed_out;
                portions.push(portion.part(first..count, searching));
                portions.push(portion.part(0..first, searching));
            }
            Step::Stop(reason) => return Err(self.stopped(at, &portion.firing.batch, 0, reason)),
        }
        Ok(())
    }
}
