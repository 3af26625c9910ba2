#![doc = include_str!("../README.md")]

mod broadcast;
mod buffer;
mod codec;
mod column;
mod context;
mod descriptor;
mod error;
mod export;
mod folding;
#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
mod host;
mod list;
mod log;
mod map;
mod map_buffer;
mod map_key;
mod metrics;
mod migrate;
mod output;
mod record;
mod run;
#[cfg(feature = "schema")]
mod schema;
mod setup;
mod text;
mod timer;
mod value;
mod window;

pub use broadcast::{Broadcast, BroadcastContext, Cached, OnBroadcast, ReadsBroadcast};
pub use codec::{Codec, Json, Postcard};
pub use column::Headers;
pub use context::Context;
pub use descriptor::{DEFAULT_INPUT, Input, Output, Port, State};
pub use error::{Error, Result, reject, stop};
pub use folding::{Aggregate, Aggregating, Reducing};
pub use list::{Elements, List};
pub use log::Level;
pub use map::{Entries, Map};
pub use map_key::{AsMapKey, MapKey};
pub use metrics::{Counter, Gauge, Histogram};
pub use migrate::{Migrate, OldValue, Rewritable};
pub use output::{Field, Header, Outgoing};
pub use record::Record;
pub use run::Operator;
#[cfg(feature = "schema")]
pub use schema::schema;
pub use setup::Setup;
pub use timer::{AnyTimer, EventTimer, Fired, OnTimer, ProcessingTimer, Timer};
pub use value::Value;
pub use window::{Firing, OnWindow, Window};

/// What [`export_operators!`] expands to; no part of the interface.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[path = "guest.rs"]
pub mod __guest;

/// The examples of the guide compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-operators.md")]
struct Guide;

/// Likewise.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/event-time.md")]
struct EventTimes;

/// Likewise.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/windows.md")]
struct WindowsPage;

/// And those of the page about state.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/state.md")]
struct States;
