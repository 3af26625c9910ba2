//! Reads a whole topic, committed records only, up to where it ends now.

use crate::client::{Client, ClientKind};
use crate::consumer::{Consumer, Event, Message};
use crate::metadata;
use crate::properties::Properties;
use millstream_engine::ports::{LogError, LogErrorKind};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a request may take, in milliseconds.
const REQUEST_MS: u64 = 30_000;

/// How long nothing may move before reading gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one wait for records takes, in milliseconds.
const WAIT_MS: u64 = 100;

/// Records taken at a time.
const TAKE: usize = 4_096;

/// How far a topic is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the high watermark at the start of the call. An open transaction is waited for.
    End,
    /// To the last stable offset at the start of the call: nothing is waited for, and what an open transaction will bring is not seen.
    Stable,
}

/// Shows every committed record of a topic up to where `until` says; `after` is called after every batch of them.
///
/// # Errors
/// When the end is not reached, or `after` fails.
pub(crate) fn read_topic(
    properties: &Properties,
    topic: &str,
    until: Until,
    show: impl FnMut(&Message<'_>),
    after: impl FnMut() -> Result<(), LogError>,
) -> Result<(), LogError> {
    read_topic_from(properties, topic, (&[], until), show, after).map(drop)
}

/// The same from these offsets on, one for each partition; those that are not named are read from their beginning. Returns where each partition begins.
///
/// # Errors
/// As for [`read_topic`].
pub(crate) fn read_topic_from(
    properties: &Properties,
    topic: &str,
    (starts, until): (&[i64], Until),
    mut show: impl FnMut(&Message<'_>),
    mut after: impl FnMut() -> Result<(), LogError>,
) -> Result<Vec<i64>, LogError> {
    let failed = |reason: String| failure(topic, reason);
    let watcher = watcher(properties, until)?;
    let partitions = metadata::partition_count(&watcher, topic, REQUEST_MS).map_err(failed)?;
    let (mut open, mut begins) = (BTreeMap::new(), Vec::new());
    let start = |partition: i32| starts.get(partition as usize).copied().unwrap_or(0);
    for partition in 0..partitions {
        let (low, high) = watcher.watermarks(topic, partition, REQUEST_MS as i32).map_err(failed)?;
        begins.push(low);
        if low.max(start(partition)) < high {
            open.insert(partition, high);
        }
    }
    if open.is_empty() {
        return Ok(begins);
    }
    let reader = properties
        .or(&[("fetch.queue.backoff.ms", "2"), ("fetch.wait.max.ms", "50")])
        .with(&BASE)
        .with(&[("isolation.level", "read_committed"), ("enable.partition.eof", "true")]);
    let mut consumer = Consumer::new(&reader, topic)?;
    let begin = |partition: i32| begins.get(partition as usize).copied().unwrap_or(0).max(start(partition));
    consumer.assign(open.keys().map(|partition| (*partition, begin(*partition), -1))).map_err(failed)?;
    let mut moved = Instant::now();
    let mut stable = BTreeMap::new();
    while !open.is_empty() {
        let mut trouble = None;
        consumer.take(WAIT_MS, TAKE, |event| match event {
            Event::Record(message) => {
                moved = Instant::now();
                let is_open = open.get(&message.partition()).is_some_and(|high| message.offset() < *high);
                if is_open {
                    show(&message);
                }
                if open.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
                    open.remove(&message.partition());
                }
            }
            Event::End { partition, next } => {
                if open.get(&partition).is_some_and(|high| next >= *high) {
                    open.remove(&partition);
                    moved = Instant::now();
                } else if stable.insert(partition, next) != Some(next) {
                    moved = Instant::now();
                }
            }
            Event::Failed { text, .. } => trouble = Some(text),
        });
        after()?;
        if moved.elapsed() > PATIENCE {
            let (partition, high) = open.first_key_value().map_or((0, 0), |(partition, high)| (*partition, *high));
            let stable = stable.get(&partition).copied().unwrap_or(-1);
            return Err(failed(held_open((topic, partition), stable, high, trouble.as_deref())));
        }
    }
    Ok(begins)
}

/// What every reader is, whatever it reads.
const BASE: [(&str, &str); 4] = [
    ("group.id", "millstream-reader"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
];

fn failure(topic: &str, reason: String) -> LogError {
    LogError { kind: LogErrorKind::Unknown, during: format!("reading topic `{topic}`"), reason }
}

/// A client that tells where a topic ends: a read_committed one is told the last stable offset where an uncommitted one is told the high watermark.
fn watcher(properties: &Properties, until: Until) -> Result<Client, LogError> {
    let isolation = match until {
        Until::End => "read_uncommitted",
        Until::Stable => "read_committed",
    };
    let properties = properties.with(&BASE).with(&[("isolation.level", isolation)]);
    Ok(Client::new(&properties, ClientKind::Consumer)?)
}

fn held_open((topic, partition): (&str, i32), stable: i64, high: i64, trouble: Option<&str>) -> String {
    format!(
        "partition {partition} stands at offset {stable} and ends at {high}{}: a transaction holds it open; \
         `kafka-transactions.sh describe-producers --topic {topic} --partition {partition}` names its producer",
        trouble.map(|text| format!(" ({text})")).unwrap_or_default()
    )
}
