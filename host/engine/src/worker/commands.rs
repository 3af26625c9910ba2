use super::{Command, Report, Worker, WorkerError};
use millstream_model::commit::CommitRecord;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;

/// Committed positions are told to the sources at most this often, in milliseconds.
const COMMITTED_TOLD_EVERY_MS: u64 = 1_000;

impl Worker {
    /// Follows what the committer said since last time; waits for more while held. False: the run is over.
    pub(super) fn obey(&mut self) -> Result<bool, WorkerError> {
        loop {
            let command = match self.ahead.take() {
                Some(command) => command,
                None if self.is_held || self.awaits.is_some() => match self.commands.recv() {
                    Ok(command) => command,
                    Err(_) => return Ok(false),
                },
                None => match self.commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty) => {
                        self.tell_committed();
                        return Ok(true);
                    }
                    Err(TryRecvError::Disconnected) => return Ok(false),
                },
            };
            match command {
                Command::Cut { last, switch } => self.begin_cut(last, switch),
                Command::Applied(record) => {
                    self.applied(record);
                    self.switch_if_awaited()?;
                }
                Command::Proceed => self.proceed(),
                Command::Hold => {
                    self.is_held = true;
                    self.report(Report::Held);
                }
                Command::Reset(reset) => {
                    self.reset(&reset)?;
                    self.report(Report::Ready);
                }
                Command::Resume => self.is_held = false,
                Command::Stop => return Ok(false),
            }
        }
    }

    fn applied(&mut self, record: Option<Arc<CommitRecord>>) {
        let memory_bytes_max = self.task_memory_bytes();
        for (task, frozen) in self.tasks.iter_mut().zip(self.cut.frozen()) {
            task.applied(*frozen, memory_bytes_max);
        }
        if let Some(record) = record {
            self.take_older_versions(&record);
            self.untold = Some(record);
        }
    }

    /// Tells the sources the newest commit, as soon as the one told last is old enough: the last commit before a pause is told as well.
    fn tell_committed(&mut self) {
        if self.untold.is_none() {
            return;
        }
        let now_ms = self.shared.clock.monotonic_ms();
        if now_ms.saturating_sub(self.committed_told_ms) >= COMMITTED_TOLD_EVERY_MS
            && let Some(record) = self.untold.take()
        {
            self.committed_told_ms = now_ms;
            self.intake.committed(&self.plan, &record.positions);
        }
    }

    /// Each stateful task's share of the memory for state.
    pub(super) fn task_memory_bytes(&self) -> usize {
        let stateful = self.plan.operators.iter().filter(|node| node.descriptor.is_keyed()).count();
        let shares = (stateful * self.exchange.workers()).max(1) as u64;
        usize::try_from(self.plan.state_memory_bytes / shares).unwrap_or(usize::MAX)
    }
}
