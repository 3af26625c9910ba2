//! The pipeline file as it is written. Every field is documented in docs/pipeline-file.md.

mod operator;
mod settings;
mod sink;
mod source;

pub(crate) use operator::{Declare, Limits, NullKey, OnError, Operator, OutputWatermark, Window};
pub(crate) use settings::{Batch, Checkpoint, Commit, State};
pub(crate) use sink::{Create, DeadLetters, Sink};
pub(crate) use source::{DataLoss, Isolation, MissingFile, Nexmark, NexmarkKey, Source, Timestamp};

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A pipeline.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pipeline {
    /// Names state, topics and transactions; never changes.
    pub(crate) id: String,
    /// The Kafka cluster: `brokers`, and any property of librdkafka.
    pub(crate) kafka: Option<BTreeMap<String, Scalar>>,
    /// What is read, by id.
    pub(crate) sources: BTreeMap<String, Source>,
    /// What is done, by id.
    #[serde(default)]
    pub(crate) operators: BTreeMap<String, Operator>,
    /// What is written, by id.
    pub(crate) sinks: BTreeMap<String, Sink>,
    /// Where records go that an operator cannot process.
    pub(crate) dead_letters: Option<DeadLetters>,
    /// `exactly_once`, or `best_effort` where an end cannot do better.
    pub(crate) guarantee: Option<Guarantee>,
    /// When epochs are committed.
    #[serde(default)]
    pub(crate) commit: Commit,
    /// Where and how state is kept.
    #[serde(default)]
    pub(crate) state: State,
    /// When checkpoints are taken.
    #[serde(default)]
    pub(crate) checkpoint: Checkpoint,
    /// Worker threads; 1 by default.
    pub(crate) workers: Option<u32>,
    /// What cuts batches.
    #[serde(default)]
    pub(crate) batch: Batch,
    /// Inputs and expected outputs for `millstream test`.
    #[serde(default)]
    pub(crate) tests: Vec<Test>,
}

/// What is promised of every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Guarantee {
    /// Its effects are there once, whatever crashes.
    ExactlyOnce,
    /// A crash may lose or repeat it.
    BestEffort,
}

/// A text, a number or a truth value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Scalar {
    /// true or false.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Any other.
    Text(String),
}

impl Scalar {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

/// How lines and records turn into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// A line is a value.
    Lines,
    /// A line is JSON.
    JsonLines,
}

/// Inputs and what is to come of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    /// What is tested.
    pub(crate) name: String,
    /// Records by source.
    pub(crate) inputs: BTreeMap<String, Vec<TestRecord>>,
    /// Records by sink, in order.
    pub(crate) outputs: BTreeMap<String, Vec<TestRecord>>,
}

/// A record of a test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestRecord {
    /// Its key; null without one.
    pub(crate) key: Option<String>,
    /// Its value; null without one.
    pub(crate) value: Option<String>,
    /// Of an input: its timestamp in milliseconds since 1970; without one, its number.
    pub(crate) timestamp: Option<i64>,
}
