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
    /// What a trial puts out is written before it is judged.
    WriteTrials,
    /// A worker takes the new version as soon as it is told to cut.
    SwitchEarly,
    /// A new version that has to read its state from the store does not wait until the epoch before is there.
    SwitchUnapplied,
    /// Values in memory stay, whatever states the new version has.
    KeepCache,
    /// A commit names the version before.
    NameOldVersion,
    /// A switch is taken to be durable once its trial is passed.
    SettleEarly,
    /// After an epoch was dropped the version goes on that ran in it.
    KeepNewVersion,
    /// After an epoch was dropped its instances go on.
    KeepInstances,
    /// After an epoch was dropped what it did to state in memory stays.
    KeepOverlays,
    /// What one version could not process is kept from every other, too.
    ShareVerdicts,
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
            Self::WriteTrials => "write_trials",
            Self::SwitchEarly => "switch_early",
            Self::SwitchUnapplied => "switch_unapplied",
            Self::KeepCache => "keep_cache",
            Self::NameOldVersion => "name_old_version",
            Self::SettleEarly => "settle_early",
            Self::KeepNewVersion => "keep_new_version",
            Self::KeepInstances => "keep_instances",
            Self::KeepOverlays => "keep_overlays",
            Self::ShareVerdicts => "share_verdicts",
        }
    }

    /// Whether it is planted.
    pub(crate) fn is_planted(self) -> bool {
        fail::fail_point!(self.name(), |_| true);
        false
    }
}
