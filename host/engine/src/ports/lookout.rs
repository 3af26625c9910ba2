use super::log::{CommitsKey, LogError};

/// Reads the commits partition beside whoever writes it.
pub trait CommitsReader: Send {
    /// Reads the commits partition read_committed up to the last stable offset at the start of the call, and returns of each key the newest record that was
    /// read so far, in order of their offsets. Waits for nobody.
    ///
    /// # Errors
    /// When the end could not be reached.
    fn read_stable(&mut self) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError>;
}

/// The largest records that a pipeline's topics take, in bytes of key, value and headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSizes {
    /// In the order of the plan; `usize::MAX` where a sink takes any.
    pub sinks: Vec<usize>,
    /// Of the changelog; `usize::MAX` without one.
    pub changelog: usize,
}

/// Asks for the largest records that topics take: somebody may change them while the pipeline runs.
pub trait RecordSizesReader: Send + Sync {
    /// As it is now. May block for some seconds.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn read(&self) -> Result<RecordSizes, LogError>;
}

/// Sizes that never change: for pipelines without Kafka.
impl RecordSizesReader for RecordSizes {
    fn read(&self) -> Result<RecordSizes, LogError> {
        Ok(self.clone())
    }
}

impl RecordSizes {
    /// Any record goes to any of so many sinks.
    #[must_use]
    pub fn any(sinks: usize) -> Self {
        Self { sinks: vec![usize::MAX; sinks], changelog: usize::MAX }
    }
}
