use super::copies::TableCopy;
use super::switch::Switch;
use super::{Part, Report, Worker, WorkerError};
use crate::swap::Tally;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where a worker is with its part of a cut.
#[derive(Debug)]
pub(super) struct Cut {
    is_open: bool,
    was_last: bool,
    /// The stage whose barriers are awaited.
    stage: u32,
    /// What each task's state was frozen as at the last cut.
    frozen: Vec<u32>,
    /// What is switched once the part is given.
    switch: Option<Arc<Switch>>,
}

impl Cut {
    pub(super) fn new(tasks: usize) -> Self {
        Self { is_open: false, was_last: false, stage: 1, frozen: vec![0; tasks], switch: None }
    }

    /// Whether the worker has been told to cut and has not reported its part.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether nothing follows the part reported last.
    pub(super) fn was_last(&self) -> bool {
        self.was_last
    }

    pub(super) fn frozen(&self) -> &[u32] {
        &self.frozen
    }

    pub(super) fn take_switch(&mut self) -> Option<Arc<Switch>> {
        self.switch.take()
    }

    /// A task was replaced: what the one before was frozen as means nothing to it.
    pub(super) fn forget(&mut self, task: usize) {
        if let Some(frozen) = self.frozen.get_mut(task) {
            *frozen = 0;
        }
    }

    pub(super) fn reset(&mut self) {
        self.is_open = false;
        self.was_last = false;
        self.switch = None;
    }
}

impl Worker {
    pub(super) fn begin_cut(&mut self, last: bool, switch: Option<Arc<Switch>>) {
        self.cut.is_open = true;
        self.cut.switch = switch;
        self.cut.was_last = last;
        self.cut.stage = 1;
        self.exchange.push_barrier(1);
    }

    /// Goes on with a cut: stage by stage, as soon as every worker has sent all it had for the stage in this epoch.
    pub(super) fn advance_cut(&mut self) -> Result<(), WorkerError> {
        if !self.cut.is_open {
            return Ok(());
        }
        let last_stage = self.plan.operators.iter().map(|node| node.stage).max().unwrap_or(0);
        while self.cut.stage <= last_stage {
            if !self.exchange.is_aligned(self.cut.stage) {
                return Ok(());
            }
            self.cut.stage += 1;
            self.exchange.push_barrier(self.cut.stage);
        }
        self.finish_cut();
        self.begin_epoch()
    }

    fn finish_cut(&mut self) {
        for sink in 0..self.outputs.len() {
            self.flush_output(sink);
        }
        let mut part = Part {
            worker: self.exchange.worker(),
            positions: self.intake.positions(&self.plan, |at, partition| self.marks.seen(at, partition)),
            progress: self.intake.progress(),
            watermarks_ms: self.marks.watermarks(),
            gaps: self.intake.take_gaps(),
            ended: self.has_ended(),
            tallies: self.tallies.clone(),
            has_failed_again: std::mem::take(&mut self.has_failed_again),
            ..Part::default()
        };
        for (at, (task, frozen)) in self.tasks.iter_mut().zip(&mut self.cut.frozen).enumerate() {
            let copies = task.table_digests();
            part.copies.extend(copies.map(|(state, digest)| TableCopy { operator: at, state, digest }));
            *frozen = task.freeze(&mut part.changes);
            if let Some(counters) = self.shared.board.operators.get(at) {
                counters.state_bytes.store(task.state_bytes() as u64, Ordering::Relaxed);
            }
        }
        part.sweeps = self.sweep_parts();
        self.tallies.fill(Tally::default());
        self.report(Report::Part(part));
        self.exchange.end_cut();
        self.cut.is_open = false;
        self.tell_dirty_bytes();
    }

    /// Tells the committer how much state the open epoch has changed.
    pub(super) fn tell_dirty_bytes(&self) {
        if let Some(told) = self.shared.dirty_bytes.get(self.exchange.worker()) {
            let dirty: usize = self.tasks.iter().map(crate::task::Task::dirty_bytes).sum();
            told.store(dirty as u64, Ordering::Relaxed);
        }
    }
}
