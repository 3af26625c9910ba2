use super::deliver::FIRST_WORKER;
use super::{Worker, WorkerError};
use crate::ports::CallError;
use crate::task::{Attempt, Step, next_step};
use millstream_model::record::RecordBatch;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

impl Worker {
    /// Has an operator process a batch, whatever it takes: what it cannot process is refused record by record, the rest has its effects.
    pub(super) fn run_operator(&mut self, at: usize, input: u32, batch: &Arc<RecordBatch>) -> Result<(), WorkerError> {
        let is_broadcast = self.is_broadcast(at, input);
        self.is_echo = is_broadcast && self.exchange.worker() != FIRST_WORKER;
        if let Some(counters) = self.shared.board.operators.get(at).filter(|_| !self.is_echo) {
            counters.records_in.add(batch.len() as u64);
        }
        let whole = Portion { batch: Arc::clone(batch), rows: None, searching: false, attempts: 0 };
        let mut portions = vec![self.admit(at, whole, is_broadcast)?];
        while let Some(mut portion) = portions.pop() {
            if portion.batch.is_empty() {
                continue;
            }
            portion.attempts += 1;
            let Some(error) = self.attempt(at, input, &portion)? else { continue };
            if !error.names_its_rows() {
                let rows = portion.batch.len();
                self.intake.shrink(rows);
                if rows > 1 && !self.touched {
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
        let mark = self.mark;
        let memory_bytes_max = self.task_memory_bytes();
        let Some(task) = self.tasks.get_mut(at) else { return Ok(None) };
        let started = Instant::now();
        let attempt = task.attempt(input, &portion.batch, mark, portion.searching);
        let counters = self.shared.board.operators.get(at);
        if let Some(counters) = counters {
            counters.calls.add(1);
            counters.add_migrated(&task.take_migrated());
            counters.busy_ns.add(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        let rejections = match attempt {
            Attempt::Applied(rejections) => rejections,
            Attempt::Failed(error) => {
                if let Some(counters) = counters {
                    counters.calls_failed.add(1);
                }
                return Ok(Some(error));
            }
        };
        self.touched = true;
        task.trim(memory_bytes_max);
        let Some(call) = task.take_call() else { return Ok(None) };
        if let Some(counters) = counters
            && !call.staged.metrics.is_empty()
            && !self.is_echo
        {
            counters.measure(&call.staged.metrics);
        }
        for rejection in &rejections {
            self.refuse(at, &portion.batch, rejection.row, &rejection.reason)?;
        }
        self.route(at, &call)?;
        if let Some(task) = self.tasks.get_mut(at) {
            task.give_back(call);
        }
        Ok(None)
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
        let retries = self.shared.plan.operators.get(at).map_or(0, |node| node.retries);
        let count = portion.batch.len() as u32;
        match next_step(error, portion.batch.len(), portion.attempts, retries) {
            Step::Refuse(refused) => {
                for (row, reason) in &refused {
                    self.verdicts.remember(at as u16, delivered, portion.delivered_row(*row), reason);
                    self.refuse(at, &portion.batch, *row, reason)?;
                }
                let is_left = |row: &u32| refused.iter().all(|(other, _)| other != row);
                let left: Vec<u32> = (0..count).filter(is_left).collect();
                portions.push(portion.part(&left, portion.searching));
            }
            Step::Retry { after_ms } => {
                std::thread::sleep(Duration::from_millis(after_ms));
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
