use millstream_model::record::RecordBatch;

/// A sink outside Kafka whose commit is a length in the commit record: what is written after `prepare` and not committed is cut off by `recover`.
pub trait Sink: Send {
    /// Writes records behind the last ones.
    ///
    /// # Errors
    /// When they cannot be written; the epoch is dropped.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError>;

    /// Makes everything written durable and tells its length in bytes, which goes into the commit record.
    ///
    /// # Errors
    /// When it is not certain to be durable; the sink must not be used again.
    fn prepare(&mut self) -> Result<u64, SinkError>;

    /// What `prepare` told last is committed, and nobody cuts it off any more.
    fn committed(&mut self) {}

    /// Cuts off everything behind the committed length (0 if no commit names the sink).
    ///
    /// # Errors
    /// When the sink is shorter than that, so that committed records are gone.
    fn recover(&mut self, committed_length: u64) -> Result<(), SinkError>;
}

/// Why a sink cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sink `{sink}`: {reason}")]
pub struct SinkError {
    /// Its id in the pipeline file.
    pub sink: String,
    /// What, where, why, and what to do.
    pub reason: String,
}
