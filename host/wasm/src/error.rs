//! Why a module is not taken, or an operator of it cannot be opened.

use std::fmt;

/// Why a module or an operator in it was refused. Nothing has started when one of these is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("module `{module}` cannot be read: {reason}")]
    Read {
        /// The path as given.
        module: String,
        /// What the system said.
        reason: String,
    },
    /// Compiled native code, which no sandbox holds.
    #[error(
        "module `{module}` is native code that was compiled ahead of time (`.cwasm`) and is never run: give the `.wasm` it was made of"
    )]
    Precompiled {
        /// The path as given.
        module: String,
    },
    /// Not WebAssembly at all.
    #[error("module `{module}` is not WebAssembly: it begins with {begins}, a `.wasm` file with 00 61 73 6d")]
    NotWasm {
        /// The path as given.
        module: String,
        /// The first bytes, in hexadecimal.
        begins: String,
    },
    /// WebAssembly that is damaged or uses what the host does not offer.
    #[error("module `{module}` is not valid: {reason}")]
    Invalid {
        /// The path as given.
        module: String,
        /// What the validator or the compiler said.
        reason: String,
    },
    /// A core module that cannot be made a component.
    #[error("module `{module}` is a core module that cannot be made a component: {reason}")]
    Componentize {
        /// The path as given.
        module: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A component of another kind, or of another version of the contract.
    #[error("module `{module}` is no operator for this host:{}", Lines(.problems))]
    World {
        /// The path as given.
        module: String,
        /// Each names one import or export, and says what is wrong with it.
        problems: Vec<String>,
    },
    /// The component's catalog cannot be had, or breaks the contract.
    #[error("module `{module}`: its catalog is unusable: {reason}")]
    Catalog {
        /// The path as given.
        module: String,
        /// What happened.
        reason: String,
    },
    /// The pipeline names an operator that is not in the component, or must name one and does not.
    #[error("operator `{operator}`: {reason}; the module has {available}")]
    Choice {
        /// The operator's id in the pipeline file.
        operator: String,
        /// What was asked for.
        reason: String,
        /// The catalog's names.
        available: String,
    },
    /// The operator refused its configuration, or could not be opened with it.
    #[error("operator `{operator}`: {reason}")]
    Open {
        /// The operator's id in the pipeline file.
        operator: String,
        /// What it said.
        reason: String,
    },
    /// The configuration breaks the schema that the operator's author wrote. The operator was not opened.
    #[error("operator `{operator}`: `config{}`: {reason}", Fields(.setting))]
    Config {
        /// The operator's id in the pipeline file.
        operator: String,
        /// The fields that lead to the setting at fault, from `config` on.
        setting: Vec<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// The operator describes itself in a way that the contract or this host does not allow.
    #[error("operator `{operator}` describes itself badly: {reason}")]
    Descriptor {
        /// The operator's id in the pipeline file.
        operator: String,
        /// Which part, and why.
        reason: String,
    },
    /// The runtime cannot be set up on this machine.
    #[error("the WebAssembly runtime cannot start: {reason}")]
    Runtime {
        /// What it said.
        reason: String,
    },
}

/// Fields behind `config`.
struct Fields<'a>(&'a [String]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|field| write!(f, ".{field}"))
    }
}

/// One problem a line, or a single one on the same line.
struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, " {one}"),
            many => many.iter().try_for_each(|line| write!(f, "\n  {line}")),
        }
    }
}
