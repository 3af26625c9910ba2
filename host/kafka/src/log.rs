use crate::names::{CHANGELOG_PARTITIONS, changelog_topic, commits_topic};
use crate::outbox::{Outbox, can_stamp};
use crate::producer::{Outgoing, Producer};
use crate::properties::Properties;
use crate::reader::{Until, read_topic};
use crate::sizes::TopicSizes;
use crate::{metadata, names};
use millstream_engine::ports::{ChangeSet, CommitsKey, LogError, LogErrorKind, TransactionLog};
use millstream_model::cell;
use millstream_model::ids::SinkIndex;
use millstream_model::key_group::murmur2;
use millstream_model::record::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one attempt at taking over the transactional id may take, in milliseconds.
const INIT_MS: u64 = 20_000;

/// How long attempts are repeated.
const INIT_PATIENCE: Duration = Duration::from_secs(120);

/// How long a request for metadata may take, in milliseconds.
const REQUEST_MS: u64 = 30_000;

/// How long closing a producer is waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How much of a flush lies before its crash point, in milliseconds.
const FIRST_FLUSH_MS: u64 = 1;

/// What a pipeline's log is made of.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The pipeline's id: names the internal topics and the transactional id.
    pub id: String,
    /// Number of the changelog topic.
    pub changelog: u32,
    /// Topic of each sink of the plan; `None` for sinks elsewhere.
    pub sinks: Vec<Option<String>>,
    /// How long a transaction may stay open, in milliseconds.
    pub transaction_timeout_ms: u64,
}

/// The transactional log on Kafka.
pub struct KafkaLog {
    settings: LogSettings,
    /// As given, for readers.
    properties: Properties,
    /// For the producer.
    producing: Properties,
    producer: Option<Producer>,
    /// Partitions of the topics, in the order of the producer's.
    partitions: Vec<i32>,
    /// Position of each sink's topic among the producer's.
    places: Vec<Option<usize>>,
    /// Where the next batch of records without keys goes.
    turn: u32,
    /// Kept for its memory.
    outbox: Outbox,
    /// What topics take in one batch.
    sizes: Option<Arc<TopicSizes>>,
}

/// Positions among the producer's topics.
const COMMITS: usize = 0;
const CHANGELOG: usize = 1;
const SINKS: usize = 2;

impl KafkaLog {
    /// Prepares the log; `init` connects.
    #[must_use]
    pub fn new(properties: &Properties, settings: LogSettings) -> Self {
        let timeout_ms = settings.transaction_timeout_ms;
        let deliver_ms = (timeout_ms * 2 / 3).min(10_000).to_string();
        let producing = properties
            .or(&[
                ("linger.ms", "20"),
                ("batch.num.messages", "100000"),
                ("batch.size", "1000000"),
                ("queue.buffering.max.messages", "1000000"),
                ("queue.buffering.max.kbytes", "262144"),
                ("socket.timeout.ms", &deliver_ms),
            ])
            .with(&[
                ("transactional.id", &settings.id),
                ("enable.idempotence", "true"),
                ("transaction.timeout.ms", &timeout_ms.to_string()),
                ("message.timeout.ms", &deliver_ms),
                ("delivery.report.only.error", "true"),
                ("allow.auto.create.topics", "false"),
            ]);
        let mut next = SINKS;
        let place = |topic: &Option<String>| {
            topic.as_ref().map(|_| {
                next += 1;
                next - 1
            })
        };
        let places = settings.sinks.iter().map(place).collect();
        Self {
            properties: properties.clone(),
            producing,
            producer: None,
            partitions: Vec::new(),
            places,
            turn: 0,
            outbox: Outbox::default(),
            sizes: None,
            settings,
        }
    }

    /// Lets no batch become larger than every topic takes, as of the making of each producer.
    #[must_use]
    pub fn with_sizes(self, sizes: Arc<TopicSizes>) -> Self {
        Self { sizes: Some(sizes), ..self }
    }

    /// librdkafka fills its batches to one size for all topics, and brokers refuse a batch as a whole (docs/decisions/0023).
    fn producing(&self) -> Properties {
        let Some(bytes) = self.sizes.as_ref().and_then(|sizes| sizes.batch_bytes_max()) else {
            return self.producing.clone();
        };
        let given = self.producing.value("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(usize::MAX);
        self.producing.with(&[("batch.size", &given.min(bytes).to_string())])
    }

    fn producer(&self) -> Result<&Producer, LogError> {
        self.producer.as_ref().ok_or_else(|| LogError {
            kind: LogErrorKind::Unknown,
            during: "writing".to_owned(),
            reason: "there is no producer".to_owned(),
        })
    }

    fn topics(&self) -> Vec<String> {
        let own = [commits_topic(&self.settings.id), changelog_topic(&self.settings.id, self.settings.changelog)];
        own.into_iter().chain(self.settings.sinks.iter().flatten().cloned()).collect()
    }

    fn try_init(&mut self) -> Result<(), LogError> {
        let topics = self.topics();
        let producer = Producer::new(&self.producing(), &topics)?;
        let partitions = producer.init(INIT_MS).and_then(|()| {
            let count = |topic: &String| {
                metadata::partition_count(producer.client(), topic, REQUEST_MS).map_err(|reason| LogError {
                    kind: LogErrorKind::Unknown,
                    during: format!("looking up topic `{topic}`"),
                    reason,
                })
            };
            topics.iter().map(count).collect::<Result<Vec<i32>, _>>()
        });
        match partitions {
            Ok(partitions) => {
                self.partitions = partitions;
                self.producer = Some(producer);
                Ok(())
            }
            Err(error) => {
                abandon(producer);
                Err(error)
            }
        }
    }
}

/// The partition of a key: that of Java's clients (murmur2 without its sign bit, modulo).
#[inline]
fn partition_of(key: &[u8], partitions: u32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) % partitions) as i32
}

/// Closes a producer. One that takes long is left behind: nothing that it still sends is acted on once its successor is there.
fn abandon(producer: Producer) {
    let (closed, wait) = std::sync::mpsc::channel::<()>();
    let closing = std::thread::Builder::new().name("closing-producer".to_owned());
    let spawned = closing.spawn(move || {
        drop(producer);
        drop(closed);
    });
    match spawned {
        Err(error) => tracing::warn!(%error, "a producer could not be closed"),
        Ok(_) => {
            if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = wait.recv_timeout(CLOSE_PATIENCE) {
                tracing::warn!("a producer does not close; it is left behind");
            }
        }
    }
}

impl TransactionLog for KafkaLog {
    fn init(&mut self) -> Result<(), LogError> {
        if let Some(producer) = self.producer.take() {
            abandon(producer);
        }
        let started = Instant::now();
        loop {
            let Err(error) = self.try_init() else { return Ok(()) };
            if error.kind == LogErrorKind::Fatal || started.elapsed() > INIT_PATIENCE {
                return Err(error);
            }
            tracing::warn!(%error, "the transactional id could not be taken over yet");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn read_commits(&mut self) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError> {
        let mut newest = Newest::default();
        let take = |key, offset, value: &[u8]| newest.put(key, offset, value);
        read_commits_until(&self.properties, &self.settings.id, Until::End, take)?;
        Ok(newest.entries())
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.producer()?.begin()
    }

    fn produce_commits(&mut self, key: CommitsKey, value: &[u8]) -> Result<(), LogError> {
        let record =
            Outgoing { partition: 0, key: Some(key.as_bytes()), value: Some(value), timestamp_ms: None, headers: None };
        self.producer()?.produce(COMMITS, &record)
    }

    fn produce_outputs(&mut self, sink: SinkIndex, records: &RecordBatch) -> Result<(), LogError> {
        let place = self.places.get(sink.at()).copied().flatten().unwrap_or(usize::MAX);
        let partitions = self.partitions.get(place).copied().unwrap_or(1).max(1) as u32;
        self.turn = self.turn.wrapping_add(1);
        let unkeyed = (self.turn % partitions) as i32;
        let place_of = |key: Option<&[u8]>| key.map_or(unkeyed, |key| partition_of(key, partitions));
        // What a source found without a timestamp has a negative one.
        let rows = records.keys.iter().zip(records.values.iter()).zip(&records.timestamps_ms);
        let rows =
            rows.map(|((key, value), &time_ms)| (place_of(key), key, value, Some(time_ms).filter(|ms| *ms >= 0)));
        let mut outbox = std::mem::take(&mut self.outbox);
        let producer = self.producer()?;
        let has_headers = !records.headers.is_empty();
        if !has_headers && can_stamp() {
            outbox.clear(partitions as usize);
            rows.for_each(|(partition, key, value, timestamp_ms)| outbox.push(partition, key, value, timestamp_ms));
            producer.produce_all(place, &mut outbox)?;
        } else {
            for (row, (partition, key, value, timestamp_ms)) in (0..).zip(rows) {
                let headers = has_headers.then_some((&records.headers, row));
                producer.produce(place, &Outgoing { partition, key, value, timestamp_ms, headers })?;
            }
        }
        producer.serve(0);
        producer.check_deliveries()?;
        self.outbox = outbox;
        Ok(())
    }

    fn produce_changes(&mut self, changes: &ChangeSet) -> Result<(), LogError> {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.clear(CHANGELOG_PARTITIONS as usize);
        for (key, value) in changes.keys.iter().zip(changes.values.iter()) {
            let key = key.unwrap_or_default();
            outbox.push(names::changelog_partition(key), Some(key), value, None);
        }
        let producer = self.producer()?;
        producer.produce_all(CHANGELOG, &mut outbox)?;
        producer.serve(0);
        producer.check_deliveries()?;
        self.outbox = outbox;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let producer = self.producer()?;
        // A crash here leaves some records with the brokers and some not.
        producer.flush_for(FIRST_FLUSH_MS)?;
        fail::fail_point!("mid_flush");
        producer.flush()
    }

    fn end(&mut self) -> Result<(), LogError> {
        let wait_ms = self.settings.transaction_timeout_ms;
        let ended = self.producer()?.end(wait_ms);
        // A crash here leaves a commit that nobody was told of.
        fail::fail_point!("end_txn_unknown");
        ended
    }

    fn connections_lost(&self) -> u64 {
        self.producer.as_ref().map_or(0, Producer::connections_lost)
    }

    fn read_changes(&mut self, visit: &mut dyn FnMut(&ChangeSet) -> Result<(), LogError>) -> Result<(), LogError> {
        let topic = changelog_topic(&self.settings.id, self.settings.changelog);
        read_changelog(&self.properties, &topic, visit)
    }
}

/// Shows the committed cells of a changelog topic in batches, later ones of a key after earlier ones.
///
/// # Errors
/// When the end is not reached, or `visit` fails.
pub fn read_changelog(
    properties: &Properties,
    topic: &str,
    visit: &mut dyn FnMut(&ChangeSet) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let set = std::cell::RefCell::new(ChangeSet::default());
    let show = |message: &crate::consumer::Message<'_>| {
        if let Some(key) = message.key().filter(|key| cell::read_key(key).is_some()) {
            let mut set = set.borrow_mut();
            set.keys.push(Some(key));
            set.values.push(message.value());
        }
    };
    let after = || {
        let taken = set.take();
        if taken.is_empty() { Ok(()) } else { visit(&ChangeSet::newest(&taken.keys, &taken.values)) }
    };
    read_topic(properties, topic, Until::End, show, after)
}

/// The committed records of a pipeline's commits topic, in order of their offsets. Fences nobody.
///
/// # Errors
/// When the end is not reached, or a record has a key that is not Millstream's.
pub fn read_commits(properties: &Properties, id: &str) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError> {
    let mut entries = Vec::new();
    read_commits_until(properties, id, Until::End, |key, _, value| entries.push((key, value.to_vec())))?;
    Ok(entries)
}

/// The newest of each key up to the first transaction that is still open: before a start, whose taking over will end it.
///
/// # Errors
/// As for [`read_commits`].
pub fn read_stable_commits(properties: &Properties, id: &str) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError> {
    let mut newest = Newest::default();
    read_commits_until(properties, id, Until::Stable, |key, offset, value| newest.put(key, offset, value))?;
    Ok(newest.entries())
}

/// The newest record of each key in a commits topic: a week of commits is a lot, and all that compaction promises to leave is this.
#[derive(Default)]
pub(crate) struct Newest {
    /// With their offsets.
    records: BTreeMap<CommitsKey, (i64, Vec<u8>)>,
}

impl Newest {
    pub(crate) fn put(&mut self, key: CommitsKey, offset: i64, value: &[u8]) {
        let (at, kept) = self.records.entry(key).or_default();
        *at = offset;
        kept.clear();
        kept.extend_from_slice(value);
    }

    /// In order of their offsets.
    pub(crate) fn entries(&self) -> Vec<(CommitsKey, Vec<u8>)> {
        let mut records: Vec<_> = self.records.iter().collect();
        records.sort_by_key(|(_, (offset, _))| *offset);
        records.into_iter().map(|(key, (_, value))| (*key, value.clone())).collect()
    }
}

/// What a record of a commits topic is about; none if it was not written by Millstream.
pub(crate) fn commits_key(key: Option<&[u8]>) -> Option<CommitsKey> {
    let key = key.unwrap_or_default();
    [CommitsKey::Open, CommitsKey::Begin, CommitsKey::Commit].into_iter().find(|known| known.as_bytes() == key)
}

/// The error of a record that is not Millstream's.
pub(crate) fn foreign(topic: &str, offset: i64) -> LogError {
    LogError {
        kind: LogErrorKind::Fatal,
        during: format!("reading topic `{topic}`"),
        reason: format!("the record at offset {offset} was not written by Millstream; the topic must be its alone"),
    }
}

fn read_commits_until(
    properties: &Properties,
    id: &str,
    until: Until,
    mut take: impl FnMut(CommitsKey, i64, &[u8]),
) -> Result<(), LogError> {
    let topic = commits_topic(id);
    let mut strange = None;
    let show = |message: &crate::consumer::Message<'_>| match (commits_key(message.key()), message.value()) {
        (Some(key), Some(value)) => take(key, message.offset(), value),
        _ => strange = Some(message.offset()),
    };
    read_topic(properties, &topic, until, show, || Ok(()))?;
    strange.map_or(Ok(()), |offset| Err(foreign(&topic, offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_key_come_in_the_order_of_their_offsets() {
        let mut newest = Newest::default();
        for (key, offset, value) in [
            (CommitsKey::Open, 0, b"a"),
            (CommitsKey::Begin, 2, b"b"),
            (CommitsKey::Commit, 4, b"c"),
            (CommitsKey::Begin, 6, b"d"),
            (CommitsKey::Open, 9, b"e"),
        ] {
            newest.put(key, offset, value);
        }
        let expected = [(CommitsKey::Commit, b"c"), (CommitsKey::Begin, b"d"), (CommitsKey::Open, b"e")];
        assert_eq!(newest.entries(), expected.map(|(key, value)| (key, value.to_vec())));
    }
}
