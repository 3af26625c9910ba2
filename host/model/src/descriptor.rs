//! What an operator says about itself; see `wit/operator/descriptors.wit`.

use serde::{Deserialize, Serialize};

/// Facts by name that the host shows and otherwise has no use for.
pub type Properties = Vec<(String, String)>;

/// How the records of an input reach the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// Each record goes to one instance.
    #[default]
    Records,
    /// Each record goes to every instance, and may only change broadcast states.
    Broadcast,
}

/// A named input of an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDescriptor {
    /// The name the pipeline file uses.
    pub name: String,
    /// How its records reach the operator.
    #[serde(default)]
    pub kind: InputKind,
}

impl InputDescriptor {
    /// An input whose records each go to one instance.
    #[must_use]
    pub fn records(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: InputKind::Records }
    }
}

/// The shape of a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// One value per key.
    #[default]
    Value,
    /// Elements in the order they were appended, per key.
    List,
    /// Entries in byte order of their map keys, per key.
    Map,
    /// Entries in byte order of their map keys, one set for the whole operator.
    Broadcast,
}

impl StateKind {
    /// What the contract calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
            Self::Broadcast => "broadcast",
        }
    }
}

/// What a time to live goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TtlClock {
    /// Event time: the watermark.
    Event,
    /// Processing time: the host's wall clock.
    Processing,
}

/// What makes a time to live start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TtlRefresh {
    /// Writing, even with the same bytes.
    OnWrite,
    /// Writing, and reading as far as the operator says what it read.
    OnAccess,
}

/// How long a value, a list element or a map entry lives. It is absent from the moment on at which its clock shows the last refresh plus the duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttl {
    /// At least 1, in milliseconds.
    pub duration_ms: u64,
    /// What decides.
    pub clock: TtlClock,
    /// What starts it again.
    pub refresh: TtlRefresh,
}

impl Ttl {
    /// Whether something refreshed at that time is absent at `now_ms`, both in milliseconds since 1970.
    #[must_use]
    #[inline]
    pub fn has_expired(&self, refreshed_ms: i64, now_ms: i64) -> bool {
        refreshed_ms.saturating_add_unsigned(self.duration_ms) <= now_ms
    }
}

/// A state that the host keeps for an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How long what it holds lives; for good without it.
    #[serde(default)]
    pub ttl: Option<Ttl>,
    /// What the operator says of it: `doc`, `content-type`, `codec`, …
    #[serde(default)]
    pub properties: Properties,
}

impl StateDescriptor {
    /// A state in version 1 that lives for good.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: StateKind) -> Self {
        Self { name: name.into(), kind, version: 1, ..Self::default() }
    }

    /// A fact by its name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }
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

/// Whether an operator works inside windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowUse {
    /// Never.
    #[default]
    None,
    /// Always, and what it accumulates cannot be merged.
    Unmergeable,
    /// Always, and what it accumulates can be merged.
    Mergeable,
}

/// An operator as configured: its ports, states and timers, in the order calls refer to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// At least one.
    pub inputs: Vec<InputDescriptor>,
    /// Names of the outputs; may be empty.
    pub outputs: Vec<String>,
    /// May be empty; any state but a broadcast one makes the operator keyed.
    pub states: Vec<StateDescriptor>,
    /// May be empty; any timer makes the operator keyed.
    pub timers: Vec<TimerDescriptor>,
    /// Whether it works inside windows.
    pub windows: WindowUse,
    /// Whether it can ask for the watermark, by what it imports.
    pub reads_watermark: bool,
}

impl Descriptor {
    /// Whether the operator needs each key on one instance.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.windows != WindowUse::None
            || !self.timers.is_empty()
            || self.states.iter().any(|state| state.kind != StateKind::Broadcast)
    }

    /// How the records of an input reach the operator.
    #[must_use]
    pub fn input_kind(&self, input: u32) -> InputKind {
        self.inputs.get(input as usize).map(|input| input.kind).unwrap_or_default()
    }

    /// Whether it makes a difference to the operator where the watermark, or time, moves.
    #[must_use]
    pub fn needs_marks(&self) -> bool {
        let lives_by_event_time = |state: &StateDescriptor| state.ttl.is_some_and(|ttl| ttl.clock == TtlClock::Event);
        self.reads_watermark || !self.timers.is_empty() || self.states.iter().any(lives_by_event_time)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl(duration_ms: u64) -> Ttl {
        Ttl { duration_ms, clock: TtlClock::Event, refresh: TtlRefresh::OnWrite }
    }

    #[test]
    fn a_value_lives_for_its_duration_and_not_a_millisecond_longer() {
        assert!(!ttl(1).has_expired(5, 5));
        assert!(ttl(1).has_expired(5, 6));
        assert!(!ttl(u64::MAX).has_expired(i64::MIN, i64::MAX - 1));
        assert!(!ttl(10).has_expired(i64::MAX - 5, i64::MAX - 1), "beyond the end of time");
        assert!(ttl(10).has_expired(i64::MAX - 5, i64::MAX), "at the end of all input everything is over");
    }

    #[test]
    fn broadcast_states_do_not_make_an_operator_keyed() {
        let states = |kinds: &[StateKind]| kinds.iter().map(|&kind| StateDescriptor::new("s", kind)).collect();
        let descriptor = |kinds| Descriptor { states: states(kinds), ..Descriptor::default() };
        assert!(!descriptor(&[]).is_keyed());
        assert!(!descriptor(&[StateKind::Broadcast]).is_keyed());
        assert!(descriptor(&[StateKind::Broadcast, StateKind::List]).is_keyed());
    }
}
