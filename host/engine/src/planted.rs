//! Bugs that a test has the binary run with, to show that it would notice them: each leaves out one thing that the protocol does. They are points of the
//! `fail` crate, as the places are where tests kill the process, and there is nothing of them unless its environment variable names one.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// After a lost connection the producer is kept.
    KeepProducer,
    /// Whatever became of an epoch in flight, it is taken to be rolled back.
    AssumeRolledBack,
    /// Whatever became of an epoch in flight, it is taken to be committed.
    AssumeCommitted,
    /// Whoever opened later is not seen.
    IgnoreYounger,
    /// A store is a base for the changelog however old it is.
    AnyBase,
    /// A batch that failed is searched for its poison in one go, and no cut falls within it.
    WholeBatches,
}

impl Bug {
    /// Its name in the environment variable.
    fn name(self) -> &'static str {
        match self {
            Self::KeepProducer => "keep_producer",
            Self::AssumeRolledBack => "assume_rolled_back",
            Self::AssumeCommitted => "assume_committed",
            Self::IgnoreYounger => "ignore_younger",
            Self::AnyBase => "any_base",
            Self::WholeBatches => "whole_batches",
        }
    }

    /// Whether it is planted.
    pub(crate) fn is_planted(self) -> bool {
        fail::fail_point!(self.name(), |_| true);
        false
    }
}
