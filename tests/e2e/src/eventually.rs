//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` until it gives a value. The time limit is not what is tested: it is there so that a test that can no
/// longer succeed ends, and it is generous.
///
/// # Errors
/// If `probe` fails, or there is no value after `timeout`; `what` says what was waited for.
pub fn eventually<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {timeout:?} in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
