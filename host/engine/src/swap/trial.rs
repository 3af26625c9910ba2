use std::fmt;

/// What an operator did with the records it was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Records of calls that ended: processed, rejected or found at fault.
    pub records: u64,
    /// Records emitted.
    pub emitted: u64,
    /// Records it rejected.
    pub rejected: u64,
    /// Records found at fault: alone in a call that trapped, ran too long or hit a limit.
    pub failed: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.emitted += other.emitted;
        self.rejected += other.rejected;
        self.failed += other.failed;
    }

    fn of_records(&self, number: u64) -> f64 {
        number as f64 / self.records.max(1) as f64
    }
}

/// What the first epoch of a new version has to show.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRules {
    /// Records after which it is judged, at least 1.
    pub records: u64,
    /// Time after which it is judged whatever came, in milliseconds; never more than a third of the transaction timeout.
    pub time_ms: u64,
    /// The share of records it may reject, from 0 to 1, if the version before did not reject as many.
    pub reject_ratio_max: Option<f64>,
    /// How many records it emits for each it is given, as a multiple of what the version before did: from, to.
    pub output_ratio: Option<(f64, f64)>,
    /// Records below which no ratio is judged.
    pub sample_min: u64,
}

impl Default for TrialRules {
    fn default() -> Self {
        Self { records: 1_000, time_ms: 5_000, reject_ratio_max: None, output_ratio: None, sample_min: 100 }
    }
}

impl TrialRules {
    /// Checks that the rules make sense.
    ///
    /// # Errors
    /// The rule that does not, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        if self.records == 0 {
            return Err("`records` is 0; a trial needs at least 1".to_owned());
        }
        if let Some(ratio) = self.reject_ratio_max
            && !(0.0..=1.0).contains(&ratio)
        {
            return Err(format!("`max_reject_ratio` is {ratio}; it is a share of the records, from 0 to 1"));
        }
        if let Some((from, to)) = self.output_ratio
            && !(from >= 0.0 && from <= to && to.is_finite())
        {
            return Err(format!("`output_ratio` is {from}..{to}; it is a range of multiples, like 0.5..2"));
        }
        Ok(())
    }

    /// How long the trial may take, in milliseconds.
    #[must_use]
    pub fn time_ms_max(&self, transaction_timeout_ms: u64) -> u64 {
        self.time_ms.min(transaction_timeout_ms / 3)
    }
}

/// The record a trial failed on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FaultPlace {
    /// Id of the source it came from.
    pub source: String,
    /// Number of the partition within the source.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

impl fmt::Display for FaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source `{}`, partition {}, offset {}", self.source, self.partition, self.offset)
    }
}

/// Why a version failed its trial.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TrialFailure {
    /// What it did.
    pub reason: String,
    /// On which record, if it was one.
    pub place: Option<FaultPlace>,
}

impl fmt::Display for TrialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} (at {place})", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// How a trial went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Passed,
    /// It does not.
    Failed(TrialFailure),
}

/// Judges the first epoch of a new version, in which no call failed: such a failure ends a trial at once. `old` is what the version before did while it ran in this process; what is
/// not known of it is not held against the new one.
#[must_use]
pub fn judge(rules: &TrialRules, new: &Tally, old: &Tally) -> Verdict {
    let failed = |reason| Verdict::Failed(TrialFailure { reason, place: None });
    let sample_min = rules.sample_min.max(1);
    if new.records < sample_min {
        return Verdict::Passed;
    }
    if let Some(ratio_max) = rules.reject_ratio_max {
        let (ratio, before) = (new.of_records(new.rejected), old.of_records(old.rejected));
        if ratio > ratio_max.max(before) {
            return failed(format!(
                "it rejected {} of {} records ({ratio:.3} of them; `max_reject_ratio` is {ratio_max}, the version before rejected {before:.3})",
                new.rejected, new.records
            ));
        }
    }
    if let Some((from, to)) = rules.output_ratio
        && old.records >= sample_min
        && old.emitted > 0
    {
        let multiple = new.of_records(new.emitted) / old.of_records(old.emitted);
        if multiple < from || multiple > to {
            return failed(format!(
                "it emitted {} records for {}, which is {multiple:.3} times what the version before did; `output_ratio` allows {from} to {to}",
                new.emitted, new.records
            ));
        }
    }
    Verdict::Passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(records: u64, emitted: u64, rejected: u64) -> Tally {
        Tally { records, emitted, rejected, failed: 0 }
    }

    fn rules(reject: Option<f64>, output: Option<(f64, f64)>) -> TrialRules {
        TrialRules { reject_ratio_max: reject, output_ratio: output, sample_min: 10, ..TrialRules::default() }
    }

    fn passes(rules: &TrialRules, new: Tally, old: Tally) -> bool {
        judge(rules, &new, &old) == Verdict::Passed
    }

    #[test]
    fn rejections_are_judged_by_share_and_never_harder_than_the_version_before() {
        let rules = rules(Some(0.1), None);
        assert!(passes(&rules, tally(100, 0, 10), Tally::default()));
        assert!(!passes(&rules, tally(100, 0, 11), Tally::default()));
        assert!(passes(&rules, tally(100, 0, 30), tally(1_000, 0, 300)));
        assert!(!passes(&rules, tally(100, 0, 31), tally(1_000, 0, 300)));
    }

    #[test]
    fn outputs_are_judged_as_a_multiple_of_what_the_version_before_emitted() {
        let rules = rules(None, Some((0.5, 2.0)));
        let old = tally(1_000, 3_000, 0);
        assert!(passes(&rules, tally(100, 150, 0), old));
        assert!(!passes(&rules, tally(100, 149, 0), old));
        assert!(passes(&rules, tally(100, 600, 0), old));
        assert!(!passes(&rules, tally(100, 601, 0), old));
    }

    #[test]
    fn what_is_not_known_is_not_held_against_the_new_version() {
        let rules = rules(Some(0.1), Some((0.5, 2.0)));
        // Too small a sample of the new one, or of the one before, or one that emitted nothing.
        assert!(passes(&rules, tally(9, 900, 9), tally(1_000, 1_000, 0)));
        assert!(passes(&rules, tally(100, 900, 0), tally(9, 9, 0)));
        assert!(passes(&rules, tally(100, 900, 0), tally(1_000, 0, 0)));
    }

    #[test]
    fn rules_that_make_no_sense_are_named() {
        let problem = |rules: TrialRules| rules.check().err().unwrap_or_default();
        assert!(problem(TrialRules { records: 0, ..TrialRules::default() }).contains("`records`"));
        for ratio in [-0.1, 1.1, f64::NAN] {
            assert!(problem(rules(Some(ratio), None)).contains("`max_reject_ratio`"), "{ratio}");
        }
        for range in [(-1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
            assert!(problem(rules(None, Some(range))).contains("`output_ratio`"), "{range:?}");
        }
        assert_eq!(rules(Some(0.0), Some((0.0, 0.0))).check(), Ok(()));
    }

    #[test]
    fn a_trial_is_shorter_than_a_transaction() {
        assert_eq!(TrialRules::default().time_ms_max(15_000), 5_000);
        assert_eq!(TrialRules::default().time_ms_max(3_000), 1_000);
    }
}
