//! Reads the commits topic on, beside whoever writes it.

use crate::consumer::{Consumer, Event, Message};
use crate::error::KafkaError;
use crate::log::{Newest, commits_key};
use crate::names::commits_topic;
use crate::properties::Properties;
use millstream_engine::ports::{CommitsKey, CommitsReader, LogError, LogErrorKind};
use std::time::{Duration, Instant};

/// How long a request may take, in milliseconds.
const REQUEST_MS: i32 = 5_000;

/// How long reading what is there may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one wait for records takes, in milliseconds.
const WAIT_MS: u64 = 100;

/// Records taken at a time.
const TAKE: usize = 4_096;

/// A reader of committed records that goes on where it stopped. Between two readings it fetches nothing.
pub struct KafkaCommitsReader {
    topic: String,
    consumer: Consumer,
    /// The offset to read next; none before the first reading.
    next: Option<i64>,
    newest: Newest,
}

impl KafkaCommitsReader {
    /// A reader of what will be written from now on. Connects later.
    ///
    /// # Errors
    /// When a property is wrong.
    pub fn new(properties: &Properties, id: &str) -> Result<Self, KafkaError> {
        let topic = commits_topic(id);
        let reader = properties.or(&[("fetch.queue.backoff.ms", "2"), ("fetch.wait.max.ms", "50")]).with(&[
            ("group.id", "millstream-reader"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
        ]);
        let mut reader =
            Self { consumer: Consumer::new(&reader, &topic)?, topic, next: None, newest: Newest::default() };
        // Where it cannot be told yet, everything is read the first time.
        reader.next = reader.ends().ok().map(|(_, end)| end);
        Ok(reader)
    }

    /// First offset and last stable offset.
    fn ends(&self) -> Result<(i64, i64), LogError> {
        self.consumer.client().watermarks(&self.topic, 0, REQUEST_MS).map_err(|text| self.failed(text))
    }

    fn failed(&self, reason: String) -> LogError {
        LogError { kind: LogErrorKind::Unknown, during: format!("looking at topic `{}`", self.topic), reason }
    }

    fn read_to(&mut self, from: i64, end: i64) -> Result<(), LogError> {
        self.consumer.assign([(0, from, -1)]).map_err(|text| self.failed(text))?;
        let began = Instant::now();
        let (mut next, mut trouble) = (from, None);
        let mut foreign = None;
        while next < end && foreign.is_none() {
            if began.elapsed() > PATIENCE {
                let trouble = trouble.map(|text| format!(" ({text})")).unwrap_or_default();
                return Err(self.failed(format!("it was not read to its end within {} s{trouble}", PATIENCE.as_secs())));
            }
            let newest = &mut self.newest;
            self.consumer.take(WAIT_MS, TAKE, |event| match event {
                Event::Record(message) => {
                    if !take(newest, &message) {
                        foreign = Some(message.offset());
                    }
                    next = next.max(message.offset() + 1);
                }
                // Behind the last record are marks of transactions, which are never shown.
                Event::End { next: at, .. } => next = next.max(at),
                Event::Failed { text, .. } => trouble = Some(text),
            });
        }
        if let Some(offset) = foreign {
            return Err(crate::log::foreign(&self.topic, offset));
        }
        self.next = Some(next);
        Ok(())
    }
}

fn take(newest: &mut Newest, message: &Message<'_>) -> bool {
    match (commits_key(message.key()), message.value()) {
        (Some(key), Some(value)) => {
            newest.put(key, message.offset(), value);
            true
        }
        _ => false,
    }
}

impl CommitsReader for KafkaCommitsReader {
    fn read_stable(&mut self) -> Result<Vec<(CommitsKey, Vec<u8>)>, LogError> {
        let (begin, end) = self.ends()?;
        let from = match self.next {
            Some(next) if next <= end => next.max(begin),
            // The log was cut off: what was seen of it may be gone.
            _ => {
                self.newest = Newest::default();
                begin
            }
        };
        if from < end {
            let read = self.read_to(from, end);
            // Nothing is fetched until the next time.
            self.consumer.assign([]).map_err(|text| self.failed(text))?;
            read?;
        } else {
            self.next = Some(from);
        }
        // What the client has to say of its brokers is of no interest by then.
        self.consumer.take(0, TAKE, |_| {});
        Ok(self.newest.entries())
    }
}
