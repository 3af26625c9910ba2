use millstream_model::commit::{Gap, PartitionPosition};
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::RecordBatch;

/// A worker's part of a source: some of its partitions, read in order.
pub trait Source: Send {
    /// Appends records to `batch`, at most what `limits` still allow, and waits a little (at most some milliseconds) if there are none.
    /// Origins carry the [`PartitionIndex`] given with `assign`.
    ///
    /// # Errors
    /// When the source cannot go on; nothing that was appended may be used then.
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError>;

    /// How far each partition is: the first offset that the next poll may return. As of the last poll.
    fn progress(&self) -> &[PartitionProgress];

    /// Goes to the given positions, those of a commit. Partitions that are not named stay where their start setting puts them.
    ///
    /// # Errors
    /// When a position cannot be reached.
    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError>;

    /// Asks afresh whether everything there is of a partition has been returned: nothing is read and waiting, nothing is in an open transaction. Asked when the
    /// partition has been silent for a while, and now and then while it stays so; may wait a little. `false` if that is not certain.
    fn is_at_end(&mut self, partition: PartitionIndex) -> bool {
        let own = self.progress().iter().find(|progress| progress.index == partition);
        own.is_some_and(|progress| progress.end >= 0 && progress.next >= progress.end)
    }

    /// Tells the position up to which everything is committed, for whoever shows lag (Kafka: group offsets). Called at most once a second.
    fn committed(&mut self, _positions: &[PartitionPosition]) {}

    /// Offsets found lost since the last call, let pass by `on_data_loss: earliest`.
    fn take_gaps(&mut self) -> Vec<Gap> {
        Vec::new()
    }
}

/// Finds the event time of a record where it is not the source's own timestamp.
pub trait EventTime: Send + Sync {
    /// The time of a row, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the record has none: what was looked for, and what is there.
    fn of(&self, batch: &RecordBatch, row: u32) -> Result<i64, String>;
}

/// What a poll brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Records, or none within the wait.
    Some,
    /// Every partition has come to its end for good; no poll will bring more.
    End,
}

/// How far a partition has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProgress {
    /// Its position among all partitions of the pipeline.
    pub index: PartitionIndex,
    /// Its number within the source.
    pub partition: i32,
    /// First offset not yet returned by a poll.
    pub next: i64,
    /// Leader epoch of the last record, -1 if unknown.
    pub leader_epoch: i32,
    /// Highest timestamp returned, in milliseconds since 1970.
    pub timestamp_ms_max: Option<i64>,
    /// End of the log as last heard, records of open transactions included; lag is `end - next`. -1 if unknown.
    pub end: i64,
    /// Whether it has come to its end for good.
    pub ended: bool,
}

/// Why a source cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source `{source_id}`: {reason}")]
pub struct SourceError {
    /// Its id in the pipeline file.
    pub source_id: String,
    /// What, where, why, and what to do.
    pub reason: String,
}
