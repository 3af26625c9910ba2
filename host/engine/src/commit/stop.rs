use super::codec::CodecError;
use crate::ports::{LogError, SinkError, StateError};
use millstream_model::commit::OpenRecord;

/// An epoch could not be committed, or whether it is is unknown: [`super::Committer::resolve`] tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EpochLost {
    /// What failed first.
    pub reason: String,
}

/// Why the pipeline cannot go on. Everything up to its last commit is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Another process has taken the pipeline.
    #[error(
        "fenced by process {} on {}, which has taken the pipeline over (run {}); this process has written nothing since", by.pid, by.host, by.incarnation
    )]
    Fenced {
        /// By whom.
        by: Box<OpenRecord>,
    },
    /// A transaction is visible in part.
    #[error(
        "the transaction of epoch {begun} is visible without its commit record (the newest commit is {newest}): the log has been damaged or written by another program; keep the topics as they are and report this"
    )]
    Torn {
        /// Token of the transaction.
        begun: String,
        /// Token of the newest commit.
        newest: String,
    },
    /// Log and store do not belong together.
    #[error("{what}: the log's newest commit is {log}, the store's is {store}; {advice}")]
    Tokens {
        /// What is wrong.
        what: &'static str,
        /// Token of the log's newest commit.
        log: String,
        /// Token of the newest commit in the store.
        store: String,
        /// What to do.
        advice: String,
    },
    /// Whoever had the pipeline switched an operator after the plan of this start was made: another one has to be made.
    #[error(
        "operator `{operator}` was switched to another version while this process started, by the one that had the pipeline: start again"
    )]
    Overtaken {
        /// The operator's id.
        operator: String,
    },
    /// The pipeline is not what its history says.
    #[error("{0}")]
    Config(String),
    /// The store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A record in the log or the store.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It failed again and again.
    #[error("{resolves} epochs in a row could not be committed, the last one because: {reason}")]
    ResolvesExhausted {
        /// How many.
        resolves: u32,
        /// Why the last one failed.
        reason: String,
    },
}
