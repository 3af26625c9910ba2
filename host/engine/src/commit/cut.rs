//! When to cut an epoch, and whether a cut is worth a commit. Pure.

use millstream_model::plan::CommitSettings;

/// The epoch that is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenEpoch {
    /// Time since the cut before, in milliseconds.
    pub age_ms: u64,
    /// Bytes of outputs.
    pub output_bytes: u64,
    /// Bytes of state changed, nearly.
    pub dirty_bytes: u64,
}

/// Whether to cut the epoch now: its time is over, or it holds more than it should.
#[must_use]
pub fn is_due(settings: &CommitSettings, state_memory_bytes: u64, open: &OpenEpoch) -> bool {
    open.age_ms >= settings.interval_ms.min(settings.transaction_timeout_ms / 3)
        || is_full(settings, state_memory_bytes, open)
}

/// Whether the epoch holds more than it should.
#[must_use]
pub fn is_full(settings: &CommitSettings, state_memory_bytes: u64, open: &OpenEpoch) -> bool {
    // What is changed can neither be evicted nor dropped before the next commit is applied, and two epochs can be on hand at a time.
    let dirty_bytes_max = state_memory_bytes / 4;
    open.output_bytes >= settings.output_bytes_max || open.dirty_bytes >= dirty_bytes_max.max(1)
}

/// What happened in an epoch that was cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CutEpoch {
    /// Outputs, changed state, lost offsets, other versions that lie about, or the end of the pipeline.
    pub has_effects: bool,
    /// Whether positions moved.
    pub has_moved: bool,
    /// Whether somebody waits for this commit.
    pub is_forced: bool,
    /// Time since the last commit, in milliseconds.
    pub since_commit_ms: u64,
}

/// Positions alone are committed this often, in milliseconds: a restart reads that much again, without any effect.
const POSITIONS_EVERY_MS: u64 = 5_000;

/// A commit is made this often whatever happens, in milliseconds: the transactional id and the positions stay known to the cluster.
const ANYTHING_EVERY_MS: u64 = 3_600_000;

/// Whether the epoch is worth a commit.
#[must_use]
pub fn is_worth_a_commit(epoch: &CutEpoch) -> bool {
    epoch.has_effects
        || (epoch.has_moved && (epoch.is_forced || epoch.since_commit_ms >= POSITIONS_EVERY_MS))
        || epoch.since_commit_ms >= ANYTHING_EVERY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_by_time_outputs_or_state() {
        let settings = CommitSettings::default();
        let due = |open| is_due(&settings, 1_000, &open);
        assert!(!due(OpenEpoch { age_ms: 499, output_bytes: (64 << 20) - 1, dirty_bytes: 249 }));
        assert!(due(OpenEpoch { age_ms: 500, ..OpenEpoch::default() }));
        assert!(due(OpenEpoch { output_bytes: 64 << 20, ..OpenEpoch::default() }));
        assert!(due(OpenEpoch { dirty_bytes: 250, ..OpenEpoch::default() }));
    }

    #[test]
    fn a_long_interval_does_not_outlive_the_transaction() {
        let settings = CommitSettings { interval_ms: 60_000, ..CommitSettings::default() };
        assert!(is_due(&settings, 1 << 30, &OpenEpoch { age_ms: 5_000, ..OpenEpoch::default() }));
    }

    #[test]
    fn what_only_moved_is_committed_now_and_then() {
        let moved = CutEpoch { has_moved: true, ..CutEpoch::default() };
        assert!(!is_worth_a_commit(&CutEpoch { since_commit_ms: 4_999, ..moved }));
        assert!(is_worth_a_commit(&CutEpoch { since_commit_ms: 5_000, ..moved }));
        assert!(is_worth_a_commit(&CutEpoch { is_forced: true, ..moved }));
        assert!(!is_worth_a_commit(&CutEpoch { is_forced: true, ..CutEpoch::default() }));
        assert!(is_worth_a_commit(&CutEpoch { has_effects: true, ..CutEpoch::default() }));
        assert!(is_worth_a_commit(&CutEpoch { since_commit_ms: 3_600_000, ..CutEpoch::default() }));
    }
}
