//! Timers under test: what is pending, and how it fires.

use super::{
    Harness, Pending, Rejected, Step,
    bench::{Bench, Seat},
    kept::Clock,
    plan::Cut,
    run::Runner,
};
use crate::{
    OnTimer, Operator,
    descriptor::Descriptor,
    record::Call,
    timer::{self, FiredColumns},
};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds after which timers that set each other are taken to do so for ever: as the host's `limits.timer_rounds` has it by default.
const ROUNDS_MAX: usize = 100_000;

/// Pending timers: times by key, timer and id.
pub(crate) type Timers = BTreeMap<(Vec<u8>, u32, u64), i64>;

/// A timer that fires: key, timer, id and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) key: Vec<u8>,
    pub(crate) timer: u32,
    pub(crate) id: u64,
    pub(crate) time_ms: i64,
}

impl Due {
    pub(crate) fn shown(&self, descriptor: &Descriptor) -> Pending {
        let timer = descriptor.timers.get(self.timer as usize).map(|timer| timer.name.clone()).unwrap_or_default();
        Pending { time_ms: self.time_ms, timer, id: self.id, key: self.key.clone() }
    }
}

impl<O: Operator> Harness<O> {
    /// Lets its timers fire, for an operator that is exported `with OnTimer`: when [`Harness::watermark`] comes to the time of an event timer, and [`Harness::now`] to that of
    /// a processing timer.
    #[must_use]
    pub fn with_timers(mut self) -> Self
    where
        O: OnTimer,
    {
        self.handle = Some(O::on_timer);
        self
    }

    /// Ends the input: the watermark goes to the end of time, and all event timers fire.
    pub fn end(&mut self) -> &mut Self {
        self.step(Step::Watermark(i64::MAX))
    }

    /// The timers that are pending, in the order of time.
    ///
    /// # Panics
    /// Results depend on how batches are cut.
    pub fn timers(&self) -> Vec<Pending> {
        let due = self.outcome().timers.iter();
        let due = due.map(|((key, timer, id), &time_ms)| Due { key: key.clone(), timer: *timer, id: *id, time_ms });
        let mut pending: Vec<_> = due.map(|due| due.shown(&self.descriptor)).collect();
        pending.sort();
        pending
    }

    /// Takes over the timers of a version before.
    pub(super) fn take_over_timers(&mut self, before: &Descriptor, timers: &Timers) {
        for ((key, timer, id), time_ms) in timers {
            let Some(old) = before.timers.get(*timer as usize) else { continue };
            let new = self.descriptor.timers.iter().position(|new| new.name == old.name && new.clock == old.clock);
            let Some(new) = new else {
                panic!("a timer {:?} is pending, and the new version declares none of that name and clock", old.name)
            };
            self.pending.insert((key.clone(), new as u32, *id), *time_ms);
        }
        self.outcome = std::cell::OnceCell::new();
    }
}

impl<O: Operator> Runner<'_, O> {
    /// Fires what is due: in rounds of at most one timer per key.
    pub(super) fn fire(&mut self, position: usize, cut: Cut) {
        for _ in 0..ROUNDS_MAX {
            if self.outcome.stopped.is_some() {
                return;
            }
            let round = self.round();
            if round.is_empty() {
                return;
            }
            let rows_max = if cut.timers_max == 0 { round.len() } else { cut.timers_max };
            for part in round.chunks(rows_max) {
                if self.outcome.stopped.is_none() {
                    self.fire_part(position, part.to_vec(), cut);
                }
            }
        }
        panic!(
            "timers set others that are due at once, more than {ROUNDS_MAX} times in a row: the host takes that for a trap"
        );
    }

    /// The earliest timer of each key that has one due; those of one time in the order of timer and id.
    fn round(&self) -> Vec<Due> {
        let (watermark_ms, now_ms) = self.outcome.clock;
        let until_ms = |timer: u32| match self.descriptor.timers.get(timer as usize).map(|timer| timer.clock) {
            Some(timer::Clock::Event) => watermark_ms,
            Some(timer::Clock::Processing) => Some(now_ms),
            None => None,
        };
        let due = self.outcome.timers.iter().filter(|((_, timer, _), time_ms)| Some(**time_ms) <= until_ms(*timer));
        let mut due: Vec<Due> =
            due.map(|((key, timer, id), &time_ms)| Due { key: key.clone(), timer: *timer, id: *id, time_ms }).collect();
        due.sort_by(|one, other| {
            let place = |due: &Due| (due.time_ms, due.timer, due.id);
            place(one).cmp(&place(other)).then_with(|| one.key.cmp(&other.key))
        });
        let mut keys = BTreeSet::new();
        due.retain(|due| keys.insert(due.key.clone()));
        due
    }

    fn fire_part(&mut self, position: usize, part: Vec<Due>, cut: Cut) {
        let mut fired = Vec::new();
        for due in part {
            match self.migrate_key(&due.key) {
                Ok(()) => fired.push(due),
                Err(reason) => {
                    self.outcome.timers.remove(&(due.key.clone(), due.timer, due.id));
                    let timer = Some(due.shown(self.descriptor));
                    self.outcome.rejected.push(Rejected { position, value: None, reason, timer });
                }
            }
        }
        if fired.is_empty() {
            return;
        }
        if cut.repeat {
            let _dropped = self.call_timers(position, &fired);
        }
        let (seat, result) = self.call_timers(position, &fired);
        self.outcome.log.extend(seat.log.iter().cloned());
        match result {
            Ok(()) => seat.apply(&mut self.outcome, self.descriptor),
            Err(reason) => self.outcome.stopped = Some(reason),
        }
        if cut.restart {
            self.restart();
        }
    }

    fn call_timers(&mut self, position: usize, fired: &[Due]) -> (Seat, Result<(), String>) {
        let Some(handle) = self.handle else {
            panic!("a timer of the operator is due: `Harness::with_timers` lets it fire");
        };
        let clock: Clock = self.note_clock();
        let seat = Seat::of_timers(&self.descriptor.states, &self.outcome.states, position, fired, clock);
        let columns = FiredColumns {
            timers: fired.iter().map(|due| due.timer).collect(),
            ids: fired.iter().map(|due| due.id).collect(),
        };
        let call = Call::of_timers(columns, fired.iter().map(|due| due.time_ms).collect());
        Bench::during(seat, || self.instance.on_timers(handle, &call))
    }
}
