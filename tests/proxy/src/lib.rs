#![doc = include_str!("../README.md")]

mod connection;
mod frame;
mod proxy;
mod rule;
mod shared;

pub use frame::{ApiKey, Direction, Message};
pub use proxy::Proxy;
pub use rule::{Rule, RuleHandle};
pub use shared::TimedOut;
