//! Runs the steps of a test under one plan.

use super::{
    Emitted, Message, Rejected, Step, Stored,
    bench::{Bench, Seat},
    kept::{Clock, Item, Kept},
    plan::{Cut, Plan},
    timers::Timers,
};
use crate::{
    Level, Operator, broadcast::Fold, descriptor::Descriptor, migrate::Rewrite, record::Call, run::Instance,
    timer::Handle,
};
use std::collections::BTreeMap;

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    /// Per output.
    pub(crate) outputs: Vec<Vec<Emitted>>,
    /// Per state.
    pub(crate) states: Vec<Kept>,
    /// Watermark and clock at the end.
    pub(crate) clock: Clock,
    pub(crate) timers: Timers,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) stopped: Option<String>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) gauges: BTreeMap<String, f64>,
    pub(crate) histograms: BTreeMap<String, Vec<f64>>,
    pub(crate) log: Vec<(Level, String)>,
}

/// What is run.
pub(crate) struct Test<'t, O> {
    pub(crate) config: &'t str,
    pub(crate) descriptor: &'t Descriptor,
    pub(crate) stored: &'t [Stored],
    pub(crate) rewrite: Option<Rewrite<O>>,
    pub(crate) fold: Option<Fold<O>>,
    pub(crate) handle: Option<Handle<O>>,
    pub(crate) pending: &'t Timers,
    pub(crate) steps: &'t [Step],
}

pub(super) struct Runner<'t, O> {
    config: &'t str,
    pub(super) descriptor: &'t Descriptor,
    pub(super) rewrite: Option<Rewrite<O>>,
    fold: Option<Fold<O>>,
    pub(super) handle: Option<Handle<O>>,
    pub(super) instance: Instance<O>,
    pub(super) outcome: Outcome,
    batch: Vec<(usize, &'t Message)>,
}

pub(crate) fn run<O: Operator>(test: &Test<'_, O>, plan: &Plan) -> Outcome {
    let &Test { config, descriptor, stored, rewrite, fold, handle, pending, steps } = test;
    let mut runner = Runner {
        config,
        descriptor,
        rewrite,
        fold,
        handle,
        instance: open::<O>(config, descriptor),
        outcome: Outcome { timers: pending.clone(), ..Outcome::before(descriptor, stored) },
        batch: Vec::new(),
    };
    for (position, (step, cut)) in steps.iter().zip(&plan.cuts).enumerate() {
        runner.step(position, step, *cut);
    }
    runner.end_batch(Cut::default());
    if runner.outcome.stopped.is_none() {
        runner.sweep();
    }
    runner.outcome
}

impl Outcome {
    /// What there is before the first step.
    fn before(descriptor: &Descriptor, stored: &[Stored]) -> Self {
        let mut outcome = Self {
            outputs: vec![Vec::new(); descriptor.outputs.len()],
            states: vec![Kept::default(); descriptor.states.len()],
            ..Self::default()
        };
        for Stored { state, version, key, map_key, bytes } in stored {
            let is_own = descriptor.states.get(*state).is_some_and(|state| state.version == *version);
            if let Some(kept) = outcome.states.get_mut(*state) {
                let item = Item::stored(bytes.clone(), (!is_own).then_some(*version));
                kept.items.insert((key.clone(), map_key.clone()), item);
            }
        }
        outcome
    }
}

fn open<O: Operator>(config: &str, expected: &Descriptor) -> Instance<O> {
    match Instance::<O>::open(config) {
        Ok((instance, descriptor)) if descriptor == *expected => instance,
        Ok(_) => panic!("opened twice with the same configuration, the operator declared different things"),
        Err(error) => panic!("opened a second time with the same configuration, the operator refused it: {error}"),
    }
}

impl<'t, O: Operator> Runner<'t, O> {
    fn step(&mut self, position: usize, step: &'t Step, cut: Cut) {
        if self.outcome.stopped.is_some() {
            return;
        }
        match step {
            Step::Push(message) => {
                if cut.here || self.batch.last().is_some_and(|(_, last)| last.input != message.input) {
                    self.end_batch(cut);
                }
                self.push(position, message);
            }
            Step::Restart => self.end_batch(Cut { restart: true, ..cut }),
            Step::Watermark(time_ms) => {
                self.end_batch(cut);
                let (watermark_ms, _) = &mut self.outcome.clock;
                *watermark_ms = (*watermark_ms).max(Some(*time_ms));
                self.fire(position, cut);
            }
            Step::Now(time_ms) => {
                self.end_batch(cut);
                let (_, now_ms) = &mut self.outcome.clock;
                *now_ms = (*now_ms).max(*time_ms);
                self.fire(position, cut);
            }
        }
    }

    fn push(&mut self, position: usize, message: &'t Message) {
        let keyed = self.descriptor.is_keyed() && !self.is_broadcast(message);
        if keyed && message.key.is_none() {
            // A keyed operator never sees a null key. The batch ends so that rejections keep the order of records.
            self.end_batch(Cut::default());
            let reason = "the record has no key".to_owned();
            self.outcome.rejected.push(Rejected { position, value: message.value.clone(), reason, timer: None });
        } else if let Some(Err(reason)) = message.key.as_deref().filter(|_| keyed).map(|key| self.migrate_key(key)) {
            self.end_batch(Cut::default());
            self.outcome.rejected.push(Rejected { position, value: message.value.clone(), reason, timer: None });
        } else {
            self.batch.push((position, message));
        }
    }

    fn end_batch(&mut self, cut: Cut) {
        let batch = std::mem::take(&mut self.batch);
        if let Some((_, first)) = batch.first() {
            let input = first.input_of(self.descriptor).unwrap_or_default();
            if cut.repeat {
                let _dropped = self.call(input, &batch);
            }
            let (seat, result) = self.call(input, &batch);
            self.outcome.log.extend(seat.log.iter().cloned());
            match result {
                Ok(()) => seat.apply(&mut self.outcome, self.descriptor),
                Err(reason) => self.outcome.stopped = Some(reason),
            }
        }
        if cut.sweep && self.outcome.stopped.is_none() {
            self.sweep();
        }
        if cut.restart {
            self.restart();
        }
    }

    /// A new instance takes over.
    pub(super) fn restart(&mut self) {
        self.instance = open(self.config, self.descriptor);
    }

    /// The clock of a call, which every state takes note of.
    pub(super) fn note_clock(&mut self) -> Clock {
        let clock = self.outcome.clock;
        for (state, kept) in self.descriptor.states.iter().zip(&mut self.outcome.states) {
            kept.note_clock(state, clock);
        }
        clock
    }

    fn call(&mut self, input: u32, batch: &[(usize, &'t Message)]) -> (Seat, Result<(), String>) {
        let (states, clock) = (&self.descriptor.states, self.note_clock());
        let is_broadcast = batch.first().is_some_and(|(_, message)| self.is_broadcast(message));
        let keyed = self.descriptor.is_keyed() && !is_broadcast;
        let seat = Seat::new(states, &self.outcome.states, keyed, batch, clock);
        let (key_rows, values) = (seat.key_rows.clone(), seat.values.clone());
        let timestamps_ms = batch.iter().map(|(_, message)| message.timestamp_ms).collect();
        let call = Call::new(input, key_rows, timestamps_ms, values);
        Bench::during(seat, || match self.fold.filter(|_| is_broadcast) {
            Some(fold) => self.instance.process_broadcast(fold, &call),
            None => self.instance.process(&call),
        })
    }

    fn is_broadcast(&self, message: &Message) -> bool {
        let input = message.input_of(self.descriptor).unwrap_or_default();
        self.descriptor.inputs.get(input as usize).is_some_and(|port| port.is_broadcast)
    }
}
