//! The validated plan: a pipeline as the engine runs it. No strings are left to be looked up but the ids that people read.

use crate::descriptor::Descriptor;
use crate::ids::{Digest, Generation, OperatorIndex, SinkIndex, SourceIndex};
use crate::limits::{BatchLimits, OperatorLimits};
use crate::window::Windowing;
use serde::{Deserialize, Serialize};

/// What happens to a record that an operator cannot process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorPolicy {
    /// It goes to the dead-letter sink with its provenance.
    #[default]
    DeadLetter,
    /// It is counted and dropped.
    Skip,
    /// The pipeline stops at the last commit.
    Stop,
}

/// What happens to a record without a key at the door of a keyed operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullKeyPolicy {
    /// It is refused: see [`ErrorPolicy`].
    #[default]
    Reject,
    /// It is counted and dropped.
    Drop,
    /// Its key is taken as empty.
    Empty,
}

/// Where records go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An input of an operator.
    Operator {
        /// Which operator.
        operator: OperatorIndex,
        /// Position of the input in its descriptor.
        input: u32,
    },
    /// A sink.
    Sink(SinkIndex),
}

/// A source of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNode {
    /// Its id in the pipeline file.
    pub id: String,
    /// Where its records go.
    pub targets: Vec<Target>,
    /// What its records say of time.
    pub time: SourceTime,
}

/// What the records of a source say of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTime {
    /// `watermark.disorder`: how much earlier than the latest one before it a record of a partition may be without being late, in milliseconds.
    pub disorder_ms: u64,
    /// `watermark.idle`: a partition that is read to its end and silent for so long, in milliseconds, holds no watermark back. `None`: however
    /// long it is silent, it does.
    pub idle_after_ms: Option<u64>,
    /// `watermark.align`: while its watermark is further ahead of the slowest source of the pipeline, in milliseconds, it is not read.
    pub align_ms: Option<u64>,
    /// `max_future`: a record whose timestamp is further ahead of the wall clock, in milliseconds, is refused.
    pub max_future_ms: Option<u64>,
    /// What happens to a record that is refused for its timestamp.
    pub on_error: ErrorPolicy,
}

impl Default for SourceTime {
    fn default() -> Self {
        Self {
            disorder_ms: 0,
            idle_after_ms: Some(60_000),
            align_ms: None,
            max_future_ms: None,
            on_error: ErrorPolicy::default(),
        }
    }
}

/// An operator of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorNode {
    /// Its id in the pipeline file; names its state.
    pub id: String,
    /// Its configuration as JSON text.
    pub config: String,
    /// Name of the operator within its component.
    pub name: String,
    /// sha256 of its module.
    pub digest: Digest,
    /// Which switch of modules it is at.
    pub generation: Generation,
    /// What it said of itself.
    pub descriptor: Descriptor,
    /// Whether each key goes to one instance.
    pub keyed: bool,
    /// Number of exchanges before it on the longest way from a source. A keyed input is one; a broadcast input is two, as its records go to one worker first and from
    /// there to all.
    pub stage: u32,
    /// Where each output port leads.
    pub outputs: Vec<Vec<Target>>,
    /// What it may use.
    pub limits: OperatorLimits,
    /// What happens to records it cannot process.
    pub on_error: ErrorPolicy,
    /// How often a call that asked for it is repeated before it counts as failed.
    pub retries: u32,
    /// What happens to records without a key, if it is keyed.
    pub null_key: NullKeyPolicy,
    /// What the timestamps it gives its outputs say of time. `None`: its inputs say it.
    pub output_time: Option<OutputTime>,
    /// The windows it works in, if it works in any; its descriptor then has the timers of [`Windowing::timers`].
    pub windows: Option<Windowing>,
    /// Where records go that are too late for all their windows.
    pub late: Vec<Target>,
}

/// What the timestamps of an operator's outputs say of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputTime {
    /// `watermark.disorder`: how much earlier than the latest one before it an output may be without being late, in milliseconds.
    pub disorder_ms: u64,
}

/// A sink of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkNode {
    /// Its id in the pipeline file.
    pub id: String,
}

/// A pipeline, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names state, topics and transactions.
    pub id: String,
    /// In the order of the pipeline file.
    pub sources: Vec<SourceNode>,
    /// In topological order: an operator comes after all that feed it.
    pub operators: Vec<OperatorNode>,
    /// In the order of the pipeline file.
    pub sinks: Vec<SinkNode>,
    /// Where dead letters go; one of `sinks`.
    pub dead_letters: Option<SinkIndex>,
    /// Number of worker threads, at least 1.
    pub workers: u32,
    /// What cuts batches.
    pub batch: BatchLimits,
    /// When epochs are cut.
    pub commit: CommitSettings,
    /// Time from one checkpoint to the next, in milliseconds; `None` takes only savepoints.
    pub checkpoint_interval_ms: Option<u64>,
    /// Memory for cached state of all workers, in bytes.
    pub state_memory_bytes: u64,
}

/// When epochs are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitSettings {
    /// Time from one commit to the next, in milliseconds.
    pub interval_ms: u64,
    /// Bytes of outputs that end an epoch early.
    pub output_bytes_max: u64,
    /// How long a Kafka transaction may stay open, in milliseconds.
    pub transaction_timeout_ms: u64,
}

impl Default for CommitSettings {
    fn default() -> Self {
        Self { interval_ms: 500, output_bytes_max: 64 << 20, transaction_timeout_ms: 15_000 }
    }
}

impl Plan {
    /// The operator at a position.
    #[must_use]
    pub fn operator(&self, index: OperatorIndex) -> Option<&OperatorNode> {
        self.operators.get(index.at())
    }

    /// By operator: whether marks must reach it, because it or one behind it needs them.
    #[must_use]
    pub fn marked(&self) -> Vec<bool> {
        self.leading_to(|node| node.descriptor.needs_marks())
    }

    /// By operator: whether it or one behind it is such a one.
    #[must_use]
    pub fn leading_to(&self, is_one: impl Fn(&OperatorNode) -> bool) -> Vec<bool> {
        let mut marked: Vec<bool> = self.operators.iter().map(is_one).collect();
        // An operator comes after all that feed it, so one pass from the end is enough.
        for (at, node) in self.operators.iter().enumerate().rev() {
            let feeds_one = node.outputs.iter().flatten().chain(&node.late).any(|target| match target {
                Target::Operator { operator, .. } => marked.get(operator.at()).copied().unwrap_or(false),
                Target::Sink(_) => false,
            });
            if feeds_one && let Some(own) = marked.get_mut(at) {
                *own = true;
            }
        }
        marked
    }

    /// The source at a position.
    #[must_use]
    pub fn source(&self, index: SourceIndex) -> Option<&SourceNode> {
        self.sources.get(index.at())
    }
}
