#![doc = include_str!("../README.md")]

mod client;
mod cluster;
mod connections;
mod consumer;
mod error;
mod known;
mod log;
mod logging;
mod metadata;
mod modules;
mod names;
mod outbox;
mod producer;
mod properties;
mod reader;
mod source;
mod start;
mod sums;

pub use cluster::{KafkaCluster, Needs};
pub use error::KafkaError;
pub use log::{KafkaLog, LogSettings, read_changelog, read_commits, read_stable_commits};
pub use modules::KafkaModules;
pub use names::{CHANGELOG_PARTITIONS, changelog_topic, commits_topic, modules_topic};
pub use properties::Properties;
pub use source::{KafkaSource, SourceSettings};
pub use start::{OnDataLoss, Start};
pub use sums::{TopicSum, group_offsets, sum_topic};
