//! From the start of the process to its first commit, with state to come back to.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use millstream_e2e::{MillstreamOptions, Workplace, eventually};

use crate::bare::{Records, fill};
use crate::pipeline::{Broker, PARTITIONS, yaml};
use crate::usage::{Usage, peak_rss_mib};

/// Time for any part.
const PATIENCE: Duration = Duration::from_secs(180);

/// Records fed before each restart, for it to have something to commit.
pub const NEWS: u64 = 1_000;

/// A start after a kill, up to its first new commit.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// How long that took, in seconds.
    pub seconds: f64,
    /// Processor time until then, in seconds.
    pub cpu_s: f64,
    /// Most memory the process had until then, in MiB.
    pub peak_rss_mib: f64,
}

/// What is there when the process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The state directory.
    State,
    /// Nothing: everything comes from the changelog.
    Nothing,
}

/// A keyed count that knows so many keys and has been killed.
pub struct Killed<'a> {
    broker: &'a Broker,
    workplace: Workplace,
    input: String,
    output: String,
    keys: u64,
}

impl<'a> Killed<'a> {
    /// Has it learn the keys, and kills it.
    ///
    /// # Errors
    /// If anything of it fails.
    pub fn new(broker: &'a Broker, keys: u64) -> Result<Self> {
        let (input, output) = (broker.topic("restart-in")?, broker.topic("restart-out")?);
        let records = Records { count: keys, keys, in_order: true, value_bytes: 10 };
        fill(broker.address(), &input, PARTITIONS, &records)?;
        let id = format!("{output}-job");
        let workplace = Workplace::with_pipeline(&yaml(broker, (&id, &input, &output), "count", ", key_by: key"))?;
        let run = workplace.start(&MillstreamOptions::default())?;
        eventually("a count of every key", PATIENCE, || Ok((broker.end(&output)? >= keys).then_some(())))
            .with_context(|| run.log_end())?;
        run.kill()?;
        Ok(Self { broker, workplace, input, output, keys })
    }

    /// Starts it, waits for its first commit, and kills it.
    ///
    /// # Errors
    /// If there is no commit in time.
    pub fn restart(&self, left: Left) -> Result<Restart> {
        let news = Records { count: NEWS, keys: self.keys, in_order: false, value_bytes: 10 };
        fill(self.broker.address(), &self.input, PARTITIONS, &news)?;
        if left == Left::Nothing {
            remove(&self.workplace.path().join("state"))?;
        }
        let before = self.broker.end(&self.output)?;
        let started = Instant::now();
        let run = self.workplace.start(&MillstreamOptions::default())?;
        // A transaction that was open at the kill ends with the start and leaves a marker in each partition.
        let settled = before + 2 * u64::try_from(PARTITIONS)?;
        while self.broker.end(&self.output)? <= settled {
            anyhow::ensure!(run.exited()?.is_none() && started.elapsed() < PATIENCE, "{}", run.log_end());
            std::thread::sleep(Duration::from_millis(5));
        }
        let restart = Restart {
            seconds: started.elapsed().as_secs_f64(),
            cpu_s: Usage::of(run.id())?.cpu.as_secs_f64(),
            peak_rss_mib: peak_rss_mib(run.id())?,
        };
        run.kill()?;
        Ok(restart)
    }

    /// Removes its topics.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn remove(self) -> Result<()> {
        self.broker.remove(&self.input)?;
        self.broker.remove(&self.output)
    }
}

fn remove(directory: &Path) -> Result<()> {
    std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
}
