//! The pipeline file as it is written. Every field is documented in docs/pipeline-file.md.

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

/// A source: one of `topic`, `file`, `stdin`, `nexmark`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// A Kafka topic.
    pub(crate) topic: Option<String>,
    /// Files: a path, a directory, a pattern, or a list of them.
    pub(crate) file: Option<OneOrMany>,
    /// Standard input.
    pub(crate) stdin: Option<bool>,
    /// The generator of Nexmark events.
    pub(crate) nexmark: Option<Nexmark>,
    /// `earliest`, `latest`, an offset, or a time (`2026-11-23T10:00:00Z` or milliseconds since 1970 as `timestamp:…`).
    pub(crate) start: Option<Scalar>,
    /// `stop` or `earliest`.
    pub(crate) on_data_loss: Option<DataLoss>,
    /// `read_committed` or `read_uncommitted`.
    pub(crate) isolation: Option<Isolation>,
    /// `lines` or `json_lines`.
    pub(crate) format: Option<Format>,
    /// JSON pointer to the key, with `json_lines`.
    pub(crate) key: Option<String>,
    /// JSON pointer to the timestamp, with `json_lines`.
    pub(crate) timestamp: Option<String>,
    /// Whether to wait for more at the end of a file.
    pub(crate) follow: Option<bool>,
    /// What to do about a file that the newest commit names and that is gone: `stop` or `skip`.
    pub(crate) missing_file: Option<MissingFile>,
    /// Length of a line; a longer one stops the pipeline; 16 MiB.
    pub(crate) record_bytes_max: Option<Scalar>,
}

/// One text or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn list(&self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text.clone()],
            Self::Many(texts) => texts.clone(),
        }
    }
}

/// What happens when offsets are gone that were not read.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataLoss {
    /// The pipeline stops.
    Stop,
    /// It goes on at the oldest record.
    Earliest,
}

/// What to do about a file that the newest commit names and that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MissingFile {
    /// The pipeline stops.
    Stop,
    /// It goes on without it.
    Skip,
}

/// Which records of a topic are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Isolation {
    /// Those of committed transactions.
    ReadCommitted,
    /// All.
    ReadUncommitted,
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

/// The Nexmark generator.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nexmark {
    /// What the events depend on.
    pub(crate) seed: Option<u64>,
    /// How many there are; without it they never end.
    pub(crate) events: Option<u64>,
    /// How many per second; without it as many as can be taken.
    pub(crate) rate: Option<u64>,
    /// Number of partitions.
    pub(crate) partitions: Option<u32>,
    /// `none`, `auction`, `bidder` or `type`.
    pub(crate) key: Option<NexmarkKey>,
}

/// What the keys of Nexmark events are.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NexmarkKey {
    /// Null.
    None,
    /// Number of the auction.
    Auction,
    /// Number of the person.
    Bidder,
    /// Kind of event.
    Type,
}

/// An operator.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operator {
    /// The Wasm module: a path, or `name@version` or a digest from the plugin store.
    pub(crate) module: String,
    /// Which operator of the module, if it has several.
    pub(crate) operator: Option<String>,
    /// What it reads: ids of sources and operators, `operator.output` for one of several outputs.
    pub(crate) inputs: Vec<String>,
    /// `key`: each key goes to one instance. Implied by state.
    pub(crate) key_by: Option<KeyBy>,
    /// Its configuration.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) config: Option<serde_json::Value>,
    /// What it may use.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// What happens to records it cannot process.
    pub(crate) on_error: Option<OnError>,
    /// How often a call that asks for it is repeated.
    pub(crate) retries: Option<u32>,
    /// What happens to records without a key.
    pub(crate) null_key: Option<NullKey>,
}

/// What a record is assigned to an instance by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyBy {
    /// The record's key.
    Key,
}

/// What happens to a record that an operator cannot process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// It goes to `dead_letters`.
    DeadLetter,
    /// It is counted and dropped.
    Skip,
    /// The pipeline stops at the last commit.
    Stop,
}

/// What happens to a record without a key at a keyed operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NullKey {
    /// It is refused: see `on_error`.
    Reject,
    /// It is counted and dropped.
    Drop,
    /// Its key is taken as empty.
    Empty,
}

/// What an operator may use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Memory of an instance.
    pub(crate) memory: Option<Scalar>,
    /// Time of a call.
    pub(crate) batch_time: Option<Scalar>,
    /// What each record adds to it.
    pub(crate) record_time: Option<Scalar>,
    /// Length of a key.
    pub(crate) key: Option<Scalar>,
    /// Length of an emitted value.
    pub(crate) value: Option<Scalar>,
    /// Length of a value in state.
    pub(crate) state_value: Option<Scalar>,
    /// Records that one may emit.
    pub(crate) outputs_per_record: Option<u32>,
    /// Bytes that a call may emit.
    pub(crate) output_bytes: Option<Scalar>,
    /// Lines per second.
    pub(crate) log_lines: Option<u32>,
}

/// A sink: one of `topic`, `file`, `stdout`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sink {
    /// A Kafka topic.
    pub(crate) topic: Option<String>,
    /// A file.
    pub(crate) file: Option<String>,
    /// Standard output.
    pub(crate) stdout: Option<bool>,
    /// What it writes: as for an operator.
    pub(crate) inputs: Vec<String>,
    /// `lines` or `json_lines`.
    pub(crate) format: Option<Format>,
    /// Makes the topic if it is not there.
    pub(crate) create: Option<Create>,
}

/// Where records go that an operator cannot process: one of `topic`, `file`, `stdout`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetters {
    /// A Kafka topic.
    pub(crate) topic: Option<String>,
    /// A file.
    pub(crate) file: Option<String>,
    /// Standard output.
    pub(crate) stdout: Option<bool>,
    /// Makes the topic if it is not there.
    pub(crate) create: Option<Create>,
}

/// A topic to be made.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    /// Number of partitions.
    pub(crate) partitions: i32,
}

/// When epochs are committed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commit {
    /// Time from one commit to the next; 500 ms.
    pub(crate) interval: Option<Scalar>,
    /// Bytes of outputs that end an epoch early; 64 MiB.
    pub(crate) output_bytes: Option<Scalar>,
    /// How long a Kafka transaction may stay open; 15 s.
    pub(crate) transaction_timeout: Option<Scalar>,
}

/// Where and how state is kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// The pipeline's directory; `./state/<id>`.
    pub(crate) dir: Option<String>,
    /// Memory for state: caches and buffers; 256 MiB.
    pub(crate) memory: Option<Scalar>,
}

/// When checkpoints are taken.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    /// Time from one to the next; none without it.
    pub(crate) interval: Option<Scalar>,
    /// Where they are kept; below the state directory.
    pub(crate) dir: Option<String>,
    /// How many are kept; 3.
    pub(crate) keep: Option<usize>,
}

/// What cuts batches.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// Records; 4096.
    pub(crate) records: Option<usize>,
    /// Bytes; 1 MiB.
    pub(crate) bytes: Option<Scalar>,
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
}
