//! How soon a new instance takes the place of one that broke.

/// Instances in a row that may break before the next one is waited for. A search for one record at fault among 65 536 breaks as many.
const FREE: u32 = 17;

/// Longest wait for a new instance, in milliseconds: an operator that breaks on every record still gets through a hundred a second.
const PAUSE_MS_MAX: u64 = 10;

/// Counts instances that broke without a call that went well between them.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// A call went well.
    pub(crate) fn worked(&mut self) {
        self.in_a_row = 0;
    }

    /// A call broke its instance.
    pub(crate) fn broke(&mut self) {
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    /// What to wait before the next instance is made, in milliseconds: nothing at first, then twice as long each time.
    pub(crate) fn pause_ms(&self) -> u64 {
        match self.in_a_row.checked_sub(FREE) {
            None => 0,
            Some(beyond) => 1u64.checked_shl(beyond).unwrap_or(u64::MAX).min(PAUSE_MS_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_break_in_a_row_come_back_more_slowly_up_to_a_bound() {
        let mut restarts = Restarts::default();
        let pauses = |restarts: &mut Restarts, times: u32| {
            let pause = |_| {
                restarts.broke();
                restarts.pause_ms()
            };
            (0..times).map(pause).collect::<Vec<_>>()
        };
        assert_eq!(restarts.pause_ms(), 0);
        assert_eq!(pauses(&mut restarts, 16), [0; 16]);
        assert_eq!(pauses(&mut restarts, 6), [1, 2, 4, 8, 10, 10]);
        assert_eq!(pauses(&mut restarts, 1_000).last(), Some(&10));
        restarts.worked();
        assert_eq!((restarts.pause_ms(), pauses(&mut restarts, 1)), (0, vec![0]));
    }
}
