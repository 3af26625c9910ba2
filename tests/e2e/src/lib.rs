#![doc = include_str!("../README.md")]

mod admin;
mod client;
mod commits;
mod count_job;
mod counts;
mod crash;
mod eventually;
mod http;
mod kafka;
mod millstream;
mod port;
mod process;
mod record;
mod scratch;
mod takeovers;
mod texts;
mod variant;
mod wire;

pub use client::{Isolation, Offsets, OutsideClient, Positions, Topic, Transaction};
pub use commits::Commits;
pub use count_job::{CountJob, CountJobOptions, guest, plugin};
pub use counts::Counts;
pub use crash::{Bug, CrashPoint, RandomKills, seed};
pub use eventually::eventually;
pub use http::{Answer, Door, Request};
pub use kafka::{Kafka, KafkaOptions, ProxiedListener, SecuredListener};
pub use kafka_proxy::{ApiKey, Message, Proxy, Rule};
pub use millstream::{Exit, Millstream, MillstreamOptions, Workplace};
pub use port::free_port;
pub use process::{Process, Signal};
pub use record::Record;
pub use scratch::Scratch;
pub use takeovers::{StoreIdentity, check_takeovers};
pub use texts::Texts;
pub use variant::variant;
