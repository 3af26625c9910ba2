use crate::ports::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Wall clock of a fresh [`FakeClock`], in milliseconds since 1970.
const START_MS: i64 = 1_700_000_000_000;

/// A clock that moves when it is told to: a pause moves it and returns at once. Copies show the same time.
#[derive(Debug, Clone, Default)]
pub struct FakeClock(Arc<AtomicU64>);

impl FakeClock {
    /// Lets time pass.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> i64 {
        START_MS.saturating_add_unsigned(self.monotonic_ms())
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn pause(&self, ms: u64) {
        self.advance(ms);
    }
}
