use super::deliver::FIRST_WORKER;
use super::{Worker, WorkerError};
use crate::call::Rejection;
use crate::planted::Bug;
use crate::ports::CallError;
use crate::swap::Tally;
use crate::task::{Attempt, Step, Verdict, next_step};
use millstream_model::record::RecordBatch;
use std::sync::Arc;

/// A part of a batch as it was delivered to an operator.
pub(super) struct Portion {
    /// Its records.
    pub(super) batch: Arc<RecordBatch>,
    /// Each record's row in the batch as delivered; `None`: the portion is the whole.
    pub(super) rows: Option<Vec<u32>>,
    /// Whether it is part of one that ran out of time.
    pub(super) searching: bool,
    /// Calls made with it.
    pub(super) attempts: u32,
}

impl Portion {
    /// The row in the batch as delivered.
    pub(super) fn delivered_row(&self, row: u32) -> u32 {
        self.rows.as_ref().and_then(|rows| rows.get(row as usize).copied()).unwrap_or(row)
    }

    /// Some of its rows as a portion of their own.
    pub(super) fn part(&self, rows: &[u32], searching: bool) -> Self {
        let mut batch = RecordBatch::default();
        batch.gather(&self.batch, rows);
        let rows = rows.iter().map(|&row| self.delivered_row(row)).collect();
        Self { batch: Arc::new(batch), rows: Some(rows), searching, attempts: 0 }
    }
}

impl Portion {
    /// The portion without rows that were refused.
    fn without(&self, refused: &[(u32, String)]) -> Self {
        let is_left = |row: &u32| refused.iter().all(|(other, _)| other != row);
        let left: Vec<u32> = (0..self.batch.len() as u32).filter(is_left).collect();
        self.part(&left, self.searching)
    }
}

impl Worker {
    /// Has an operator process a batch, whatever it takes: what it cannot process is refused record by record, the rest has its effects.
    pub(super) fn run_operator(&mut self, at: usize, input: u32, batch: &Arc<RecordBatch>) -> Result<(), WorkerError> {
        let is_broadcast = self.is_broadcast(at, input);
        self.is_echo = is_broadcast && self.exchange.worker() != FIRST_WORKER;
        if let Some(counters) = self.shared.board.operators.get(at).filter(|_| !self.is_echo) {
            counters.records_in.add(batch.len() as u64);
        }
        if !is_broadcast && self.is_operator_firing(at) {
            self.fire_for(at, batch)?;
        }
        let whole = Portion { batch: Arc::clone(batch), rows: None, searching: false, attempts: 0 };
        let admitted = self.admit(at, whole, is_broadcast)?;
        let mut portions = vec![self.part_late(at, admitted)?];
        while let Some(mut portion) = portions.pop() {
            if portion.batch.is_empty() {
                continue;
            }
            portion.attempts += 1;
            let Some(error) = self.attempt(at, input, &portion)? else { continue };
            if !error.names_its_rows() {
                let rows = portion.batch.len();
                self.intake.shrink(rows);
                if rows > 1 && !self.touched && !Bug::WholeBatches.is_planted() {
                    self.retreat = true;
                    return Ok(());
                }
            }
            self.after_failure(at, batch, portion, error, &mut portions)?;
        }
        Ok(())
    }

    /// Makes one call, and routes what it emitted if it succeeded; else tells why not.
    fn attempt(&mut self, at: usize, input: u32, portion: &Portion) -> Result<Option<CallError>, WorkerError> {
        let mark = self.mark_of(at);
        let Some(task) = self.tasks.get_mut(at) else { return Ok(None) };
        let started_ns = self.shared.clock.monotonic_ns();
        let attempt = task.attempt(input, &portion.batch, mark, portion.searching);
        self.count_call(at, &attempt, started_ns, portion.batch.len());
        let rejections = match attempt {
            Attempt::Applied(rejections) => rejections,
            Attempt::Failed(error) => return Ok(Some(error)),
        };
        self.settle(at, (portion.batch.len(), &rejections), |worker, rejection| {
            worker.refuse(at, &portion.batch, rejection.row, &rejection.reason)
        })?;
        Ok(None)
    }

    /// Takes note of a call and of what it took.
    pub(super) fn count_call(&mut self, at: usize, attempt: &Attempt, started_ns: u64, rows: usize) {
        let elapsed_ns = self.shared.clock.monotonic_ns().saturating_sub(started_ns);
        let has_failed = matches!(attempt, Attempt::Failed(_));
        let Some(task) = self.tasks.get_mut(at) else { return };
        if let Some(counters) = self.shared.board.operators.get(at) {
            counters.calls.add(1);
            counters.busy_ns.add(elapsed_ns);
            counters.calls_failed.add(u64::from(has_failed));
            counters.add_migrated(&task.take_migrated());
        }
        if !has_failed {
            task.learn(elapsed_ns, rows);
        }
    }

    /// After a call with so many rows that succeeded: refuses what it refused, and takes what it emitted where that goes.
    pub(super) fn settle(
        &mut self,
        at: usize,
        (rows, rejections): (usize, &[Rejection]),
        mut refuse: impl FnMut(&mut Self, &Rejection) -> Result<(), WorkerError>,
    ) -> Result<(), WorkerError> {
        self.touched = true;
        let memory_bytes_max = self.task_memory_bytes();
        let Some(task) = self.tasks.get_mut(at) else { return Ok(()) };
        task.trim(memory_bytes_max);
        let Some(call) = task.take_call() else { return Ok(()) };
        let (records, rejected) = (rows as u64, rejections.len() as u64);
        self.count(at, Tally { records, rejected, ..Tally::default() });
        let refused = rejections.iter().try_for_each(|rejection| refuse(self, rejection));
        let routed = refused.and_then(|()| self.route(at, &call));
        if let Some(task) = self.tasks.get_mut(at) {
            task.give_back(call);
        }
        routed
    }

    /// Decides what to call next after a failure, and refuses records that are found to be at fault.
    fn after_failure(
        &mut self,
        at: usize,
        delivered: &RecordBatch,
        portion: Portion,
        error: CallError,
        portions: &mut Vec<Portion>,
    ) -> Result<(), WorkerError> {
        let (retries, digest) =
            self.plan.operators.get(at).map_or_else(Default::default, |node| (node.retries, node.digest));
        let count = portion.batch.len() as u32;
        match next_step(error, portion.batch.len(), portion.attempts, retries) {
            Step::Blame(blamed) => {
                for (row, reason) in &blamed {
                    if self.is_tried(at) {
                        return Err(self.stopped(at, &portion.batch, *row, reason.clone()));
                    }
                    self.blame(at, &portion.batch, *row);
                    let verdict = Verdict { row: portion.delivered_row(*row), reason: reason.clone(), is_fault: true };
                    self.verdicts.remember((at as u16, digest), delivered, verdict);
                    self.refuse(at, &portion.batch, *row, reason)?;
                }
                portions.push(portion.without(&blamed));
            }
            Step::Refuse(refused) => {
                let rejected = refused.len() as u64;
                self.count(at, Tally { records: rejected, rejected, ..Tally::default() });
                for (row, reason) in &refused {
                    let verdict = Verdict { row: portion.delivered_row(*row), reason: reason.clone(), is_fault: false };
                    self.verdicts.remember((at as u16, digest), delivered, verdict);
                    self.refuse(at, &portion.batch, *row, reason)?;
                }
                portions.push(portion.without(&refused));
            }
            Step::Retry { after_ms } => {
                self.shared.clock.pause(after_ms);
                portions.push(portion);
            }
            Step::Split { at: first, timed_out } => {
                let searching = portion.searching || timed_out;
                let rows: Vec<u32> = (0..count).collect();
                let (first, second) = rows.split_at(first.min(rows.len()));
                portions.push(portion.part(second, searching));
                portions.push(portion.part(first, searching));
            }
            Step::Stop(reason) => return Err(self.stopped(at, &portion.batch, 0, reason)),
        }
        Ok(())
    }
}
