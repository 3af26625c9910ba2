/// The only door to time. Decisions take times as arguments; loops ask this.
pub trait Clock: Send + Sync {
    /// Wall clock in milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// A clock that never goes back, in milliseconds since some moment.
    fn monotonic_ms(&self) -> u64;

    /// The same clock in nanoseconds, as exactly as it goes: for measuring, not for deciding.
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ms().saturating_mul(1_000_000)
    }

    /// Waits that long.
    fn pause(&self, ms: u64);
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
impl Default for SystemClock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn pause(&self, ms: u64) {
        std::thread::sleep(std::time::Duration::from_millis(ms));
    }
}
