use super::trial::Tally;

/// What is demanded of a new version after its trial. Probation ends with whichever comes first, records or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbationRules {
    /// Records committed; 0: no probation.
    pub records: u64,
    /// Time, in milliseconds.
    pub time_ms: u64,
    /// Records it may be at fault for, beyond those the version before would have been at its rate.
    pub failures_max: u64,
}

impl Default for ProbationRules {
    fn default() -> Self {
        Self { records: 100_000, time_ms: 600_000, failures_max: 10 }
    }
}

/// A probation under way. It knows committed work only: what was rolled back is not held against anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probation {
    rules: ProbationRules,
    old: Tally,
    since_ms: u64,
    seen: Tally,
}

/// How a probation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    Open,
    /// It is over, well.
    Passed,
    /// Too many failures: why, as a sentence.
    Failed(String),
}

impl Probation {
    /// Begins one at `since_ms` on the monotonic clock; `old` is what the version before did.
    #[must_use]
    pub fn new(rules: ProbationRules, old: Tally, since_ms: u64) -> Self {
        Self { rules, old, since_ms, seen: Tally::default() }
    }

    /// Adds what a committed epoch held.
    pub fn add(&mut self, committed: &Tally) {
        self.seen.add(committed);
    }

    /// Records committed, and those after which it is over.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.seen.records, self.rules.records)
    }

    /// How it stands at `now_ms` on the monotonic clock.
    #[must_use]
    pub fn standing(&self, now_ms: u64) -> Standing {
        let usual = u128::from(self.old.failed) * u128::from(self.seen.records) / u128::from(self.old.records.max(1));
        let usual = u64::try_from(usual).unwrap_or(u64::MAX);
        if self.seen.failed > usual.saturating_add(self.rules.failures_max) {
            return Standing::Failed(format!(
                "it was at fault for {} of {} records; the version before would have been for {usual}, and `failures_max` allows {} more",
                self.seen.failed, self.seen.records, self.rules.failures_max
            ));
        }
        if self.seen.records >= self.rules.records || now_ms.saturating_sub(self.since_ms) >= self.rules.time_ms {
            return Standing::Passed;
        }
        Standing::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ProbationRules = ProbationRules { records: 1_000, time_ms: 500, failures_max: 2 };

    fn tally(records: u64, failed: u64) -> Tally {
        Tally { records, failed, ..Tally::default() }
    }

    fn after(old: Tally, epochs: &[Tally]) -> Probation {
        let mut probation = Probation::new(RULES, old, 100);
        epochs.iter().for_each(|epoch| probation.add(epoch));
        probation
    }

    #[test]
    fn it_ends_by_records_or_by_time() {
        assert_eq!(after(Tally::default(), &[tally(500, 1), tally(499, 1)]).standing(599), Standing::Open);
        assert_eq!(after(Tally::default(), &[tally(500, 1), tally(500, 1)]).standing(100), Standing::Passed);
        assert_eq!(after(Tally::default(), &[]).standing(600), Standing::Passed);
    }

    #[test]
    fn more_failures_than_allowed_end_it_even_if_it_is_over() {
        let failed = after(Tally::default(), &[tally(2_000, 3)]).standing(10_000);
        assert!(matches!(failed, Standing::Failed(_)), "{failed:?}");
    }

    #[test]
    fn what_the_version_before_would_have_failed_on_too_does_not_count() {
        // One in a hundred: five of 500.
        let old = tally(10_000, 100);
        assert_eq!(after(old, &[tally(500, 7)]).standing(100), Standing::Open);
        assert!(matches!(after(old, &[tally(500, 8)]).standing(100), Standing::Failed(_)));
    }
}
