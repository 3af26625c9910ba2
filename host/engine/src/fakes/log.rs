use super::broker::Refusal;
use super::cluster::{PARTITIONS, Topic, World};
use super::{FakeCluster, Life};
use crate::ports::{ChangeSet, CommitsKey, CommitsReader, LogError, LogErrorKind, TransactionLog};
use millstream_model::ids::SinkIndex;
use millstream_model::key_group::murmur2;
use millstream_model::record::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A process's hands on a [`FakeCluster`]: does to a protocol what librdkafka and a network do.
pub struct FakeLog {
    cluster: Arc<FakeCluster>,
    life: Life,
    producer: Option<Producer>,
}

/// A transactional producer with its queue.
#[derive(Debug, Default)]
struct Producer {
    epoch: u32,
    is_open: bool,
    /// Partitions it believes to be in the transaction, one bit each.
    added: u64,
    queue: Vec<Queued>,
    failure: Option<LogError>,
    connections_lost: u64,
}

#[derive(Debug)]
struct Queued {
    partition: usize,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

fn error(kind: LogErrorKind, during: &str, reason: &str) -> LogError {
    LogError { kind, during: during.to_owned(), reason: reason.to_owned() }
}

fn dead() -> LogError {
    error(LogErrorKind::Fatal, "living", "the process is dead")
}

fn refused(during: &str, refusal: Refusal) -> LogError {
    match refusal {
        Refusal::Fenced => error(LogErrorKind::MaybeFenced, during, "a newer producer has the transactional id"),
        Refusal::NotInTransaction => error(LogErrorKind::Unknown, during, "the partition is not in a transaction"),
    }
}

impl FakeLog {
    /// The log as a process with this life has it.
    #[must_use]
    pub fn new(cluster: &Arc<FakeCluster>, life: &Life) -> Self {
        Self { cluster: Arc::clone(cluster), life: life.clone(), producer: None }
    }

    fn live(&self) -> Result<(), LogError> {
        if self.life.step() { Ok(()) } else { Err(dead()) }
    }

    fn producer(&mut self) -> Result<&mut Producer, LogError> {
        let producer = self.producer.as_mut();
        let producer = producer.ok_or_else(|| error(LogErrorKind::Unknown, "writing", "there is no producer"))?;
        match &producer.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(producer),
        }
    }

    fn queue(&mut self, records: impl Iterator<Item = Queued>) -> Result<(), LogError> {
        self.live()?;
        let cluster = Arc::clone(&self.cluster);
        let producer = self.producer()?;
        if !producer.is_open {
            return Err(error(LogErrorKind::Unknown, "producing", "no transaction has begun"));
        }
        producer.queue.extend(records);
        // A part leaves before anybody waits for it.
        let mut world = cluster.request();
        let count = world.chance.below(producer.queue.len() as u64 + 1) as usize;
        let sent = if world.chance.happens(500) { producer.send(&mut world, count) } else { Ok(()) };
        drop(world);
        sent?;
        self.live()
    }
}

impl Producer {
    /// Delivers up to `count` records, in an order that keeps only each partition's own.
    fn send(&mut self, world: &mut World, count: usize) -> Result<(), LogError> {
        for _ in 0..count {
            let Some(queued) = world.chance.pick(&self.queue) else { break };
            let partition = queued.partition;
            let first = self.queue.iter().position(|queued| queued.partition == partition);
            let Some(first) = first else { break };
            let record = self.queue.remove(first);
            if let Err(failure) = self.deliver(world, record) {
                self.failure = Some(failure.clone());
                return Err(failure);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, world: &mut World, record: Queued) -> Result<(), LogError> {
        let fails = world.fails(|faults| faults.delivery);
        let lost = || error(LogErrorKind::MaybeFenced, "delivering records", "timed out");
        if fails && world.chance.happens(500) {
            return Err(lost());
        }
        let bit = 1 << record.partition;
        let now_ms = world.now_ms;
        if self.added & bit == 0 {
            let added = world.broker.add_partition(self.epoch, record.partition, now_ms);
            added.map_err(|refusal| refused("adding a partition", refusal))?;
            self.added |= bit;
        }
        let appended = world.broker.append(self.epoch, record.partition, record.key, record.value);
        appended.map_err(|refusal| refused("delivering records", refusal))?;
        if fails { Err(lost()) } else { Ok(()) }
    }

    /// One attempt at the commit, with everything that can happen to a request.
    fn end(&mut self, world: &mut World) -> Result<(), LogError> {
        let retry = |reason| Err(error(LogErrorKind::Retriable, "committing a transaction", reason));
        if world.fails(|faults| faults.end_lost) {
            self.connections_lost += 1;
            return retry("the request was lost");
        }
        if world.fails(|faults| faults.end_late) {
            world.broker.late_ends.push(self.epoch);
            let is_noticed = !world.fails(|faults| faults.end_late_unnoticed);
            self.connections_lost += u64::from(is_noticed);
            if world.chance.happens(500) {
                return retry("no answer came");
            }
        }
        let is_vague = world.fails(|faults| faults.vague);
        let vague = || Err(error(LogErrorKind::Unknown, "committing a transaction", "something went wrong"));
        if is_vague && world.chance.happens(500) {
            return vague();
        }
        let ended = world.broker.end(self.epoch).map_err(|refusal| refused("committing a transaction", refusal));
        if world.fails(|faults| faults.answer_lost) {
            self.connections_lost += 1;
            return retry("the answer was lost");
        }
        if is_vague { vague() } else { ended }
    }
}

impl TransactionLog for FakeLog {
    fn init(&mut self) -> Result<(), LogError> {
        self.live()?;
        self.producer = None;
        let mut world = self.cluster.request();
        if world.fails(|faults| faults.init) {
            // Carried out or not: the next attempt settles it.
            if world.chance.happens(500) {
                world.broker.init();
            }
            return Err(error(LogErrorKind::Unknown, "taking over the transactional id", "no answer came"));
        }
        let epoch = world.broker.init();
        drop(world);
        self.producer = Some(Producer { epoch, ..Producer::default() });
        self.live()
    }

    fn read_commits(&mut self) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError> {
        self.live()?;
        let mut world = self.cluster.request();
        let fails = world.fails(|faults| faults.read);
        let is_compacted = world.chance.happens(300);
        let read = if fails { None } else { world.read(Topic::Commits, self.cluster.clock()) };
        drop(world);
        let entries =
            read.ok_or_else(|| error(LogErrorKind::Unknown, "reading the commits", "the end is held back"))?;
        let mut known = Vec::new();
        for entry in entries {
            let key = [CommitsKey::Open, CommitsKey::Begin, CommitsKey::Commit];
            let key = key.into_iter().find(|key| Some(key.as_bytes()) == entry.key.as_deref());
            if let (Some(key), Some(value)) = (key, entry.value) {
                if is_compacted {
                    known.retain(|(before, _)| *before != key);
                }
                known.push((key, value));
            }
        }
        self.live()?;
        Ok(known)
    }

    fn begin(&mut self) -> Result<(), LogError> {
        let producer = self.producer()?;
        producer.is_open = true;
        producer.added = 0;
        Ok(())
    }

    fn produce_commits(&mut self, key: CommitsKey, value: &[u8]) -> Result<(), LogError> {
        let partition = Topic::Commits.partitions().start;
        let queued = Queued { partition, key: Some(key.as_bytes().to_vec()), value: Some(value.to_vec()) };
        self.queue(std::iter::once(queued))
    }

    fn produce_outputs(&mut self, sink: SinkIndex, records: &RecordBatch) -> Result<(), LogError> {
        let columns = records.keys.iter().zip(records.values.iter());
        self.queue(columns.map(|(key, value)| queued(Topic::Sink(sink.at()), key, value)))
    }

    fn produce_changes(&mut self, changes: &ChangeSet) -> Result<(), LogError> {
        let columns = changes.keys.iter().zip(changes.values.iter());
        self.queue(columns.map(|(key, value)| queued(Topic::Changelog, key, value)))
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.live()?;
        let cluster = Arc::clone(&self.cluster);
        let life = self.life.clone();
        let producer = self.producer()?;
        while !producer.queue.is_empty() {
            let mut world = cluster.request();
            let count = 1 + world.chance.below(producer.queue.len() as u64) as usize;
            producer.send(&mut world, count)?;
            drop(world);
            if !life.step() {
                return Err(dead());
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), LogError> {
        self.flush()?;
        self.live()?;
        let cluster = Arc::clone(&self.cluster);
        let producer = self.producer()?;
        let ended = producer.end(&mut cluster.request());
        match &ended {
            Ok(()) => producer.is_open = false,
            Err(failed) if failed.kind != LogErrorKind::Retriable => producer.failure = Some(failed.clone()),
            Err(_) => {}
        }
        self.live()?;
        ended
    }

    fn connections_lost(&self) -> u64 {
        self.producer.as_ref().map_or(0, |producer| producer.connections_lost)
    }

    fn read_changes(&mut self, visit: &mut dyn FnMut(&ChangeSet) -> Result<(), LogError>) -> Result<(), LogError> {
        self.live()?;
        let mut world = self.cluster.request();
        let fails = world.fails(|faults| faults.read);
        let is_compacted = world.chance.happens(300);
        let chunk = 1 + world.chance.below(40) as usize;
        let read = if fails { None } else { world.read(Topic::Changelog, self.cluster.clock()) };
        drop(world);
        let entries = read.ok_or_else(|| error(LogErrorKind::Unknown, "reading the changelog", "no answer came"))?;
        let newest: BTreeMap<_, _> = entries.iter().map(|entry| (entry.key.clone(), entry.at)).collect();
        let kept = entries.iter().filter(|entry| !is_compacted || newest.get(&entry.key) == Some(&entry.at));
        let mut set = ChangeSet::default();
        for entry in kept {
            set.keys.push(entry.key.as_deref());
            set.values.push(entry.value.as_deref());
            if set.len() == chunk {
                self.live()?;
                visit(&std::mem::take(&mut set))?;
            }
        }
        self.live()?;
        if set.is_empty() { Ok(()) } else { visit(&set) }
    }
}

/// A process's eyes on the commits of a [`FakeCluster`].
pub struct FakeCommitsReader {
    cluster: Arc<FakeCluster>,
    life: Life,
}

impl FakeCommitsReader {
    /// The reader of a process with this life.
    #[must_use]
    pub fn new(cluster: &Arc<FakeCluster>, life: &Life) -> Self {
        Self { cluster: Arc::clone(cluster), life: life.clone() }
    }
}

impl CommitsReader for FakeCommitsReader {
    fn read_stable(&mut self) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError> {
        if !self.life.step() {
            return Err(dead());
        }
        let mut world = self.cluster.request();
        if world.fails(|faults| faults.read) {
            return Err(error(LogErrorKind::Unknown, "reading the commits", "no answer came"));
        }
        let entries = world.committed(Topic::Commits);
        drop(world);
        let key = [CommitsKey::Open, CommitsKey::Begin, CommitsKey::Commit];
        let known = entries.into_iter().filter_map(|entry| {
            let key = key.into_iter().find(|key| Some(key.as_bytes()) == entry.key.as_deref())?;
            Some((key, entry.value?))
        });
        Ok(known.collect())
    }
}

fn queued(topic: Topic, key: Option<&[u8]>, value: Option<&[u8]>) -> Queued {
    let partition = topic.partitions().start + murmur2(key.unwrap_or_default()) as usize % PARTITIONS;
    Queued { partition, key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec) }
}
