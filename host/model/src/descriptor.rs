//! What an operator says about itself; see `wit/operator/descriptors.wit`.

use serde::{Deserialize, Serialize};

/// A named input of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDescriptor {
    /// The name the pipeline file uses.
    pub name: String,
}

/// The shape of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// One value per key.
    Value,
    /// Entries in byte order of their map keys, per key.
    Map,
}

/// A state that the host keeps for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescriptor {
    /// Names the state across versions, restarts and savepoints.
    pub name: String,
    /// Its shape.
    pub kind: StateKind,
    /// Version of the bytes this operator writes.
    pub version: u32,
    /// Other versions whose bytes this operator reads as they are.
    pub reads_versions: Vec<u32>,
    /// Versions that the operator rewrites to `version` when asked (`migration.migrate`); none of them in `reads_versions`.
    pub migrates_versions: Vec<u32>,
}

/// The clock that a timer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimerClock {
    /// Event time: the watermark.
    Event,
    /// Processing time: the host's wall clock, as marks carry it.
    Processing,
}

impl TimerClock {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Event, Self::Processing];

    /// As the contract writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Processing => "processing",
        }
    }

    /// The name under which the catalog numbers the index of an operator's timers of this clock. No state can have it.
    #[must_use]
    pub const fn index_name(self) -> &'static str {
        match self {
            Self::Event => "timers:event",
            Self::Processing => "timers:processing",
        }
    }
}

/// A timer that the operator may set for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerDescriptor {
    /// Names the timer across versions, restarts and savepoints.
    pub name: String,
    /// The clock it goes by.
    pub clock: TimerClock,
}

impl TimerDescriptor {
    /// The name under which the catalog numbers the timer's cells. No state can have it. A timer that changes its clock is another one.
    #[must_use]
    pub fn cells_name(&self) -> String {
        format!("{}{}:{}", Self::CELLS_PREFIX, self.clock.name(), self.name)
    }

    /// What such names begin with.
    pub const CELLS_PREFIX: &str = "timer:";
}

/// An operator as configured: its ports, states and timers, in the order calls refer to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// At least one.
    pub inputs: Vec<InputDescriptor>,
    /// Names of the outputs; may be empty.
    pub outputs: Vec<String>,
    /// May be empty; any state makes the operator keyed.
    pub states: Vec<StateDescriptor>,
    /// May be empty; any timer makes the operator keyed.
    pub timers: Vec<TimerDescriptor>,
    /// Whether it can ask for the watermark, by what it imports.
    pub reads_watermark: bool,
}

impl Descriptor {
    /// Whether the operator needs each key on one instance.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        !self.states.is_empty() || !self.timers.is_empty()
    }

    /// Whether it makes a difference to the operator where the watermark, or time, moves.
    #[must_use]
    pub fn needs_marks(&self) -> bool {
        self.reads_watermark || !self.timers.is_empty()
    }

    /// What the catalog gives numbers to: the states, each timer, and the index of the timers of each clock.
    #[must_use]
    pub fn cells_names(&self) -> Vec<String> {
        let states = self.states.iter().map(|state| state.name.clone());
        let timers = self.timers.iter().map(TimerDescriptor::cells_name);
        let clocks = TimerClock::ALL.into_iter().filter(|clock| self.timers.iter().any(|timer| timer.clock == *clock));
        states.chain(timers).chain(clocks.map(|clock| clock.index_name().to_owned())).collect()
    }
}
