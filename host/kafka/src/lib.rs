#![doc = include_str!("../README.md")]

mod client;
#[expect(clippy::disallowed_methods, reason = "it waits for a broker, which goes by the machine's clock")]
mod cluster;
mod connections;
mod consumer;
mod error;
mod known;
#[expect(clippy::disallowed_methods, reason = "it waits for a broker, which goes by the machine's clock")]
mod log;
mod logging;
mod metadata;
mod modules;
mod names;
mod outbox;
mod producer;
mod properties;
#[expect(clippy::disallowed_methods, reason = "it waits for a broker, which goes by the machine's clock")]
mod reader;
mod sizes;
#[expect(clippy::disallowed_methods, reason = "it waits for a broker, which goes by the machine's clock")]
mod source;
mod start;
mod sums;
#[expect(clippy::disallowed_methods, reason = "it waits for a broker, which goes by the machine's clock")]
mod tail;

pub use cluster::{KafkaCluster, Needs, SinkNeed};
pub use error::KafkaError;
pub use log::{KafkaLog, LogSettings, read_changelog, read_commits, read_stable_commits};
pub use modules::KafkaModules;
pub use names::{CHANGELOG_PARTITIONS, changelog_topic, commits_topic, modules_topic};
pub use properties::Properties;
pub use sizes::TopicSizes;
pub use source::{KafkaSource, SourceSettings};
pub use start::{OnDataLoss, Start, Stop};
pub use sums::{TopicSum, group_offsets, sum_topic};
pub use tail::KafkaCommitsReader;
