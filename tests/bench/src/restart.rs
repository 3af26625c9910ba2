//! From the start of the process to its first commit, with state to come back to.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use millstream_e2e::{MillstreamOptions, Workplace, eventually};

use crate::bare::{Records, fill};
use crate::pipeline::{Broker, PARTITIONS, yaml};

/// Time for any part.
const PATIENCE: Duration = Duration::from_secs(180);

/// Records fed before each restart, for it to have something to commit.
const NEWS: u64 = 1_000;

/// Times in seconds from the start to the first new commit.
#[derive(Debug, Clone, Copy)]
pub struct Restarts {
    /// After a kill, the state directory there.
    pub kept_s: f64,
    /// After a kill, the state directory gone: everything comes from the changelog.
    pub restored_s: f64,
}

/// A keyed count that knows `keys` keys, killed and started again.
///
/// # Errors
/// If anything of it fails.
pub fn restarts(broker: &Broker, keys: u64) -> Result<Restarts> {
    let (input, output) = (broker.topic("restart-in")?, broker.topic("restart-out")?);
    let records = Records { count: keys, keys, in_order: true, value_bytes: 10 };
    fill(broker.address(), &input, PARTITIONS, &records)?;
    let id = format!("{output}-job");
    let workplace = Workplace::with_pipeline(&yaml(broker, (&id, &input, &output), "count", ", key_by: key"))?;
    let run = workplace.start(&MillstreamOptions::default())?;
    eventually("a count of every key", PATIENCE, || Ok((broker.end(&output)? >= keys).then_some(())))
        .with_context(|| run.log_end())?;
    run.kill()?;
    let again = || -> Result<f64> {
        let news = Records { count: NEWS, keys, in_order: false, value_bytes: 10 };
        fill(broker.address(), &input, PARTITIONS, &news)?;
        let before = broker.end(&output)?;
        let started = Instant::now();
        let run = workplace.start(&MillstreamOptions::default())?;
        // A transaction that was open at the kill ends with the start and leaves a marker in each partition.
        let settled = before + 2 * u64::try_from(PARTITIONS)?;
        while broker.end(&output)? <= settled {
            anyhow::ensure!(run.exited()?.is_none() && started.elapsed() < PATIENCE, "{}", run.log_end());
            std::thread::sleep(Duration::from_millis(5));
        }
        let took_s = started.elapsed().as_secs_f64();
        run.kill()?;
        Ok(took_s)
    };
    let kept_s = again()?;
    std::fs::remove_dir_all(workplace.path().join("state"))?;
    let restored_s = again()?;
    broker.remove(&input)?;
    broker.remove(&output)?;
    Ok(Restarts { kept_s, restored_s })
}
