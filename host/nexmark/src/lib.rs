#![doc = include_str!("../README.md")]

mod event;
mod generator;
mod json;
mod random;
mod words;

pub use event::{Auction, Bid, Channel, Event, EventKind, Filler, Person};
pub use generator::{Generator, Settings};
pub use json::write_json;
