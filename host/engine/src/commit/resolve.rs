use super::committer::Transaction;
use super::decide::{self, Found, Outcome, Resolving};
use super::{Committer, Resolution, SinkPort, Stop};
use crate::planted::Bug;
use crate::ports::LogErrorKind;

/// Least pause before a resolve that may be about another owner, in milliseconds.
const FENCE_PAUSE_MS: u64 = 1_000;

/// What chance adds to it at most: two owners that fence each other in turn would go on for ever in step.
const FENCE_PAUSE_RANDOM_MS: u64 = 2_000;

impl Committer {
    /// Finds out what became of the epoch that was lost, and brings log, store and sinks in line with that.
    ///
    /// # Errors
    /// When the pipeline cannot go on.
    pub fn resolve(&mut self) -> Result<Resolution, Stop> {
        fail::fail_point!("in_resolve");
        if let Some(stop) = self.fatal.take() {
            return Err(stop);
        }
        if self.open.may_be_fenced {
            let random_ms = self.ports.clock.now_ms().unsigned_abs() % FENCE_PAUSE_RANDOM_MS;
            self.ports.clock.pause(FENCE_PAUSE_MS + random_ms);
        }
        let outcome = loop {
            self.resolves += 1;
            if self.resolves > self.settings.resolves_max {
                let reason = std::mem::take(&mut self.open.lost_because);
                return Err(Stop::ResolvesExhausted { resolves: self.resolves - 1, reason });
            }
            match self.outcome() {
                // Nothing was found out and nothing was done: the same again.
                Err(Stop::Log(error)) if error.kind != LogErrorKind::Fatal => {
                    self.ports.clock.pause(FENCE_PAUSE_MS);
                    self.open.lost_because = error.to_string();
                }
                outcome => break outcome?,
            }
        };
        if outcome == Outcome::Committed {
            self.apply()?;
            self.open.needs_init = false;
            self.resolves = 0;
            return Ok(self.applied.clone().map_or(Resolution::RolledBack(None), Resolution::Committed));
        }
        self.open = Transaction::new(self.ports.sinks.len());
        self.recover_sinks()?;
        Ok(Resolution::RolledBack(self.applied.clone()))
    }

    fn outcome(&mut self) -> Result<Outcome, Stop> {
        let Some(log) = &mut self.ports.log else { return Ok(Outcome::RolledBack) };
        log.init()?;
        if Bug::AssumeRolledBack.is_planted() {
            return Ok(Outcome::RolledBack);
        }
        if Bug::AssumeCommitted.is_planted() && self.open.decided.is_some() {
            return Ok(Outcome::Committed);
        }
        decide::at_resolve(&self.read_log()?, &self.resolving())
    }

    pub(super) fn resolving(&self) -> Resolving {
        Resolving {
            lineage: self.lineage,
            incarnation: self.incarnation,
            in_flight: self.open.decided.as_ref().map(|(record, _)| record.token),
            applied: self.applied.as_ref().map(|applied| applied.token),
        }
    }

    pub(super) fn read_log(&mut self) -> Result<Found, Stop> {
        match &mut self.ports.log {
            Some(log) => super::take::read_log(log.as_mut()),
            None => Ok(Found::default()),
        }
    }

    /// Cuts off what local sinks hold beyond the newest commit.
    pub(super) fn recover_sinks(&mut self) -> Result<(), Stop> {
        for (sink, id) in self.ports.sinks.iter_mut().zip(&self.identity.sink_ids) {
            if let SinkPort::Local(local) = sink {
                let length = self.applied.as_ref().and_then(|applied| applied.file_lengths.get(id));
                local.recover(length.copied().unwrap_or(0))?;
            }
        }
        Ok(())
    }
}
