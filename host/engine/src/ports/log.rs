use super::state::ChangeSet;
use millstream_model::ids::SinkIndex;
use millstream_model::record::RecordBatch;

/// The three constant keys of a commits partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommitsKey {
    /// A process has taken the pipeline.
    Open,
    /// A transaction has begun.
    Begin,
    /// An epoch is committed.
    Commit,
}

impl CommitsKey {
    /// The record key in the commits topic.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Open => b"open",
            Self::Begin => b"begin",
            Self::Commit => b"commit",
        }
    }
}

/// A log with transactions: Kafka, or the simulation. It does what it is told, one step a call; the protocol is the caller's (`commit`).
///
/// Every call may block, within the bounds of its settings. After any error but a retriable one of `end`, the only call that makes sense
/// is `init`.
pub trait TransactionLog: Send {
    /// Abandons the producer at hand, makes a new one with the same transactional id and initialises it, again and again until it succeeds: whatever was
    /// open is settled, whoever else had the id is fenced.
    ///
    /// # Errors
    /// When that cannot succeed (authorisation, configuration) or did not within the log's patience.
    fn init(&mut self) -> Result<(), LogError>;

    /// Reads the commits partition read_committed up to the high watermark captured at the start of the call, and returns keys and values that are
    /// still there, in order of their offsets.
    ///
    /// # Errors
    /// When the end could not be reached; the error names the last stable offset, the high watermark and what holds it back.
    fn read_commits(&mut self) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError>;

    /// Begins a transaction. Local.
    ///
    /// # Errors
    /// When there is no usable producer.
    fn begin(&mut self) -> Result<(), LogError>;

    /// Adds a record to the commits partition.
    ///
    /// # Errors
    /// When it cannot be queued.
    fn produce_commits(&mut self, key: CommitsKey, value: &[u8]) -> Result<(), LogError>;

    /// Adds records to a sink's topic. Their sizes were checked before.
    ///
    /// # Errors
    /// When they cannot be queued.
    fn produce_outputs(&mut self, sink: SinkIndex, records: &RecordBatch) -> Result<(), LogError>;

    /// Adds changed cells to the changelog, each to the partition of its key group.
    ///
    /// # Errors
    /// When they cannot be queued.
    fn produce_changes(&mut self, changes: &ChangeSet) -> Result<(), LogError>;

    /// Waits until every record queued so far is acknowledged.
    ///
    /// # Errors
    /// When one was refused, or not acknowledged in time.
    fn flush(&mut self) -> Result<(), LogError>;

    /// Ends the transaction with a commit; one attempt.
    ///
    /// # Errors
    /// [`LogErrorKind::Retriable`]: the same call may be made again. Any other: whether it is committed is unknown.
    fn end(&mut self) -> Result<(), LogError>;

    /// How many broker connections were lost since the producer was made. A request that was on such a connection may be retried, and its
    /// first copy may still be under way.
    fn connections_lost(&self) -> u64;

    /// Reads the changelog read_committed from its beginning up to the high watermark captured at the start of the call.
    ///
    /// # Errors
    /// When the end could not be reached, or `visit` failed.
    fn read_changes(&mut self, visit: &mut dyn FnMut(&ChangeSet) -> Result<(), LogError>) -> Result<(), LogError>;
}

/// What an error of the log means for whoever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogErrorKind {
    /// The same call may be made again.
    Retriable,
    /// The outcome of the epoch is unknown: resolve.
    Unknown,
    /// As `Unknown`, and somebody else may own the transactional id.
    MaybeFenced,
    /// No retry will help (authorisation, missing topic, configuration): the pipeline stops with the reason.
    Fatal,
}

/// An error of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{during}: {reason}")]
pub struct LogError {
    /// What to do about it.
    pub kind: LogErrorKind,
    /// The step that failed, with the topic where there is one.
    pub during: String,
    /// What the broker or the client said.
    pub reason: String,
}
