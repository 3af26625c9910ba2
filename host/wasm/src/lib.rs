#![doc = include_str!("../README.md")]

mod allowance;
mod cache;
mod check;
mod columnar;
mod engine;
mod error;
mod factory;
mod host;
mod inspect;
mod limits;
mod load;
mod log;
mod module;
mod outcome;
mod restarts;
mod schema;
mod simple;
mod stdio;
mod ticker;
mod wasi;

pub use check::World;
pub use engine::{Engine, EngineSettings};
pub use error::LoadError;
pub use factory::{Declared, OperatorConfig};
pub use inspect::{Inspection, Property};
pub use load::{ModuleKind, ModuleSource};
pub use module::{CatalogEntry, Module};
