use super::{Format, OnError, Scalar};
use schemars::JsonSchema;
use serde::Deserialize;

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
    /// `earliest`, `latest`, `offset:N`, or `timestamp:N` in milliseconds since 1970.
    pub(crate) start: Option<Scalar>,
    /// Where to end for good: `latest`, `offset:N`, or `timestamp:N`.
    pub(crate) stop: Option<Scalar>,
    /// `stop` or `earliest`.
    pub(crate) on_data_loss: Option<DataLoss>,
    /// `read_committed` or `read_uncommitted`.
    pub(crate) isolation: Option<Isolation>,
    /// `lines` or `json_lines`.
    pub(crate) format: Option<Format>,
    /// JSON pointer to the key, with `json_lines`.
    pub(crate) key: Option<String>,
    /// Where the event time is: `kafka`, `{ header: … }`, `{ pointer: … }`, or a JSON pointer with `json_lines`.
    pub(crate) timestamp: Option<Timestamp>,
    /// What is expected of the order of timestamps.
    #[serde(default)]
    pub(crate) watermark: Watermark,
    /// How far ahead of the wall clock a timestamp may be.
    pub(crate) max_future: Option<Scalar>,
    /// What happens to a record without a timestamp, or with one too far ahead.
    pub(crate) on_error: Option<OnError>,
    /// Whether to wait for more at the end of a file.
    pub(crate) follow: Option<bool>,
    /// What to do about a file that the newest commit names and that is gone: `stop` or `skip`.
    pub(crate) missing_file: Option<MissingFile>,
    /// Length of a line; a longer one stops the pipeline; 16 MiB.
    pub(crate) record_bytes_max: Option<Scalar>,
}

/// Where the event time of a record is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Timestamp {
    /// `kafka`: the record's own. A JSON pointer, with `json_lines`: there, and where it is not, the file's time.
    Text(String),
    /// In the record; a record that has none is refused.
    At(TimestampAt),
}

/// Where the event time of a record is: one of these.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimestampAt {
    /// Name of the header that holds it.
    pub(crate) header: Option<String>,
    /// JSON pointer to it.
    pub(crate) pointer: Option<String>,
}

/// What is expected of the order of a source's timestamps.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watermark {
    /// How much earlier than the latest before it a record of a partition may be; 0 by default.
    pub(crate) disorder: Option<Scalar>,
    /// After how long a silent partition that is read to its end holds nothing back; 1m by default, or `never`.
    pub(crate) idle: Option<Scalar>,
    /// How far the source may run ahead of the slowest one.
    pub(crate) align: Option<Scalar>,
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
