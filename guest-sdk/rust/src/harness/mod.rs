//! Runs an operator natively, for `cargo test`, the way the host would, and in all the ways the host might.
//!
//! A test pushes records and then looks at outputs, state and rejections. Behind that, everything pushed is run whole (as few
//! batches as can be), one record at a time, and under random cuts with restarts between batches and calls that are dropped and
//! repeated. How a stream is cut is the host's affair and must not show in the results; where it does, the harness fails the test
//! and says what differs, and under which seed. State kept anywhere but in the operator's states is what it usually finds.
//!
//! ```
//! use millstream_sdk::{harness::Harness, *};
//!
//! struct Count { seen: Value<u64>, counts: Output }
//!
//! impl Operator for Count {
//!     fn open(setup: &mut Setup) -> Result<Self> {
//!         Ok(Self { seen: setup.value("seen"), counts: setup.output("counts") })
//!     }
//!     fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
//!         let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
//!         self.seen.set(ctx, &seen);
//!         ctx.emit_display(self.counts, seen);
//!         Ok(())
//!     }
//! }
//!
//! let mut harness = Harness::<Count>::new("{}");
//! harness.push("ann", "").push("bob", "").push("ann", "");
//! assert_eq!(harness.outputs("counts"), [("ann", "1"), ("bob", "1"), ("ann", "2")]);
//! assert_eq!(harness.state::<u64>("seen", "ann"), Some(2));
//! ```

#![expect(clippy::panic, reason = "a test tool: it fails the test")]

mod bench;
mod compare;
mod kept;
mod message;
mod plan;
mod run;
mod stored;
mod timers;

pub(crate) use bench::Bench;
pub use message::{Emitted, Message, Pending, Rejected};

use crate::{
    Codec, Level, MapKey, OnBroadcast, Operator,
    broadcast::Fold,
    descriptor::{Descriptor, State},
    migrate::Rewrite,
    run::Instance,
    timer::Handle,
};
use compare::compare;
use kept::Kept;
use plan::Plan;
use run::{Outcome, Test, run};
use std::{
    cell::OnceCell,
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
};
use stored::Stored;
use timers::Timers;

/// How many random cuts a test is run under.
const RANDOM_CUTS: u64 = 8;

/// An operator under test. See the [module](self) for what it does and an example.
#[derive(Debug)]
pub struct Harness<O> {
    config: String,
    descriptor: Descriptor,
    /// What lies in state before the first step.
    stored: Vec<Stored>,
    rewrite: Option<Rewrite<O>>,
    fold: Option<Fold<O>>,
    handle: Option<Handle<O>>,
    /// Timers that are pending before the first step.
    pending: Timers,
    steps: Vec<Step>,
    seed: u64,
    outcome: OnceCell<Outcome>,
    operator: PhantomData<fn() -> O>,
}

/// What a test did, in order.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Push(Message),
    /// A new instance takes over.
    Restart,
    Watermark(i64),
    Now(i64),
}

impl<O: Operator> Harness<O> {
    /// Opens the operator with the JSON text of its configuration.
    ///
    /// # Panics
    /// The operator refuses it.
    pub fn new(config: &str) -> Self {
        match Self::open(config) {
            Ok(harness) => harness,
            Err(error) => panic!("the operator refused its configuration {config}: {error}"),
        }
    }

    /// Opens the operator with the JSON text of its configuration, to test what it refuses.
    ///
    /// # Errors
    /// What the operator has against it.
    pub fn open(config: &str) -> Result<Self, String> {
        let (_, descriptor) = Instance::<O>::open(config)?;
        Ok(Self {
            config: config.to_owned(),
            descriptor,
            stored: Vec::new(),
            rewrite: None,
            fold: None,
            handle: None,
            pending: Timers::new(),
            steps: Vec::new(),
            seed: RandomState::new().hash_one(0),
            outcome: OnceCell::new(),
            operator: PhantomData,
        })
    }

    /// Lets records come by its broadcast inputs: push them with [`Message::input`]. For an operator that is exported `with OnBroadcast`.
    ///
    /// # Panics
    /// It declares no broadcast input.
    #[must_use]
    pub fn with_broadcast(mut self) -> Self
    where
        O: OnBroadcast,
    {
        if let Err(error) = crate::broadcast::check(true, &self.descriptor) {
            panic!("{error}");
        }
        self.fold = Some(O::on_broadcast);
        self
    }

    /// Makes the random cuts those of an earlier run, whose failure named this seed.
    pub fn seed(&mut self, seed: u64) -> &mut Self {
        self.seed = seed;
        self
    }

    /// Pushes a record, with timestamp 0 and without headers.
    pub fn push(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.push_message(Message::new(key, value))
    }

    /// Pushes a record with a timestamp.
    pub fn push_at(&mut self, timestamp_ms: i64, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.push_message(Message::new(key, value).at(timestamp_ms))
    }

    /// Pushes a record of any kind; what another operator emitted is one.
    ///
    /// # Panics
    /// The operator has no input of the name that the message gives.
    pub fn push_message(&mut self, message: impl Into<Message>) -> &mut Self {
        let message = message.into();
        let input = message.input_of(&self.descriptor).and_then(|at| self.descriptor.inputs.get(at as usize));
        if input.is_some_and(|port| port.is_broadcast) && self.fold.is_none() {
            panic!(
                "the input {:?} is a broadcast input: `Harness::with_broadcast` lets records come by it",
                message.input
            );
        }
        if input.is_none() {
            let known: Vec<_> = self.descriptor.inputs.iter().map(|port| &port.name).collect();
            panic!("the operator has no input {:?}; it has {known:?}", message.input);
        }
        self.step(Step::Push(message))
    }

    /// Replaces the instance by a new one, which knows nothing but what is in state.
    pub fn restart(&mut self) -> &mut Self {
        self.step(Step::Restart)
    }

    /// Moves the watermark; see [`Harness::with_timers`] for what fires then.
    pub fn watermark(&mut self, time_ms: i64) -> &mut Self {
        self.step(Step::Watermark(time_ms))
    }

    /// Moves the clock, which stands at 0 before.
    pub fn now(&mut self, time_ms: i64) -> &mut Self {
        self.step(Step::Now(time_ms))
    }

    /// All that was emitted to an output so far.
    ///
    /// # Panics
    /// There is no such output, or results depend on how batches are cut.
    pub fn outputs(&self, port: &str) -> &[Emitted] {
        let position = self.descriptor.outputs.iter().position(|other| other.name == port);
        match position.and_then(|port| self.outcome().outputs.get(port)) {
            Some(emitted) => emitted,
            None => panic!("the operator has no output {port:?}"),
        }
    }

    /// The value of a key in a state, unless its time to live is over.
    ///
    /// # Panics
    /// There is no such state, its bytes are no `T`, or results depend on how batches are cut.
    pub fn state<T: Codec>(&self, name: &str, key: impl AsRef<[u8]>) -> Option<T> {
        let (state, kept) = self.kept(name);
        let bytes = kept.get((state, self.outcome().clock), key.as_ref(), &[])?;
        Some(decoded(name, bytes, T::decode))
    }

    /// The entries of a key in a map state, in order, less those whose time to live is over.
    ///
    /// # Panics
    /// As [`Harness::state`].
    pub fn entries<K: MapKey, V: Codec>(&self, name: &str, key: impl AsRef<[u8]>) -> Vec<(K, V)> {
        let (state, kept) = self.kept(name);
        let entries = kept.of((state, self.outcome().clock), key.as_ref());
        entries.map(|(key, value)| (decoded(name, key, K::decode), decoded(name, value, V::decode))).collect()
    }

    /// The elements of a key in a list state, in order, less those whose time to live is over.
    ///
    /// # Panics
    /// As [`Harness::state`].
    pub fn elements<T: Codec>(&self, name: &str, key: impl AsRef<[u8]>) -> Vec<T> {
        let (state, kept) = self.kept(name);
        let elements = kept.of((state, self.outcome().clock), key.as_ref());
        elements.map(|(_, element)| decoded(name, element, T::decode)).collect()
    }

    /// The entries of a broadcast state, in order.
    ///
    /// # Panics
    /// As [`Harness::state`].
    pub fn broadcast_entries<K: MapKey, V: Codec>(&self, name: &str) -> Vec<(K, V)> {
        self.entries(name, "")
    }

    fn kept(&self, name: &str) -> (&State, &Kept) {
        let mut states = self.descriptor.states.iter().zip(&self.outcome().states);
        match states.find(|(state, _)| state.name == name) {
            Some(found) => found,
            None => panic!("the operator has no state {name:?}"),
        }
    }

    /// The records that were rejected, in order.
    ///
    /// # Panics
    /// Results depend on how batches are cut.
    pub fn rejected(&self) -> &[Rejected] {
        &self.outcome().rejected
    }

    /// Why the operator asked to stop, if it did. What it did before is then not compared: it depends on the last commit.
    pub fn stopped(&self) -> Option<&str> {
        self.outcome().stopped.as_deref()
    }

    /// A counter of the operator.
    pub fn counter(&self, name: &str) -> u64 {
        self.outcome().counters.get(name).copied().unwrap_or_default()
    }

    /// The last value of a gauge of the operator.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.outcome().gauges.get(name).copied()
    }

    /// The observations of a histogram of the operator.
    pub fn observations(&self, name: &str) -> &[f64] {
        self.outcome().histograms.get(name).map_or(&[], Vec::as_slice)
    }

    /// The lines logged when records came one at a time. Lines are no effects and are not compared.
    pub fn log_lines(&self) -> &[(Level, String)] {
        &self.outcome().log
    }

    fn step(&mut self, step: Step) -> &mut Self {
        self.steps.push(step);
        self.outcome = OnceCell::new();
        self
    }

    fn outcome(&self) -> &Outcome {
        self.outcome.get_or_init(|| {
            let test = Test {
                config: &self.config,
                descriptor: &self.descriptor,
                stored: &self.stored,
                rewrite: self.rewrite,
                fold: self.fold,
                handle: self.handle,
                pending: &self.pending,
                steps: &self.steps,
            };
            let run = |plan: &Plan| run::<O>(&test, plan);
            let single = run(&Plan::one_by_one(&self.steps));
            let ports: Vec<_> =
                self.descriptor.outputs.iter().map(|port| port.name.as_str()).collect();
            let plans = std::iter::once(Plan::whole(&self.steps)).chain(
                (0..RANDOM_CUTS)
                    .map(|cut| Plan::random(&self.steps, self.seed.wrapping_add(cut))),
            );
            for plan in plans {
                if let Some(difference) = compare(&ports, &single, &run(&plan)) {
                    panic!(
                        "results depend on how batches are cut: with one record per batch {difference} {plan}. An operator is a \
                         function of the record and the states it declares: nothing else may last from record to record. \
                         (`Harness::seed({})` repeats these cuts)",
                        self.seed,
                    );
                }
            }
            single
        })
    }
}

fn decoded<T>(name: &str, bytes: &[u8], decode: impl FnOnce(&[u8]) -> crate::Result<T>) -> T {
    match decode(bytes) {
        Ok(value) => value,
        Err(error) => panic!("the state {name:?} holds {bytes:?}: {error}"),
    }
}
