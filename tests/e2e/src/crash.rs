//! Deaths: at a named point of the commit protocol, or at random.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::takeovers::TAKEN;
use crate::{Millstream, eventually};

/// The names that the host knows, as the page on the commit protocol lists them.
const NAMES: [&str; 12] = [
    "after_poll",
    "mid_guest_call",
    "after_begin",
    "mid_flush",
    "before_commit_record",
    "before_end_txn",
    "end_txn_unknown",
    "before_apply",
    "mid_apply",
    "after_apply",
    "in_resolve",
    "mid_restore",
];

/// A point of the protocol at which a run gets a signal: SIGKILL, or SIGSTOP, which leaves it there for the test to look at, to kill or to let go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashPoint {
    name: &'static str,
    pass: u32,
    freezes: bool,
}

impl CrashPoint {
    /// SIGKILL the first time that `name` is reached.
    ///
    /// # Errors
    /// If the host has no such point: a test for it would pass without a crash.
    pub fn new(name: &str) -> Result<Self> {
        let name = NAMES.iter().find(|&&known| known == name).with_context(|| format!("no crash point {name:?}"))?;
        Ok(Self { name, pass: 1, freezes: false })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The n-th time instead (1 is the first).
    #[must_use]
    pub fn at_pass(self, pass: u32) -> Self {
        Self { pass, ..self }
    }

    /// SIGSTOP instead of SIGKILL.
    #[must_use]
    pub fn freezing(self) -> Self {
        Self { freezes: true, ..self }
    }

    /// Whether it is SIGSTOP.
    #[must_use]
    pub fn freezes(&self) -> bool {
        self.freezes
    }
}

/// As the binary reads it from `MILLSTREAM_SIGNAL_AT`.
impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.name, self.pass, if self.freezes { "stop" } else { "kill" })
    }
}

/// A bug that the binary is run with, to show that a test notices it. `planted.rs` of the engine says what each leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// After a lost connection the producer is kept.
    KeepProducer,
    /// An epoch in flight is taken to be rolled back.
    AssumeRolledBack,
    /// An epoch in flight is taken to be committed.
    AssumeCommitted,
    /// Whoever opened later is not seen.
    IgnoreYounger,
    /// A store is a base for the changelog however old it is.
    AnyBase,
    /// No cut falls within a batch that failed.
    WholeBatches,
}

/// As the `fail` crate reads it from `FAILPOINTS`.
impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::KeepProducer => "keep_producer",
            Self::AssumeRolledBack => "assume_rolled_back",
            Self::AssumeCommitted => "assume_committed",
            Self::IgnoreYounger => "ignore_younger",
            Self::AnyBase => "any_base",
            Self::WholeBatches => "whole_batches",
        };
        write!(f, "{name}=return")
    }
}

/// The seed of a random test: `MILLSTREAM_SEED`, or a new one. It is printed, and a failing test shows what it printed.
///
/// # Errors
/// If `MILLSTREAM_SEED` is no number.
pub fn seed(test: &str) -> Result<u64> {
    use std::hash::BuildHasher as _;
    let seed = match std::env::var("MILLSTREAM_SEED") {
        Ok(text) => text.parse().with_context(|| format!("MILLSTREAM_SEED is {text:?}, not a number"))?,
        Err(_) => std::collections::hash_map::RandomState::new().hash_one(test),
    };
    eprintln!("{test}: repeat with MILLSTREAM_SEED={seed}");
    Ok(seed)
}

/// Runs something to its end through many deaths.
#[derive(Debug, Clone)]
pub struct RandomKills {
    /// Where the times and kinds of death come from; see [`seed`].
    pub seed: u64,
    /// How often it dies.
    pub deaths: u32,
    /// How long a life lasts, at random between the two.
    pub life: (Duration, Duration),
    /// How long the last life, which nothing disturbs, may take to finish.
    pub finish: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// SIGKILL.
    Killed,
    /// SIGSTOP, a while, then SIGKILL: time passes that the process knows nothing of.
    KilledFrozen,
    /// SIGTERM, and SIGKILL a moment later: dies while it drains.
    KilledDraining,
    /// SIGTERM, and as much time as it takes.
    Drained,
}

impl RandomKills {
    /// `start` begins a life, `done` tells whether everything has arrived; the last life is asked to end in good order.
    /// A life that ends by itself before its time is an error, unless everything has arrived.
    ///
    /// # Errors
    /// If a life cannot start or ends by itself, or the last one does not finish in time.
    pub fn run(
        &self,
        mut start: impl FnMut() -> Result<Millstream>,
        mut done: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        for number in 1..=self.deaths {
            let life = between(&mut random, self.life);
            let death = pick(&mut random);
            eprintln!("life {number}: {death:?} after {life:?}");
            let run = start()?;
            // Some lives begin when the process does and end before it has the pipeline; what is worth more comes after that.
            if random.next_u32() % 4 > 0 {
                wait_for_takeover(&run)?;
            }
            std::thread::sleep(life);
            if let Some(exit) = run.exited()? {
                if exit.code == Some(0) && done()? {
                    return Ok(());
                }
                bail!("life {number} ended by itself: {:?}, {:?}\n{}", exit.code, exit.signal, run.log_end());
            }
            die(&run, death, &mut random).with_context(|| format!("life {number}"))?;
        }
        let run = start()?;
        let finished = eventually("the last life to finish", self.finish, || {
            let exit = run.exited()?;
            if done()? {
                return Ok(Some(()));
            }
            match exit {
                Some(exit) => bail!("it ended by itself: {:?}, {:?}", exit.code, exit.signal),
                None => Ok(None),
            }
        });
        finished.with_context(|| format!("its log ends:\n{}", run.log_end()))?;
        run.terminate()?;
        run.wait(self.finish).map(drop)
    }
}

/// Waits until the process has the pipeline, or has ended.
fn wait_for_takeover(run: &Millstream) -> Result<()> {
    eventually("a takeover", Duration::from_secs(60), || {
        Ok((run.exited()?.is_some() || run.log().contains(TAKEN)).then_some(()))
    })
}

fn die(run: &Millstream, death: Death, random: &mut ChaCha8Rng) -> Result<()> {
    let moment = (Duration::ZERO, Duration::from_millis(300));
    match death {
        Death::Killed => {}
        Death::KilledFrozen => {
            run.pause()?;
            std::thread::sleep(between(random, moment));
        }
        Death::KilledDraining => {
            run.terminate()?;
            std::thread::sleep(between(random, moment));
        }
        Death::Drained => {
            run.terminate()?;
            run.wait(Duration::from_secs(60))?;
        }
    }
    run.kill().map(drop)
}

fn between(random: &mut ChaCha8Rng, (low, high): (Duration, Duration)) -> Duration {
    let span = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX).max(1);
    low + Duration::from_micros(random.next_u64() % span)
}

/// Most deaths are plain ones.
fn pick(random: &mut ChaCha8Rng) -> Death {
    match random.next_u32() % 10 {
        0..=5 => Death::Killed,
        6 | 7 => Death::KilledFrozen,
        8 => Death::KilledDraining,
        _ => Death::Drained,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::path::Path;

    #[test]
    fn a_crash_point_has_a_pass_and_a_signal() {
        let first = CrashPoint::new("before_end_txn").unwrap();
        assert_eq!(first.to_string(), "before_end_txn:1:kill");
        assert_eq!(first.at_pass(3).freezing().to_string(), "before_end_txn:3:stop");
    }

    #[test]
    fn a_crash_point_that_does_not_exist_is_refused() {
        assert!(CrashPoint::new("before_end_transaction").is_err());
    }

    /// A name that only the harness knows would make a test that tests nothing.
    #[test]
    fn the_host_has_every_point_and_every_bug() {
        let mut host = String::new();
        read_sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../host")), &mut host);
        for name in NAMES {
            assert!(host.contains(&format!("fail_point!(\"{name}\")")), "{name}");
        }
        use Bug::{AnyBase, AssumeCommitted, AssumeRolledBack, IgnoreYounger, KeepProducer, WholeBatches};
        for bug in [KeepProducer, AssumeRolledBack, AssumeCommitted, IgnoreYounger, AnyBase, WholeBatches] {
            let text = bug.to_string();
            let name = text.trim_end_matches("=return");
            assert!(host.contains(&format!("\"{name}\"")), "{name}");
            assert!(host.contains(&format!("Bug::{bug:?}.is_planted()")), "{bug:?}");
        }
    }

    fn read_sources(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read_sources(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_deaths() {
        let deaths = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            (0..20).map(|_| pick(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(deaths(7), deaths(7));
        assert_ne!(deaths(7), deaths(8));
    }
}
