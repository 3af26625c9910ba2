use millstream_model::commit::CommitRecord;

/// Who asked for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The interval; old ones are collected.
    Periodic,
    /// A person; kept until a person removes it.
    Savepoint,
}

/// A checkpoint that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointTaken {
    /// Where it lies, as `--from-checkpoint` takes it.
    pub location: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Told once a checkpoint is complete or has failed; called from any thread.
pub type CheckpointDone = Box<dyn FnOnce(Result<CheckpointTaken, CheckpointError>) + Send>;

/// Takes durable copies of the store.
pub trait Checkpoints: Send {
    /// Takes a checkpoint of the store, which holds the fold of all commits up to `commit` and nothing else. Returns as soon as the store may be
    /// written again; what takes long goes on in the background and ends with `done`. While one is under way, another fails.
    fn take(&mut self, commit: &CommitRecord, kind: CheckpointKind, done: CheckpointDone);
}

/// Why a checkpoint was not taken. The pipeline goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint in `{location}`: {reason}")]
pub struct CheckpointError {
    /// Where it was to lie.
    pub location: String,
    /// What, why, and what to do.
    pub reason: String,
}
