//! The swaps of a run: which versions run, which one is about to, and what becomes of it. Knows no workers: the coordinator asks it what to do, and does it.

mod begin;
mod end;
mod seat;
mod trial;

pub(super) use trial::Judged;

use super::prepare::Preparation;
use super::wiring::PartsMaker;
use crate::commit::Committer;
use crate::ports::Operator;
use crate::swap::{
    ProbationRules, SwapAnswer, SwapKind, SwapPhase, SwapPlan, SwapRefused, Tally, TrialFailure, TrialRules,
};
use crate::worker::{Lineup, Part, Quota, Reset, Switch, TrialFault, Watch};
use millstream_model::commit::CommitRecord;
use millstream_model::ids::{Digest, SinkIndex};
use millstream_model::record::RecordBatch;
use seat::Seat;
use std::sync::Arc;

/// See the module.
pub(super) struct Swaps {
    maker: PartsMaker,
    workers: usize,
    /// What the newest commit was made under.
    committed: Arc<Lineup>,
    /// What the open epoch runs.
    running: Arc<Lineup>,
    /// By operator.
    seats: Vec<Seat>,
    /// What operators did in epochs that are cut and not yet committed.
    pending: Vec<Tally>,
    /// The same for the record that is watched.
    has_failed_again: bool,
    under_way: Option<UnderWay>,
}

/// A swap under way.
struct UnderWay {
    operator: usize,
    kind: SwapKind,
    rules: TrialRules,
    probation: ProbationRules,
    plan: SwapPlan,
    next: Arc<Lineup>,
    /// Why the run goes back by itself; empty: somebody asked.
    because: String,
    done: Option<SwapAnswer>,
    /// Trials that failed on a record on which the version before failed as well.
    excused: u32,
    trial_records: u64,
    step: Step,
}

/// How far a swap is.
enum Step {
    /// Instances are made.
    Preparing(Preparation),
    /// They wait for the next cut.
    Armed(Vec<Box<dyn Operator>>),
    /// Workers take over as they give their parts of the epoch before.
    Switching(Option<Trial>),
    /// That epoch is committed, the new version's first one runs.
    Trial(Trial),
    /// Its first epoch is to be committed.
    Settling,
    /// The version before processes the record again that the trial failed on.
    Confirming(TrialFailure, Watch),
}

/// The first epoch of a new version.
struct Trial {
    quota: Arc<Quota>,
    /// When the epoch before was committed, on the monotonic clock.
    since_ms: u64,
    /// What it put out: nobody sees it before it is judged.
    held: Vec<(SinkIndex, RecordBatch)>,
    fault: Option<TrialFault>,
}

impl UnderWay {
    fn prepare(&mut self, workers: usize) {
        if let Some(parts) = self.next.operators.get(self.operator) {
            self.step = Step::Preparing(Preparation::begin(&parts.node.id, &parts.factory, workers));
        }
    }

    fn digest(&self) -> Digest {
        self.next.plan.operators.get(self.operator).map(|node| node.digest).unwrap_or_default()
    }

    fn phase(&self) -> SwapPhase {
        match &self.step {
            Step::Trial(trial) => SwapPhase::Trial { records: trial.quota.given(), of: trial.quota.records() },
            Step::Settling if self.kind != SwapKind::Return => {
                SwapPhase::Trial { records: self.trial_records, of: self.rules.records }
            }
            Step::Confirming(..) => SwapPhase::Confirming,
            _ => SwapPhase::Armed,
        }
    }
}

impl Swaps {
    pub(super) fn new(maker: PartsMaker, lineup: &Arc<Lineup>, workers: usize) -> Self {
        Self {
            maker,
            workers,
            committed: Arc::clone(lineup),
            running: Arc::clone(lineup),
            seats: lineup.operators.iter().map(|_| Seat::default()).collect(),
            pending: vec![Tally::default(); lineup.operators.len()],
            has_failed_again: false,
            under_way: None,
        }
    }

    /// What the open epoch runs.
    pub(super) fn lineup(&self) -> &Arc<Lineup> {
        &self.running
    }

    /// Takes over which versions of values still lie about from a commit of the epoch that ran the lineup: sweeps make them fewer.
    pub(super) fn take_older_versions(&mut self, record: &CommitRecord) {
        if self.running.older_versions == record.older_versions {
            return;
        }
        let Lineup { plan, operators, .. } = self.running.as_ref();
        let older_versions = record.older_versions.clone();
        let lineup = Lineup { plan: Arc::clone(plan), operators: operators.clone(), older_versions };
        let swept = Arc::new(lineup);
        if Arc::ptr_eq(&self.running, &self.committed) {
            self.committed = Arc::clone(&swept);
        }
        self.running = swept;
    }

    fn now_ms(&self) -> u64 {
        self.maker.shared.clock.monotonic_ms()
    }

    /// Looks whether something is due that no commit brings about. At any time.
    pub(super) fn tend(&mut self, committer: &mut Committer) {
        match self.under_way.as_mut().map(|under_way| &mut under_way.step) {
            None => self.end_probations(committer),
            Some(Step::Preparing(preparation)) => match preparation.poll() {
                Some(Ok(instances)) => self.step(Step::Armed(instances)),
                Some(Err(error)) => self.give_up(SwapRefused::Open(error)),
                None => {}
            },
            Some(Step::Trial(_)) => self.show(),
            Some(_) => {}
        }
    }

    fn step(&mut self, step: Step) {
        if let Some(under_way) = &mut self.under_way {
            under_way.step = step;
        }
    }

    /// Whether the next epoch could be another version's.
    pub(super) fn is_armed(&self) -> bool {
        matches!(self.under_way, Some(UnderWay { step: Step::Armed(_), .. }))
    }

    /// The switch for a cut that is made now.
    pub(super) fn take_switch(&mut self) -> Option<Arc<Switch>> {
        let under_way = self.under_way.as_mut()?;
        let Step::Armed(instances) = &mut under_way.step else { return None };
        let instances = std::mem::take(instances);
        let next = Arc::clone(&under_way.next);
        let switch = Switch::new(next, under_way.operator, under_way.plan.keeps_cache, instances);
        let (switch, trial) = if under_way.kind == SwapKind::Return {
            (switch, None)
        } else {
            let quota = Arc::new(Quota::new(under_way.rules.records));
            (switch.on_trial(&quota), Some(Trial { quota, since_ms: 0, held: Vec::new(), fault: None }))
        };
        under_way.step = Step::Switching(trial);
        Some(Arc::new(switch))
    }

    /// Whether somebody waits for the commit of the epoch that is cut.
    pub(super) fn forces_commit(&self) -> bool {
        let step = self.under_way.as_ref().map(|under_way| &under_way.step);
        matches!(step, Some(Step::Switching(_) | Step::Settling | Step::Confirming(..)))
    }

    /// Takes note of what was done in an epoch, all parts of which are in. It counts once that is committed.
    pub(super) fn take_parts(&mut self, parts: &[Part]) {
        for part in parts {
            self.pending.iter_mut().zip(&part.tallies).for_each(|(pending, tally)| pending.add(tally));
            self.has_failed_again |= part.has_failed_again;
        }
    }

    /// An epoch is over: it is committed, or there was nothing to commit.
    pub(super) fn epoch_done(&mut self, record: Option<&CommitRecord>) {
        let is_committed = record.is_some();
        match self.under_way.as_mut().map(|under_way| &mut under_way.step) {
            Some(Step::Switching(trial)) => {
                let trial = trial.take();
                // What the version before did is not the new one's, committed or not.
                self.count(true);
                self.take_over(trial);
            }
            Some(Step::Settling) if is_committed => {
                self.settle();
                self.count(true);
            }
            Some(Step::Confirming(..)) => {
                self.confirm(record);
                self.count(is_committed);
            }
            _ => self.count(is_committed),
        }
        self.show();
    }

    /// Every worker has given its part of the epoch before, and has the new version or gets it with the news that this is in the store.
    fn take_over(&mut self, trial: Option<Trial>) {
        let since_ms = self.now_ms();
        let Some(under_way) = &mut self.under_way else { return };
        self.running = Arc::clone(&under_way.next);
        under_way.step = match trial {
            Some(trial) => Step::Trial(Trial { since_ms, ..trial }),
            None => Step::Settling,
        };
    }

    fn count(&mut self, is_committed: bool) {
        if is_committed {
            self.seats.iter_mut().zip(&mut self.pending).for_each(|(seat, pending)| seat.count(pending));
        }
    }

    /// Everything since the newest commit, which is this one, is dropped: where to go on. A switch that was not committed is made again.
    pub(super) fn rolled_back(&mut self, committed: Option<CommitRecord>) -> Reset {
        self.pending.fill(Tally::default());
        self.has_failed_again = false;
        self.running = Arc::clone(&self.committed);
        let mut watch = None;
        if let Some(under_way) = &mut self.under_way {
            match &under_way.step {
                Step::Switching(_) | Step::Trial(_) | Step::Settling => under_way.prepare(self.workers),
                Step::Confirming(_, watched) => watch = Some(*watched),
                Step::Preparing(_) | Step::Armed(_) => {}
            }
        }
        self.show();
        Reset { committed, lineup: Arc::clone(&self.committed), watch }
    }
}
