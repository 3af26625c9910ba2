//! Runs the steps of a test under one plan.

use super::{
    Emitted, Message, Rejected, Step, Stored,
    bench::{Bench, Seat},
    plan::{Cut, Plan},
};
use crate::{Level, Operator, descriptor::Descriptor, migrate::Rewrite, record::Call, run::Instance};
use std::collections::BTreeMap;

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    /// Per output.
    pub(crate) outputs: Vec<Vec<Emitted>>,
    /// Per state: values by key.
    pub(crate) states: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Per state: versions of values, by key, that are not of the one the operator writes.
    pub(crate) versions: Vec<BTreeMap<Vec<u8>, u32>>,
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
    pub(crate) steps: &'t [Step],
}

pub(super) struct Runner<'t, O> {
    config: &'t str,
    pub(super) descriptor: &'t Descriptor,
    pub(super) rewrite: Option<Rewrite<O>>,
    pub(super) instance: Instance<O>,
    pub(super) outcome: Outcome,
    batch: Vec<(usize, &'t Message)>,
    watermark_ms: Option<i64>,
    now_ms: i64,
}

pub(crate) fn run<O: Operator>(test: &Test<'_, O>, plan: &Plan) -> Outcome {
    let &Test { config, descriptor, stored, rewrite, steps } = test;
    let mut runner = Runner {
        config,
        descriptor,
        rewrite,
        instance: open::<O>(config, descriptor),
        outcome: Outcome::before(descriptor, stored),
        batch: Vec::new(),
        watermark_ms: None,
        now_ms: 0,
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
            states: vec![BTreeMap::new(); descriptor.states.len()],
            versions: vec![BTreeMap::new(); descriptor.states.len()],
            ..Self::default()
        };
        for Stored { state, version, key, bytes } in stored {
            if let Some(values) = outcome.states.get_mut(*state) {
                values.insert(key.clone(), bytes.clone());
            }
            let is_own = descriptor.states.get(*state).is_some_and(|state| state.version == *version);
            if let Some(versions) = outcome.versions.get_mut(*state).filter(|_| !is_own) {
                versions.insert(key.clone(), *version);
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
                self.watermark_ms = self.watermark_ms.max(Some(*time_ms));
            }
            Step::Now(time_ms) => {
                self.end_batch(cut);
                self.now_ms = self.now_ms.max(*time_ms);
            }
        }
    }

    fn push(&mut self, position: usize, message: &'t Message) {
        let keyed = !self.descriptor.states.is_empty();
        if keyed && message.key.is_none() {
            // A keyed operator never sees a null key. The batch ends so that rejections keep the order of records.
            self.end_batch(Cut::default());
            let reason = "the record has no key".to_owned();
            self.outcome.rejected.push(Rejected { position, value: message.value.clone(), reason });
        } else if let Some(Err(reason)) = message.key.as_deref().map(|key| self.migrate_key(key)) {
            self.end_batch(Cut::default());
            self.outcome.rejected.push(Rejected { position, value: message.value.clone(), reason });
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
                Ok(()) => seat.apply(&mut self.outcome),
                Err(reason) => self.outcome.stopped = Some(reason),
            }
        }
        if cut.sweep && self.outcome.stopped.is_none() {
            self.sweep();
        }
        if cut.restart {
            self.instance = open(self.config, self.descriptor);
        }
    }

    fn call(&mut self, input: u32, batch: &[(usize, &'t Message)]) -> (Seat, Result<(), String>) {
        let seat = Seat::new(self.descriptor, &self.outcome.states, batch, (self.watermark_ms, self.now_ms));
        let (key_rows, values) = (seat.key_rows.clone(), seat.values.clone());
        let timestamps_ms = batch.iter().map(|(_, message)| message.timestamp_ms).collect();
        let call = Call::new(input, key_rows, timestamps_ms, values);
        Bench::during(seat, || self.instance.process(&call))
    }
}
