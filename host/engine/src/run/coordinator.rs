use super::board::{PartitionStatus, RunPhase};
use super::lookout::{Lookout, Sizes};
use super::swaps::Swaps;
use super::{Control, RunEnd, RunError};
use crate::commit::{Committer, EpochEnd, EpochLost, cut};
use crate::ports::{CheckpointDone, CheckpointError, CheckpointKind, Checkpoints};
use crate::swap::sweep;
use crate::worker::{Command, Part, Report, Shared, WorkerError, check_copies};
use millstream_model::commit::CommitRecord;
use millstream_model::ids::SinkIndex;
use millstream_model::record::RecordBatch;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The longest the committer waits for reports before it looks whether it is asked for something.
const WAIT_MS_MAX: u64 = 20;

/// Emptied batches kept for workers.
const SPARE_MAX: usize = 64;

/// The thread that owns the committer: takes outputs from the workers, has them cut epochs and commits these. While one epoch is committed the workers go on
/// in the next; of that nothing is written before the one before is decided.
pub(super) struct Coordinator {
    pub(super) shared: Arc<Shared>,
    /// Which versions run.
    pub(super) swaps: Swaps,
    pub(super) committer: Committer,
    commands: Vec<Sender<Command>>,
    pub(super) reports: Receiver<Report>,
    checkpoints: Box<dyn Checkpoints>,
    checkpointed_ms: u64,
    lookout: Lookout,
    pub(super) sizes: Arc<Sizes>,
    savepoints: Vec<CheckpointDone>,
    /// The epoch that is open or being cut.
    pub(super) epoch: OpenEpoch,
    /// What belongs to the epoch after it.
    pub(super) held: VecDeque<Report>,
    /// Whether every source of some worker has ended since the last cut.
    pub(super) has_ended: bool,
}

/// What a coordinator is made of.
pub(super) struct CoordinatorParts {
    pub(super) committer: Committer,
    /// To each worker.
    pub(super) commands: Vec<Sender<Command>>,
    pub(super) checkpoints: Box<dyn Checkpoints>,
    pub(super) lookout: Lookout,
    pub(super) sizes: Arc<Sizes>,
}

/// What has come in of an epoch.
#[derive(Default)]
pub(super) struct OpenEpoch {
    /// Whether the workers have been told to cut it, and when, on the monotonic clock.
    cut_ms: Option<u64>,
    is_last: bool,
    parts: Vec<Option<Part>>,
    opened_ms: u64,
    output_bytes: u64,
    /// Records by sink.
    records: Vec<u64>,
}

impl OpenEpoch {
    pub(super) fn new(workers: usize, sinks: usize, opened_ms: u64) -> Self {
        let parts = (0..workers).map(|_| None).collect();
        Self { parts, records: vec![0; sinks], opened_ms, ..Self::default() }
    }

    fn has_part_of(&self, worker: usize) -> bool {
        self.parts.get(worker).is_some_and(Option::is_some)
    }
}

impl Coordinator {
    pub(super) fn new(
        (shared, swaps): (Arc<Shared>, Swaps),
        parts: CoordinatorParts,
        reports: Receiver<Report>,
    ) -> Self {
        let now_ms = shared.clock.monotonic_ms();
        let epoch = OpenEpoch::new(parts.commands.len(), swaps.lineup().plan.sinks.len(), now_ms);
        Self {
            shared,
            swaps,
            committer: parts.committer,
            commands: parts.commands,
            reports,
            checkpoints: parts.checkpoints,
            checkpointed_ms: now_ms,
            lookout: parts.lookout,
            sizes: parts.sizes,
            savepoints: Vec::new(),
            epoch,
            held: VecDeque::new(),
            has_ended: false,
        }
    }

    /// Commits epoch after epoch until the run ends.
    pub(super) fn coordinate(&mut self, control: &Control) -> Result<RunEnd, RunError> {
        self.set_phase(RunPhase::Running);
        loop {
            if let Some(stop) = self.lookout.stop() {
                return Err(stop.into());
            }
            self.tend_swaps(control);
            self.cut_if_due(control);
            let wait = Duration::from_millis(self.wait_ms());
            let end = match self.reports.recv_timeout(wait) {
                Ok(report) => self.hear(report)?,
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(WorkerError::Panicked("all workers are gone".to_owned()).into());
                }
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    pub(super) fn tell_all(&self, command: &Command) {
        for worker in &self.commands {
            // A worker that is gone has reported why.
            let _ = worker.send(command.clone());
        }
    }

    pub(super) fn set_phase(&self, phase: RunPhase) {
        self.shared.board.update(|status| status.phase = phase);
    }

    pub(super) fn workers(&self) -> usize {
        self.commands.len()
    }

    fn wait_ms(&self) -> u64 {
        let age_ms = self.shared.clock.monotonic_ms().saturating_sub(self.epoch.opened_ms);
        self.swaps.lineup().plan.commit.interval_ms.saturating_sub(age_ms).clamp(1, WAIT_MS_MAX)
    }

    fn cut_if_due(&mut self, control: &Control) {
        if self.epoch.cut_ms.is_some() {
            return;
        }
        self.savepoints.append(&mut control.take_savepoints());
        let plan = &self.swaps.lineup().plan;
        let now_ms = self.shared.clock.monotonic_ms();
        let dirty_bytes = self.shared.dirty_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        let open = cut::OpenEpoch {
            age_ms: now_ms.saturating_sub(self.epoch.opened_ms),
            output_bytes: self.epoch.output_bytes + self.shared.output_bytes.load(Ordering::Relaxed),
            dirty_bytes,
        };
        let is_last = control.is_draining();
        let (is_asked, is_due) = match self.swaps.trial_is_over() {
            // A trial has a time of its own, and nobody else's wish makes it shorter.
            Some(is_over) => (is_over, cut::is_full(&plan.commit, plan.state_memory_bytes, &open)),
            None => (
                !self.savepoints.is_empty() || self.swaps.is_armed(),
                cut::is_due(&plan.commit, plan.state_memory_bytes, &open),
            ),
        };
        if !(is_asked || is_due || is_last || self.has_ended) {
            return;
        }
        if is_last {
            self.set_phase(RunPhase::Draining);
        }
        self.has_ended = false;
        self.epoch.cut_ms = Some(now_ms);
        self.epoch.is_last = is_last;
        let switch = if is_last { None } else { self.swaps.take_switch() };
        self.tell_all(&Command::Cut { last: is_last, switch });
    }

    /// Takes a report in its turn; tells the end of the run.
    fn hear(&mut self, report: Report) -> Result<Option<RunEnd>, RunError> {
        match report {
            Report::Output { worker, .. } if self.epoch.has_part_of(worker) => self.held.push_back(report),
            Report::Output { sink, batch, .. } => {
                if let Some(batch) = self.swaps.hold(sink, batch) {
                    self.write_now(sink, batch)?;
                }
            }
            Report::Part(part) => {
                let worker = part.worker;
                if let Some(place) = self.epoch.parts.get_mut(worker) {
                    *place = Some(part);
                }
                if self.epoch.parts.iter().all(Option::is_some) {
                    return self.commit();
                }
            }
            Report::Ended => self.has_ended = true,
            Report::Failed(error) => return Err(error.into()),
            Report::TrialFailed(fault) => {
                self.swaps.hear_fault(fault);
                self.fail_trial_if_told()?;
            }
            // News for whoever looks at the trial next, and answers to what only recovery asks.
            Report::TrialFull | Report::Held | Report::Ready => {}
        }
        Ok(None)
    }

    /// Hands records to the committer; false: the epoch was lost, and everything since the newest commit is dropped.
    pub(super) fn write_now(&mut self, sink: SinkIndex, batch: RecordBatch) -> Result<bool, RunError> {
        let bytes = batch.bytes_len() as u64;
        let written = self.committer.write(sink, &batch);
        self.shared.output_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.epoch.output_bytes += bytes;
        if let Some(records) = self.epoch.records.get_mut(sink.at()) {
            *records += batch.len() as u64;
        }
        self.reuse(batch);
        match written {
            Ok(()) => Ok(true),
            Err(lost) => self.recover(&lost).map(|record| record.is_some()),
        }
    }

    fn reuse(&self, mut batch: RecordBatch) {
        batch.clear();
        let mut spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(batch);
        }
    }

    /// Commits the epoch, all parts of which are in.
    fn commit(&mut self) -> Result<Option<RunEnd>, RunError> {
        let mut parts: Vec<Part> = self.epoch.parts.iter_mut().filter_map(Option::take).collect();
        let finished = parts.iter().all(|part| part.ended);
        self.show_progress(&parts);
        self.swaps.take_parts(&parts);
        if !self.judge_trial()? {
            return Ok(None);
        }
        let lineup = Arc::clone(self.swaps.lineup());
        check_copies(&lineup.plan, &parts)?;
        let sweeps: Vec<_> = parts.iter_mut().map(|part| std::mem::take(&mut part.sweeps)).collect();
        let mut older_versions = lineup.older_versions.clone();
        sweep::finish(&lineup.plan, &sweeps, &mut older_versions);
        let mut end = EpochEnd {
            positions: Vec::new(),
            operators: super::commits::operators(&self.swaps.lineup().plan, &parts)?,
            changes: Vec::new(),
            gaps: Vec::new(),
            finished,
            older_versions,
            force: self.epoch.is_last || !self.savepoints.is_empty() || self.swaps.forces_commit(),
        };
        for part in parts {
            end.positions.extend(part.positions);
            end.changes.push(part.changes);
            end.gaps.extend(part.gaps);
        }
        let committed = self.committer.commit(end);
        let record = match committed {
            Ok(record) => record,
            Err(lost) => match self.recover(&lost)? {
                Some(record) => Some(record),
                None => return Ok(None),
            },
        };
        for (at, _) in lineup.plan.operators.iter().enumerate() {
            self.shared.board.show_migration(at, sweep::status(&lineup.plan, at, &sweeps));
        }
        self.after_commit(record, finished)
    }

    /// Opens the next epoch, whose records may have come in already.
    fn after_commit(&mut self, record: Option<CommitRecord>, finished: bool) -> Result<Option<RunEnd>, RunError> {
        let now_ms = self.shared.clock.monotonic_ms();
        let record = record.map(Arc::new);
        if let Some(record) = &record {
            let took_ms = self.epoch.cut_ms.map_or(0, |cut_ms| now_ms.saturating_sub(cut_ms));
            self.shared.board.committed(record, took_ms);
            self.swaps.take_older_versions(record);
            self.lookout.acknowledged(record);
            for (counters, records) in self.shared.board.sinks.iter().zip(&self.epoch.records) {
                counters.records.add(*records);
            }
        }
        self.checkpoint(record.is_some(), now_ms);
        let is_last = self.epoch.is_last;
        self.tell_all(&Command::Applied(record.clone()));
        let opened_ms = self.epoch.cut_ms.unwrap_or(now_ms);
        self.epoch = OpenEpoch::new(self.workers(), self.swaps.lineup().plan.sinks.len(), opened_ms);
        self.swaps.epoch_done(record.as_deref());
        if finished {
            return Ok(Some(RunEnd::Finished));
        }
        if is_last {
            return Ok(Some(RunEnd::Drained));
        }
        self.fail_trial_if_told()?;
        // Where one of them loses the epoch, the others are dropped with it.
        for _ in 0..self.held.len() {
            let Some(report) = self.held.pop_front() else { break };
            if let Some(end) = self.hear(report)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// After an epoch was lost: finds out what became of it. `Some`: it is committed all the same.
    fn recover(&mut self, lost: &EpochLost) -> Result<Option<CommitRecord>, RunError> {
        super::recovery::recover(self, lost)
    }

    fn show_progress(&self, parts: &[Part]) {
        let plan = &self.swaps.lineup().plan;
        let progress = parts.iter().flat_map(|part| &part.progress);
        let mut positions: Vec<PartitionStatus> = progress
            .map(|(source, progress)| PartitionStatus {
                source: plan.sources.get(*source as usize).map(|node| node.id.clone()).unwrap_or_default(),
                partition: progress.partition,
                next: progress.next,
                end: progress.end,
            })
            .collect();
        positions.sort_by(|a, b| (&a.source, a.partition).cmp(&(&b.source, b.partition)));
        self.shared.board.update(|status| status.positions = positions);
    }

    /// Takes the checkpoints that are due: the store holds exactly the newest commit now.
    fn checkpoint(&mut self, is_new: bool, now_ms: u64) {
        let savepoints = std::mem::take(&mut self.savepoints);
        let Some(record) = self.committer.applied() else {
            refuse(savepoints, &self.swaps.lineup().plan.id, "nothing has been committed yet");
            return;
        };
        if !savepoints.is_empty() {
            let done: CheckpointDone = Box::new(move |taken| {
                for savepoint in savepoints {
                    savepoint(taken.clone());
                }
            });
            self.checkpoints.take(record, CheckpointKind::Savepoint, done);
            return;
        }
        let interval_ms = self.swaps.lineup().plan.checkpoint_interval_ms;
        if is_new && interval_ms.is_some_and(|interval_ms| now_ms.saturating_sub(self.checkpointed_ms) >= interval_ms) {
            self.checkpointed_ms = now_ms;
            let done: CheckpointDone = Box::new(|taken| match taken {
                Ok(taken) => tracing::info!(location = taken.location, bytes = taken.bytes, "checkpoint taken"),
                Err(error) => tracing::warn!(%error, "checkpoint failed; the pipeline goes on"),
            });
            self.checkpoints.take(record, CheckpointKind::Periodic, done);
        }
    }

    /// Tells those who still wait for a savepoint that none will come.
    pub(super) fn refuse_savepoints(&mut self, control: &Control) {
        let mut waiting = std::mem::take(&mut self.savepoints);
        waiting.append(&mut control.take_savepoints());
        refuse(waiting, &self.swaps.lineup().plan.id, "the run ended before the next commit");
    }
}

fn refuse(savepoints: Vec<CheckpointDone>, id: &str, reason: &str) {
    for savepoint in savepoints {
        savepoint(Err(CheckpointError { location: id.to_owned(), reason: reason.to_owned() }));
    }
}
