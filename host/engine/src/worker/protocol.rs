//! What the committer and its workers tell each other.

use super::copies::TableCopy;
use super::switch::{Reset, Switch};
use super::trial::TrialFault;
use crate::ports::{ChangeSet, OpenError, PartitionProgress, SourceError};
use crate::swap::Tally;
use crate::swap::sweep::SweepPart;
use millstream_model::commit::{CommitRecord, Gap, PartitionPosition};
use millstream_model::ids::SinkIndex;
use millstream_model::record::RecordBatch;
use std::sync::Arc;

/// To a worker.
#[derive(Debug, Clone)]
pub enum Command {
    /// End the epoch and report your part of it. `last`: read nothing more until told.
    Cut {
        /// Whether the run ends with this epoch.
        last: bool,
        /// Another version of an operator, for the epoch behind it.
        switch: Option<Arc<Switch>>,
    },
    /// The epoch of your last part is in the store; the commit's record, if there was one.
    Applied(Option<Arc<CommitRecord>>),
    /// The epoch of your last part was a trial, and is passed: go on.
    Proceed,
    /// Stop where you are, and say so.
    Hold,
    /// Forget everything since the newest commit, and say so.
    Reset(Arc<Reset>),
    /// Go on.
    Resume,
    /// End.
    Stop,
}

/// From a worker.
#[derive(Debug)]
pub enum Report {
    /// Records for a sink, of the worker's open epoch.
    Output {
        /// Who.
        worker: usize,
        /// Where to.
        sink: SinkIndex,
        /// The records.
        batch: RecordBatch,
    },
    /// The worker's part of an epoch: everything it had to say of it came before.
    Part(Part),
    /// Every source of the worker has come to its end.
    Ended,
    /// The new version was given all the records that its trial takes.
    TrialFull,
    /// The new version failed its trial. The worker stands still.
    TrialFailed(TrialFault),
    /// The worker stands still.
    Held,
    /// The worker has forgotten the epoch.
    Ready,
    /// The worker cannot go on, and has ended.
    Failed(WorkerError),
}

/// A worker's part of an epoch.
#[derive(Debug, Default)]
pub struct Part {
    /// Who.
    pub worker: usize,
    /// How far its partitions are.
    pub positions: Vec<PartitionPosition>,
    /// The same as last heard from the sources, with the ends of the logs: by source.
    pub progress: Vec<(u16, PartitionProgress)>,
    /// The watermark of each operator, in milliseconds since 1970.
    pub watermarks_ms: Vec<Option<i64>>,
    /// Cells changed.
    pub changes: ChangeSet,
    /// Offsets lost.
    pub gaps: Vec<Gap>,
    /// Whether all its sources have come to their end.
    pub ended: bool,
    /// How far its sweeps of old state were at the cut.
    pub sweeps: Vec<SweepPart>,
    /// What each operator did, in the order of the plan.
    pub tallies: Vec<Tally>,
    /// Whether an operator failed on the record that is watched.
    pub has_failed_again: bool,
    /// What its copies of broadcast states hold.
    pub copies: Vec<TableCopy>,
}

/// Why a worker cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// A source cannot go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An operator could not be made ready again.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An operator must not go on: it said so, its error policy does, or its state could not be read.
    #[error("operator `{operator}` stopped the pipeline at {place}: {reason}")]
    Stopped {
        /// Its id.
        operator: String,
        /// The record at fault, or the first one of the call.
        place: String,
        /// Why.
        reason: String,
    },
    /// A record has no timestamp, or one too far ahead, and the source's error policy is to stop.
    #[error("source `{source_id}`, partition {partition}, offset {offset}: {reason}")]
    Refused {
        /// The source's id.
        source_id: String,
        /// Number of the partition.
        partition: i32,
        /// Offset of the record.
        offset: i64,
        /// What is wrong with its timestamp.
        reason: String,
    },
    /// Workers do not agree on an operator's watermark at a cut: a bug in Millstream.
    #[error(
        "the workers do not agree on the watermark of operator `{operator}` at a cut ({watermarks_ms:?}); the pipeline stands at its last commit, please report this"
    )]
    Disagree {
        /// The operator's id.
        operator: String,
        /// What each worker has.
        watermarks_ms: Vec<Option<i64>>,
    },
    /// A record does not fit where it has to go, and nothing smaller can go there in its place.
    #[error("a record is too large, of {place}: {reason}")]
    TooLarge {
        /// The record.
        place: String,
        /// How large, for what, and what to do.
        reason: String,
    },
    /// A worker's copy of a broadcast state is not what the others have.
    #[error(
        "operator `{operator}` did not do the same with the same records of its broadcast input on every worker: worker {worker} has other entries in `{state}` than worker {other}. \
         Nothing of it is committed. A restart begins with what is; if it comes again, `process-broadcast` depends on something beside the records, or hits a limit"
    )]
    CopiesDiffer {
        /// Its id.
        operator: String,
        /// Name of the state.
        state: String,
        /// A worker,
        worker: usize,
        /// and another one.
        other: usize,
    },
    /// A thread panicked: a bug in Millstream.
    #[error("a worker thread panicked: {0}; the pipeline stands at its last commit, please report this")]
    Panicked(String),
}
