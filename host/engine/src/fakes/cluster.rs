use super::broker::{Broker, Entry, Fate};
use super::{Chance, FakeClock};
use crate::ports::{Clock, CommitsKey};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Partitions of the changelog and of every sink's topic.
pub(super) const PARTITIONS: usize = 2;

/// A topic of the fake log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The commits.
    Commits,
    /// Changes of state.
    Changelog,
    /// The topic of the n-th sink of the plan.
    Sink(usize),
}

impl Topic {
    /// Positions of its partitions among all.
    pub(super) fn partitions(self) -> std::ops::Range<usize> {
        let first = match self {
            Self::Commits => return 0..1,
            Self::Changelog => 1,
            Self::Sink(sink) => 1 + PARTITIONS * (sink + 1),
        };
        first..first + PARTITIONS
    }
}

/// How often what goes wrong, in a thousand requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogFaults {
    /// A delivery fails, its record appended or not.
    pub delivery: u32,
    /// A request to commit is lost on the way there.
    pub end_lost: u32,
    /// A request to commit is carried out and its answer lost.
    pub answer_lost: u32,
    /// A request to commit stays under way; the client has it or not.
    pub end_late: u32,
    /// Of those: so many are not noticed as a lost connection.
    pub end_late_unnoticed: u32,
    /// Taking the transactional id over fails.
    pub init: u32,
    /// Reading fails, or a client reads while somebody else holds the end back.
    pub read: u32,
    /// The answer to a request to commit is an error that says nothing, whether it was carried out or not.
    pub vague: u32,
}

/// A cluster with the topics of one pipeline: what is there whichever processes are.
pub struct FakeCluster {
    broker: Mutex<World>,
    clock: FakeClock,
    timeout_ms: u64,
}

pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) chance: Chance,
    pub(super) faults: LogFaults,
    pub(super) now_ms: u64,
    pub(super) timeout_ms: u64,
}

impl World {
    /// Whether a thing goes wrong this time.
    pub(super) fn fails(&mut self, per_mille: impl FnOnce(&LogFaults) -> u32) -> bool {
        self.chance.happens(per_mille(&self.faults))
    }

    /// Reads a topic as a reader of committed records, to its end; `None` if somebody holds that back.
    pub(super) fn read(&mut self, topic: Topic, clock: &FakeClock) -> Option<Vec<Entry>> {
        if topic.partitions().any(|partition| self.broker.is_held_back(partition)) {
            if self.fails(|faults| faults.read) {
                return None;
            }
            // A reader waits until the transaction runs out of time.
            let until_ms = self.broker.expires_ms(self.timeout_ms).unwrap_or(self.now_ms);
            clock.advance(until_ms.saturating_sub(self.now_ms));
            self.broker.init();
        }
        Some(self.committed(topic))
    }

    pub(super) fn committed(&self, topic: Topic) -> Vec<Entry> {
        let partitions = self.broker.partitions.get(topic.partitions()).unwrap_or_default();
        let entries = partitions.iter().flatten();
        entries.filter(|entry| self.broker.fate(entry.transaction) == Fate::Committed).cloned().collect()
    }
}

impl FakeCluster {
    /// An empty cluster, with topics for so many sinks, whose transactions run out of time after `timeout_ms`.
    #[must_use]
    pub fn new(seed: u64, clock: &FakeClock, sinks: usize, timeout_ms: u64) -> Self {
        let mut broker = Broker::default();
        broker.partitions.resize_with(Topic::Sink(sinks).partitions().start, Vec::new);
        let world = World { broker, chance: Chance::new(seed), faults: LogFaults::default(), now_ms: 0, timeout_ms };
        Self { broker: Mutex::new(world), clock: clock.clone(), timeout_ms }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: LogFaults) {
        self.lock().faults = faults;
    }

    /// How long a transaction may take, in milliseconds.
    #[must_use]
    pub fn timeout_ms(&self) -> u64 {
        self.timeout_ms
    }

    pub(super) fn clock(&self) -> &FakeClock {
        &self.clock
    }

    /// The cluster as of now: what ran out of time is aborted, what was late may have come.
    pub(super) fn request(&self) -> MutexGuard<'_, World> {
        let mut world = self.lock();
        world.now_ms = self.clock.monotonic_ms();
        let (now_ms, timeout_ms) = (world.now_ms, world.timeout_ms);
        world.broker.expire(now_ms, timeout_ms);
        if !world.broker.late_ends.is_empty() && world.chance.happens(150) {
            world.broker.deliver_late_end();
        }
        world
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every record of a topic that a reader of committed records may see, by partition.
    #[must_use]
    pub fn committed(&self, topic: Topic) -> Vec<Entry> {
        self.lock().committed(topic)
    }

    /// Every record that was ever appended to a topic, whatever became of its transaction.
    #[must_use]
    pub fn appended(&self, topic: Topic) -> Vec<Entry> {
        let world = self.lock();
        let partitions = world.broker.partitions.get(topic.partitions()).unwrap_or_default();
        partitions.iter().flatten().cloned().collect()
    }

    /// The value of the newest committed record of the commits topic with this key.
    #[must_use]
    pub fn newest(&self, key: CommitsKey) -> Option<Vec<u8>> {
        let committed = self.lock().committed(Topic::Commits);
        committed.into_iter().rfind(|entry| entry.key.as_deref() == Some(key.as_bytes()))?.value
    }
}
