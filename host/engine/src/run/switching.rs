use super::coordinator::Coordinator;
use super::recovery;
use super::swaps::{Judged, TrialFault};
use super::{Control, RunError};
use crate::commit::EpochLost;
use crate::worker::{Command, Stoppage};

impl Coordinator {
    /// Takes up what is asked for about versions of operators, and what became due of itself.
    pub(super) fn tend_swaps(&mut self, control: &Control) {
        for asking in control.take_swaps() {
            self.swaps.ask(asking, &mut self.committer);
        }
        for trying in control.take_tries() {
            self.swaps.try_migrations(trying, self.committer.catalog());
        }
        self.swaps.tend(&mut self.committer);
        if self.swaps.take_shadow_end() {
            self.tell_all(&Command::EndShadow);
        }
    }

    /// Judges the epoch, all parts of which are in, if it is a trial: one that passed is written, and the workers go on meanwhile. False: there is nothing to
    /// commit any more.
    pub(super) fn judge_trial(&mut self) -> Result<bool, RunError> {
        match self.swaps.judge() {
            Judged::NoTrial => Ok(true),
            Judged::Failed(fault) => {
                self.fail_trial(fault)?;
                Ok(false)
            }
            Judged::Passed(outputs) => {
                fail::fail_point!("swap_trial");
                self.tell_all(&Command::Proceed);
                for (sink, batch) in outputs {
                    if !self.write_now(sink, batch)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// A worker stands still on behalf of an operator. If that is on trial or on probation, the version before goes on; else the run ends.
    pub(super) fn hear_stoppage(&mut self, stoppage: Stoppage) -> Result<(), RunError> {
        let Some(stoppage) = self.swaps.hear_stoppage(stoppage) else { return self.fail_trial_if_told() };
        if !self.swaps.rescue(&stoppage, &mut self.committer) {
            return Err(stoppage.error.into());
        }
        // Some of the open epoch may have been written.
        let lost = EpochLost { reason: format!("the version before takes over again: {}", stoppage.failure) };
        self.recover(&lost).map(drop)
    }

    /// If the trial failed, and the epoch before it is committed, goes back to that with the version before.
    pub(super) fn fail_trial_if_told(&mut self) -> Result<(), RunError> {
        match self.swaps.take_fault() {
            Some(fault) => self.fail_trial(fault),
            None => Ok(()),
        }
    }

    /// Nothing of a trial has been written anywhere, so nothing has to be found out: the workers drop it, and with it every instance that ran.
    fn fail_trial(&mut self, fault: TrialFault) -> Result<(), RunError> {
        tracing::warn!(failure = %fault.failure, "a new version failed its trial; the one before goes on");
        let refused = self.swaps.fail(fault);
        recovery::hold(self)?;
        let newest = self.committer.applied().cloned();
        recovery::roll_back(self, newest)?;
        self.tell_all(&Command::Resume);
        if let Some(refused) = refused {
            self.swaps.refuse_failed(refused);
        }
        Ok(())
    }
}
