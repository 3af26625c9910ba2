#![doc = include_str!("../README.md")]

mod codec;
mod column;
mod context;
mod descriptor;
mod error;
mod export;
#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
mod host;
mod log;
mod metrics;
mod migrate;
mod output;
mod record;
mod run;
#[cfg(feature = "schema")]
mod schema;
mod setup;
mod text;
mod value;

pub use codec::{Codec, Json, Postcard};
pub use column::Headers;
pub use context::Context;
pub use descriptor::{DEFAULT_INPUT, Input, Output, Port, State};
pub use error::{Error, Result, reject, stop};
pub use log::Level;
pub use metrics::{Counter, Gauge, Histogram};
pub use migrate::{Migrate, OldValue, Rewritable};
pub use output::{Field, Header, Outgoing};
pub use record::Record;
pub use run::Operator;
#[cfg(feature = "schema")]
pub use schema::schema;
pub use setup::Setup;
pub use value::Value;

/// What [`export_operators!`] expands to; no part of the interface.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[path = "guest.rs"]
pub mod __guest;

/// The examples of the guide compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-operators.md")]
struct Guide;
