use super::{Step, Swaps, Trial, UnderWay};
use crate::commit::Committer;
use crate::planted::Bug;
use crate::swap::{EventKind, FaultPlace, SwapRefused, TrialFailure, Verdict, judge};
use crate::worker::{Stoppage, Watch};
use millstream_model::commit::CommitRecord;
use millstream_model::ids::SinkIndex;
use millstream_model::record::{Origin, RecordBatch};

/// How often a trial may fail on a record on which the version before fails as well.
const EXCUSES_MAX: u32 = 5;

/// What is to be done with an epoch, all parts of which are in.
pub(in crate::run) enum Judged {
    /// It is no trial.
    NoTrial,
    /// The trial is passed: these are its outputs.
    Passed(Vec<(SinkIndex, RecordBatch)>),
    /// It is not: everything of it is to be dropped.
    Failed(TrialFault),
}

/// Why a trial failed.
pub(in crate::run) struct TrialFault {
    pub(in crate::run) failure: TrialFailure,
    /// The record, for workers.
    pub(in crate::run) origin: Option<Origin>,
}

/// A swap that ends once the version before is back.
pub(in crate::run) struct Refused(UnderWay, TrialFailure);

impl Swaps {
    fn trial(&self) -> Option<(&UnderWay, &Trial)> {
        let under_way = self.under_way.as_ref()?;
        match &under_way.step {
            Step::Trial(trial) => Some((under_way, trial)),
            _ => None,
        }
    }

    fn trial_mut(&mut self) -> Option<&mut Trial> {
        match &mut self.under_way.as_mut()?.step {
            Step::Trial(trial) => Some(trial),
            _ => None,
        }
    }

    /// Whether the open epoch is a trial, and whether that has had its records or its time.
    pub(in crate::run) fn trial_is_over(&self) -> Option<bool> {
        let (under_way, trial) = self.trial()?;
        let time_ms_max = under_way.rules.time_ms_max(self.committed.plan.commit.transaction_timeout_ms);
        Some(trial.quota.is_full() || self.now_ms().saturating_sub(trial.since_ms) >= time_ms_max)
    }

    /// Keeps outputs of a trial; gives back those of any other epoch.
    pub(in crate::run) fn hold(&mut self, sink: SinkIndex, batch: RecordBatch) -> Option<RecordBatch> {
        match self.trial_mut().filter(|_| !Bug::WriteTrials.is_planted()) {
            Some(trial) => {
                trial.held.push((sink, batch));
                None
            }
            None => Some(batch),
        }
    }

    /// A worker stands still. In a trial that is taken note of; else it is given back.
    pub(in crate::run) fn hear_stoppage(&mut self, stoppage: Stoppage) -> Option<Stoppage> {
        let under_way = self.under_way.as_mut();
        let Some((operator, step)) = under_way.map(|under_way| (under_way.operator, &mut under_way.step)) else {
            return Some(stoppage);
        };
        let (Step::Trial(trial) | Step::Switching(Some(trial))) = step else { return Some(stoppage) };
        let Stoppage { mut failure, origin, error, .. } = stoppage;
        if stoppage.operator != operator {
            failure.reason = error.to_string();
        }
        trial.fault.get_or_insert(TrialFault { failure, origin });
        None
    }

    /// The failure of the trial, once the epoch before it is committed: till then there is nowhere to go back to.
    pub(in crate::run) fn take_fault(&mut self) -> Option<TrialFault> {
        self.trial_mut()?.fault.take()
    }

    /// An operator on probation must not go on: whether the version before goes on in its place, from the newest commit.
    pub(in crate::run) fn rescue(&mut self, stoppage: &Stoppage, committer: &mut Committer) -> bool {
        let operator = stoppage.operator;
        let is_on_probation = self.seats.get(operator).is_some_and(|seat| seat.probation.is_some());
        if !is_on_probation || self.under_way.is_some() {
            return false;
        }
        let because = format!("it would have stopped the pipeline: {}", stoppage.failure);
        let Ok(mut wanted) = self.want_return(operator, because) else { return false };
        wanted.is_rescue = true;
        self.begin(wanted, None, committer);
        self.under_way.is_some()
    }

    /// Judges the epoch, if it is a trial. [`Swaps::take_parts`] came before.
    pub(in crate::run) fn judge(&mut self) -> Judged {
        let Some((under_way, _)) = self.trial() else { return Judged::NoTrial };
        let operator = under_way.operator;
        let new = self.pending.get(operator).copied().unwrap_or_default();
        let old = self.seats.get(operator).map(|seat| seat.tally).unwrap_or_default();
        if let Verdict::Failed(failure) = judge(&under_way.rules, &new, &old) {
            return Judged::Failed(TrialFault { failure, origin: None });
        }
        let held = self.trial_mut().map(|trial| std::mem::take(&mut trial.held)).unwrap_or_default();
        if let Some(under_way) = &mut self.under_way {
            under_way.trial_records = new.records;
            under_way.step = Step::Settling;
        }
        if Bug::SettleEarly.is_planted() {
            self.settle();
        }
        Judged::Passed(held)
    }

    /// The trial failed, and the workers go back to the version before: if it was on a record, they tell whether that fails on it as well.
    /// Else, or if it was excused often enough, the swap is over once they are back.
    pub(in crate::run) fn fail(&mut self, fault: TrialFault) -> Option<Refused> {
        let mut under_way = self.under_way.take()?;
        let is_known = fault.failure.place.as_ref().is_some_and(|place| place.partition >= 0);
        match fault.origin.filter(|_| is_known) {
            Some(origin) => {
                let watch = Watch { operator: under_way.operator, origin };
                under_way.step = Step::Confirming(fault.failure, watch);
                self.under_way = Some(under_way);
                None
            }
            None => Some(Refused(under_way, fault.failure)),
        }
    }

    /// Tells that a swap failed, now that the version before goes on.
    pub(in crate::run) fn refuse_failed(&mut self, Refused(under_way, failure): Refused) {
        let node = self.committed.plan.operators.get(under_way.operator);
        let operator = node.map(|node| node.id.clone()).unwrap_or_default();
        self.refuse(under_way, SwapRefused::Trial { operator, failure });
    }

    /// Decides about a failure once the version before is past the record.
    pub(super) fn confirm(&mut self, record: Option<&CommitRecord>) {
        let Some(record) = record else { return };
        let has_failed_again = self.has_failed_again;
        let Some(under_way) = &mut self.under_way else { return };
        let Step::Confirming(failure, _) = &under_way.step else { return };
        if !failure.place.as_ref().is_some_and(|place| is_past(record, place)) {
            return;
        }
        self.has_failed_again = false;
        let mut failure = failure.clone();
        if has_failed_again && under_way.excused < EXCUSES_MAX {
            under_way.excused += 1;
            let (operator, digest) = (under_way.operator, under_way.digest());
            under_way.prepare(self.workers);
            self.tell(operator, EventKind::Again, digest, format!("the version before fails on it as well: {failure}"));
            return;
        }
        if has_failed_again {
            failure.reason += "; the version before fails on it as well, but that was so for the last trials, too";
        }
        if let Some(under_way) = self.under_way.take() {
            self.refuse_failed(Refused(under_way, failure));
        }
    }
}

fn is_past(record: &CommitRecord, place: &FaultPlace) -> bool {
    record.positions.iter().any(|position| {
        position.source == place.source && position.partition == place.partition && position.next > place.offset
    })
}
