use super::Format;
use schemars::JsonSchema;
use serde::Deserialize;

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
