use crate::ports::CallError;

/// What to do after a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Refuse these rows and call again with the rest: the operator will not have them.
    Refuse(Vec<(u32, String)>),
    /// Refuse these rows and call again with the rest: the operator is at fault for them.
    Blame(Vec<(u32, String)>),
    /// Make the same call again after a pause.
    Retry {
        /// The pause in milliseconds.
        after_ms: u64,
    },
    /// Call with the first `at` rows, then with the others. `timed_out`: the search goes on with less time for parts.
    Split {
        /// Rows of the first part.
        at: usize,
        /// Whether the call ran out of time.
        timed_out: bool,
    },
    /// Stop the pipeline at the last commit.
    Stop(String),
}

/// Longest pause before a retry, in milliseconds.
const RETRY_PAUSE_MS_MAX: u64 = 1_000;

/// Decides what to do after a call of `rows` rows failed for the `attempts`-th time (from 1), with `retries` granted.
#[must_use]
pub fn next_step(error: CallError, rows: usize, attempts: u32, retries: u32) -> Step {
    let error = match error {
        CallError::Reject(mut refused) => {
            refused.retain(|(row, _)| (*row as usize) < rows);
            CallError::Reject(refused)
        }
        error => error,
    };
    match error {
        CallError::Stop(reason) | CallError::Host(reason) => Step::Stop(reason),
        CallError::Reject(refused) if !refused.is_empty() => Step::Refuse(refused),
        CallError::Blame(blamed) => Step::Blame(blamed),
        CallError::Retry(_) if attempts <= retries => {
            Step::Retry { after_ms: (10u64 << attempts.min(10)).min(RETRY_PAUSE_MS_MAX) }
        }
        failed if rows > 1 => Step::Split { at: rows / 2, timed_out: matches!(failed, CallError::Timeout { .. }) },
        failed => Step::Blame(vec![(0, failed.to_string())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trap() -> CallError {
        CallError::Trap { reason: "unreachable".to_owned(), backtrace: None }
    }

    #[test]
    fn a_panic_halves_as_a_trap_does_and_its_text_is_the_reason() {
        let panic =
            || CallError::Panic { text: "index out of bounds".to_owned(), backtrace: Some("   0: f".to_owned()) };
        assert_eq!(next_step(panic(), 8, 1, 3), Step::Split { at: 4, timed_out: false });
        let reason = "gave up: index out of bounds\n   0: f".to_owned();
        assert_eq!(next_step(panic(), 1, 1, 3), Step::Blame(vec![(0, reason)]));
    }

    #[test]
    fn a_trap_halves_until_the_record_is_alone() {
        let mut rows = 4_096;
        let mut halvings = 0;
        while let Step::Split { at, timed_out: false } = next_step(trap(), rows, 1, 0) {
            rows = at;
            halvings += 1;
        }
        assert_eq!((rows, halvings), (1, 12));
        assert_eq!(next_step(trap(), 1, 1, 0), Step::Blame(vec![(0, "trapped: unreachable".to_owned())]));
    }

    #[test]
    fn retries_are_used_up_and_then_count_as_a_failure() {
        let retry = || CallError::Retry("later".to_owned());
        assert!(matches!(next_step(retry(), 5, 1, 2), Step::Retry { .. }));
        assert!(matches!(next_step(retry(), 5, 2, 2), Step::Retry { .. }));
        assert!(matches!(next_step(retry(), 5, 3, 2), Step::Split { at: 2, .. }));
        assert!(matches!(next_step(retry(), 1, 3, 2), Step::Blame(_)));
    }

    #[test]
    fn a_rejection_of_rows_that_are_not_there_is_a_trap() {
        let refused = |row| CallError::Reject(vec![(row, "bad".to_owned())]);
        assert!(matches!(next_step(refused(8), 8, 1, 0), Step::Split { at: 4, .. }));
        assert_eq!(next_step(refused(7), 8, 1, 0), Step::Refuse(vec![(7, "bad".to_owned())]));
        assert!(matches!(next_step(CallError::Reject(Vec::new()), 8, 1, 0), Step::Split { at: 4, .. }));
    }

    #[test]
    fn stop_and_host_failures_blame_no_record() {
        assert_eq!(next_step(CallError::Stop("no".to_owned()), 8, 1, 3), Step::Stop("no".to_owned()));
        assert_eq!(next_step(CallError::Host("disk".to_owned()), 8, 1, 3), Step::Stop("disk".to_owned()));
    }
}
