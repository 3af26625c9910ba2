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

/// An operator as configured: its ports and states, in the order calls refer to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// At least one.
    pub inputs: Vec<InputDescriptor>,
    /// Names of the outputs; may be empty.
    pub outputs: Vec<String>,
    /// May be empty; any state makes the operator keyed.
    pub states: Vec<StateDescriptor>,
}

impl Descriptor {
    /// Whether the operator needs each key on one instance.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        !self.states.is_empty()
    }
}
