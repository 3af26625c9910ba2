//! What an operator declares: ports, states, and what they come to.

/// The input of an operator that declares none.
pub const DEFAULT_INPUT: &str = "in";

/// An operator as configured.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) states: Vec<State>,
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
    pub(crate) version: u32,
    pub(crate) reads: Vec<u32>,
    pub(crate) migrates: Vec<u32>,
    pub(crate) properties: Vec<(String, String)>,
}

impl Port {
    /// An input or output of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), properties: Vec::new() }
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
        Self { name: name.into(), version: 1, reads: Vec::new(), migrates: Vec::new(), properties: Vec::new() }
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
