//! What an operator declares: ports, states, and what they come to.

use crate::{
    column::Column,
    host::{Host, Platform},
    timer::Timer,
};
use std::time::Duration;

/// The input of an operator that declares none.
pub const DEFAULT_INPUT: &str = "in";

/// An operator as configured.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) states: Vec<State>,
    pub(crate) timers: Vec<Timer>,
    pub(crate) properties: Vec<(String, String)>,
}

/// An input, to tell where a record came from: see [`Record::input`](crate::Record::input).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input(pub(crate) u32);

/// An output, to emit to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output(pub(crate) u32);

/// An input or output to declare: a name, if need be with a description. A plain `&str` will do where one is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub(crate) name: String,
    /// Of an input: whether its records come to every worker, and belong to no key.
    pub(crate) is_broadcast: bool,
    pub(crate) properties: Vec<(String, String)>,
}

/// A state to declare. A plain `&str` will do where one is asked for: it is version 1 of that name.
///
/// ```
/// # use millstream_sdk::{Setup, State, Value};
/// # fn open(setup: &mut Setup) -> Value<u64> {
/// setup.value(State::new("seen").version(2).reads(1).doc("orders seen so far"))
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) touch: Option<Touch>,
    pub(crate) version: u32,
    pub(crate) reads: Vec<u32>,
    pub(crate) migrates: Vec<u32>,
    pub(crate) properties: Vec<(String, String)>,
}

/// The shape of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    List,
    Map,
    Broadcast,
}

/// How long what a state holds lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl {
    pub(crate) duration: Duration,
    /// Event time, or processing time.
    pub(crate) is_event: bool,
}

impl Ttl {
    pub(crate) fn duration_ms(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What tells the host that something was read: there where reading refreshes, so that others do not even import it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch(pub(crate) fn(u32, &[u32], Option<&Column>));

impl PartialEq for Touch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Touch {}

impl Descriptor {
    /// Whether every record that is no broadcast belongs to a key.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn is_keyed(&self) -> bool {
        !self.timers.is_empty() || self.states.iter().any(|state| state.kind != Kind::Broadcast)
    }
}

impl Port {
    /// An input or output of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_broadcast: false, properties: Vec::new() }
    }

    /// One line on what it carries.
    #[must_use]
    pub fn doc(self, line: impl Into<String>) -> Self {
        self.property("doc", line)
    }

    /// A fact for the host to show, by name: see `properties` in the contract.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}

impl<N: Into<String>> From<N> for Port {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

impl State {
    /// A state of this name, version 1. The name is how the state is found again after a restart, a swap or a restore: renaming a
    /// state is giving it up.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Value,
            ttl: None,
            touch: None,
            version: 1,
            reads: Vec::new(),
            migrates: Vec::new(),
            properties: Vec::new(),
        }
    }

    /// The version of the bytes this operator writes. Raise it when the encoding changes.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Another version whose bytes this operator reads as they are; may be said several times.
    #[must_use]
    pub fn reads(mut self, version: u32) -> Self {
        self.reads.push(version);
        self
    }

    /// A version whose bytes [`Migrate`](crate::Migrate) rewrites to this one; may be said several times.
    #[must_use]
    pub fn migrates(mut self, version: u32) -> Self {
        self.migrates.push(version);
        self
    }

    /// What the state holds lives for so long in event time: a value, an entry or an element is absent once the watermark has reached the time of its last write plus the
    /// duration. Writing it again, be it the same, refreshes it.
    #[must_use]
    pub fn event_ttl(self, duration: Duration) -> Self {
        Self { ttl: Some(Ttl { duration, is_event: true }), ..self }
    }

    /// The same in processing time: by the host's clock, so that a replay may see other things.
    #[must_use]
    pub fn processing_ttl(self, duration: Duration) -> Self {
        Self { ttl: Some(Ttl { duration, is_event: false }), ..self }
    }

    /// Reading refreshes, too: what a record that is not rejected read lives on.
    #[must_use]
    pub fn refreshed_on_access(self) -> Self {
        Self { touch: Some(Touch(Platform::touch)), ..self }
    }

    /// A fact for the host to show, by name: see `properties` in the contract. The SDK says `codec` and `key-codec` itself.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Says a fact unless the author has said it.
    pub(crate) fn usual(&mut self, name: &str, value: &str) {
        if self.properties.iter().all(|(other, _)| other != name) {
            self.properties.push((name.to_owned(), value.to_owned()));
        }
    }

    /// One line on what it holds.
    #[must_use]
    pub fn doc(mut self, line: impl Into<String>) -> Self {
        self.properties.push(("doc".into(), line.into()));
        self
    }
}

impl<N: Into<String>> From<N> for State {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}
