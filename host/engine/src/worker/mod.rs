//! A worker: the thread that takes records from its sources through its operators to the sinks, and cuts its part of every epoch.

mod commands;
mod copies;
mod cut;
mod deliver;
mod intake;
mod lineup;
mod marks;
mod protocol;
mod refuse;
mod search;
mod sweep;
mod switch;
mod timers;
mod trial;

pub use copies::{TableCopy, check_copies};
pub use lineup::Lineup;
pub use protocol::{Command, Part, Report, WorkerError};
pub use switch::{Reset, Switch};
pub use trial::{Quota, TrialFault, Watch};

use crate::call::SizeLimits;
use crate::exchange::Exchange;
use crate::keyed::Share;
use crate::places::Places;
use crate::ports::{Clock, EventTime, Source};
use crate::run::board::Board;
use crate::swap::Tally;
use crate::task::{Task, Verdicts};
use cut::Cut;
use intake::Intake;
use marks::Marks;
use millstream_model::commit::CommitRecord;
use millstream_model::plan::Plan;
use millstream_model::record::{Origin, RecordBatch};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switch::Awaits;
use trial::Trial;

/// How long a worker waits for commands or parcels when there is nothing to do.
const IDLE_WAIT: Duration = Duration::from_millis(5);

/// How long it waits for parcels between two polls of a source that has nothing.
const PARCEL_WAIT: Duration = Duration::ZERO;

/// What all workers and the committer share.
pub struct Shared {
    /// Counters.
    pub board: Arc<Board>,
    /// Whether nothing is to be read from the sources.
    pub paused: Arc<AtomicBool>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The largest records that sinks and changelog take.
    pub sizes: Arc<SizeLimits>,
    /// The topic that each source reads, by the source's id; those that read none are not there.
    pub topics: BTreeMap<String, String>,
    /// By source: where its event time is found, if that is not its own timestamp.
    pub event_times: Vec<Option<Arc<dyn EventTime>>>,
    /// Bytes of outputs on their way to the committer.
    pub output_bytes: AtomicU64,
    /// Bytes of state changed in the open epoch, nearly.
    pub dirty_bytes: Vec<AtomicU64>,
    /// Emptied batches for outputs.
    pub spare: Mutex<Vec<RecordBatch>>,
    /// What the origins of records stand for.
    pub places: Arc<Places>,
}

/// See the module.
pub struct Worker {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    intake: Intake,
    tasks: Vec<Task>,
    exchange: Exchange,
    verdicts: Verdicts,
    /// Records for each sink, not yet handed to the committer.
    outputs: Vec<RecordBatch>,
    /// Emptied batches for records between operators.
    between: Vec<RecordBatch>,
    /// Rows of a batch by owner; buffers.
    split: Vec<Vec<u32>>,
    cut: Cut,
    commands: Receiver<Command>,
    reports: Sender<Report>,
    /// What is known of time.
    marks: Marks,
    /// The clock of what is in hand, in milliseconds since 1970.
    now_ms: i64,
    /// A command received while waiting.
    ahead: Option<Command>,
    is_held: bool,
    /// Whether the delivery in hand has had an effect.
    touched: bool,
    /// Whether the delivery in hand is to be repeated in small pieces.
    retreat: bool,
    /// Whether the records in hand come to every worker, and another one tells what became of them.
    is_echo: bool,
    committed_told_ms: u64,
    /// The newest commit, if the sources have not been told.
    untold: Option<Arc<CommitRecord>>,
    /// What it waits for, standing still.
    awaits: Option<Awaits>,
    trial: Option<Trial>,
    /// The record that the last error is about.
    blamed: Option<Origin>,
    /// What each operator did in the open epoch.
    tallies: Vec<Tally>,
    watch: Option<Watch>,
    /// Whether the watched record was failed on.
    has_failed_again: bool,
    /// When a slice of a sweep is due.
    pace: sweep::Pace,
}

/// What a worker is made of.
pub struct WorkerParts {
    /// What it shares with others.
    pub shared: Arc<Shared>,
    /// The pipeline.
    pub plan: Arc<Plan>,
    /// Its part of every source, in the order of the plan, where the newest commit says.
    pub sources: Vec<Box<dyn Source>>,
    /// The newest commit.
    pub committed: Option<CommitRecord>,
    /// In the order of the plan.
    pub tasks: Vec<Task>,
    /// Its place among the workers.
    pub exchange: Exchange,
    /// From the committer.
    pub commands: Receiver<Command>,
    /// To the committer.
    pub reports: Sender<Report>,
}

impl Worker {
    /// Puts a worker together.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        let sinks = parts.plan.sinks.len();
        let mut worker = Self {
            intake: Intake::new(parts.sources, parts.plan.batch),
            cut: Cut::new(parts.tasks.len()),
            split: vec![Vec::new(); parts.exchange.workers()],
            tasks: parts.tasks,
            exchange: parts.exchange,
            verdicts: Verdicts::default(),
            outputs: vec![RecordBatch::default(); sinks],
            between: Vec::new(),
            commands: parts.commands,
            reports: parts.reports,
            marks: Marks::new(&parts.plan),
            now_ms: i64::MIN,
            ahead: None,
            is_held: false,
            touched: false,
            retreat: false,
            is_echo: false,
            committed_told_ms: 0,
            untold: None,
            awaits: None,
            trial: None,
            blamed: None,
            tallies: vec![Tally::default(); parts.plan.operators.len()],
            watch: None,
            has_failed_again: false,
            pace: sweep::Pace::default(),
            plan: parts.plan,
            shared: parts.shared,
        };
        worker.share_state();
        worker.restore_time(parts.committed.as_ref());
        worker
    }

    /// Tells every task which part of its operator's state is this worker's.
    pub(super) fn share_state(&mut self) {
        let share = Share::of(self.exchange.worker(), self.exchange.workers() as u32);
        self.tasks.iter_mut().for_each(|task| task.share_state(&share));
    }

    /// Works until told to stop, or until it cannot go on, which it reports.
    pub fn run(mut self) {
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work()));
        let error = match worked {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                WorkerError::Panicked(text.unwrap_or_else(|| "no message".to_owned()))
            }
        };
        self.report(Report::Failed(error));
    }

    fn work(&mut self) -> Result<(), WorkerError> {
        loop {
            if !self.obey()? {
                return Ok(());
            }
            if let Err(error) = self.turn() {
                self.fail_trial(error)?;
            }
        }
    }

    fn turn(&mut self) -> Result<(), WorkerError> {
        // What comes behind a mark waits for the timers that are due by it, if it can.
        let fires = self.is_firing() && self.may_go_on();
        if !fires {
            self.receive(PARCEL_WAIT)?;
        }
        self.advance_cut()?;
        if self.awaits.is_some() {
            return Ok(());
        }
        if fires {
            return self.fire();
        }
        self.sweep()?;
        if self.may_read() { self.read() } else { self.wait() }
    }

    /// Whether to take records from the sources.
    fn may_read(&mut self) -> bool {
        self.may_go_on()
            && !self.is_firing()
            && !self.intake.has_ended()
            && !self.shared.paused.load(Ordering::Relaxed)
            && !self.is_sated()
    }

    /// Whether to begin anything, be it with records or with timers: not while the worker's part of a cut is open, nor when a receiver of its records has no room.
    fn may_go_on(&self) -> bool {
        let output_bytes = self.shared.output_bytes.load(Ordering::Relaxed);
        !self.cut.is_open()
            && !self.cut.was_last()
            && output_bytes < self.plan.commit.output_bytes_max
            && self.exchange.has_room()
    }

    /// Waits for something to do when the sources are not to be read.
    fn wait(&mut self) -> Result<(), WorkerError> {
        if self.exchange.workers() > 1 {
            return self.receive(Duration::from_millis(1));
        }
        self.ahead = self.commands.recv_timeout(IDLE_WAIT).ok();
        Ok(())
    }

    /// Processes what other workers sent.
    fn receive(&mut self, patience: Duration) -> Result<(), WorkerError> {
        if self.exchange.workers() == 1 {
            return Ok(());
        }
        let mut patience = patience;
        while let Some(parcel) = self.exchange.next(patience) {
            // There is no batch of a source that could come again instead.
            self.touched = true;
            self.take_parcel(parcel)?;
            patience = Duration::ZERO;
        }
        Ok(())
    }

    fn report(&self, report: Report) {
        // A committer that is gone has ended the run; the worker finds its command channel closed.
        let _ = self.reports.send(report);
    }
}

#[cfg(test)]
mod tests;
