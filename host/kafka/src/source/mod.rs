//! A topic's partitions as a source of the engine.

mod opening;
mod partitions;
mod settings;
mod trouble;

use crate::consumer::{Consumer, Event, Message};
use crate::error::KafkaError;
use crate::properties::Properties;
use millstream_engine::ports::{PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::{Gap, PartitionPosition};
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use partitions::Partitions;
pub use settings::SourceSettings;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trouble::Trouble;

/// How long a poll waits for records, in milliseconds.
const POLL_WAIT_MS: u64 = 5;

/// How long a partition's leader may take to tell the end, in milliseconds: records of others wait meanwhile.
const END_REQUEST_MS: i32 = 500;

/// How often the ends of partitions are looked up while records come.
const ENDS_EVERY: Duration = Duration::from_millis(100);

/// A topic's partitions as a source of the engine, on librdkafka's batch interface.
pub struct KafkaSource {
    settings: SourceSettings,
    consumer: Consumer,
    is_open: bool,
    partitions: Partitions,
    /// Where each partition was begun in this process: where it goes back to if nothing of it was committed.
    begun: BTreeMap<i32, i64>,
    gaps: Vec<Gap>,
    /// When new partitions were last looked for.
    looked: Instant,
    /// Since when brokers have not known the topic.
    missing: Option<Instant>,
    /// When the ends of partitions were last looked up.
    ended: Instant,
}

impl KafkaSource {
    /// Makes the consumer; `seek` begins to read.
    ///
    /// # Errors
    /// When a property is wrong.
    pub fn new(properties: &Properties, settings: SourceSettings) -> Result<Self, KafkaError> {
        let consumer = Consumer::new(&settings.consuming(properties), &settings.topic)?;
        let now = Instant::now();
        Ok(Self {
            settings,
            consumer,
            is_open: false,
            partitions: Partitions::default(),
            begun: BTreeMap::new(),
            gaps: Vec::new(),
            looked: now,
            missing: None,
            ended: now,
        })
    }

    fn error(&self, reason: String) -> SourceError {
        SourceError {
            source_id: self.settings.id.clone(),
            reason: format!("topic `{}`: {reason}", self.settings.topic),
        }
    }

    /// Reads from the present positions on. What was fetched before does not come any more.
    fn assign(&self) -> Result<(), SourceError> {
        let all = self.partitions.all().iter().filter(|progress| !progress.ended);
        let offsets = all.map(|progress| (progress.partition, progress.next, progress.leader_epoch));
        self.consumer.assign(offsets).map_err(|text| self.error(text))
    }

    fn note_ends(&mut self) {
        self.ended = Instant::now();
        let topic = self.consumer.topic();
        for progress in self.partitions.all_mut() {
            if let Some((_, end)) = self.consumer.client().known_watermarks(topic, progress.partition) {
                progress.end = end;
            }
        }
    }
}

/// Copies a record into the batch.
#[inline]
fn push(batch: &mut RecordBatch, message: &Message<'_>, index: PartitionIndex) -> i64 {
    let row = batch.len() as u32;
    let timestamp_ms = message.timestamp_ms();
    let origin = Origin { partition: index, offset: message.offset() };
    batch.push(message.key(), message.value(), timestamp_ms, origin);
    message.for_each_header(|name, value| batch.headers.push(row, name, value));
    timestamp_ms
}

impl Source for KafkaSource {
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError> {
        self.discover()?;
        let mut troubles: Vec<Trouble> = Vec::new();
        let mut wait_ms = POLL_WAIT_MS;
        while batch.len() < limits.rows_max && batch.bytes_len() < limits.bytes_max {
            // Rows of unknown size: take as many as fit if they are like those before.
            let mean_bytes = (batch.bytes_len() / batch.len().max(1)).max(64);
            let fitting = (limits.bytes_max.saturating_sub(batch.bytes_len()) / mean_bytes).max(1);
            let max = fitting.min(limits.rows_max - batch.len());
            let partitions = &mut self.partitions;
            let taken = self.consumer.take(wait_ms, max, |event| match event {
                Event::Record(message) => {
                    if partitions.is_behind_end(message.partition(), message.offset()) {
                        if let Some(progress) = partitions.get_mut(message.partition()) {
                            progress.next = progress.next.max(message.offset());
                        }
                        return;
                    }
                    let Some(progress) = partitions.get_mut(message.partition()) else { return };
                    if message.offset() < progress.next {
                        return;
                    }
                    let timestamp_ms = push(batch, &message, progress.index);
                    progress.next = message.offset() + 1;
                    progress.timestamp_ms_max = progress.timestamp_ms_max.max(Some(timestamp_ms));
                    progress.leader_epoch = message.leader_epoch();
                }
                // Behind the last record may be marks of transactions, which are never shown.
                Event::End { partition, next } => {
                    if let Some(progress) = partitions.get_mut(partition) {
                        progress.next = progress.next.max(next);
                    }
                }
                Event::Failed { partition, code, text } => troubles.push(Trouble { partition, code, text }),
            });
            if taken == 0 || !troubles.is_empty() {
                break;
            }
            wait_ms = 0;
        }
        troubles.into_iter().try_for_each(|trouble| self.face(trouble))?;
        if batch.is_empty() || self.ended.elapsed() >= ENDS_EVERY {
            self.note_ends();
        }
        if self.settings.stop.is_none() {
            return Ok(Poll::Some);
        }
        if self.partitions.end() {
            self.assign()?;
        }
        let has_ended = self.partitions.all().iter().all(|progress| progress.ended);
        Ok(if has_ended { Poll::End } else { Poll::Some })
    }

    fn is_at_end(&mut self, partition: PartitionIndex) -> bool {
        let own = self.partitions.all().iter().find(|progress| progress.index == partition);
        let Some(number) = own.map(|progress| progress.partition) else { return false };
        // What the brokers say now ends before the first open transaction; what the last fetch said may be old, and does not.
        let Ok((_, stable)) = self.consumer.client().watermarks(&self.settings.topic, number, END_REQUEST_MS) else {
            return false;
        };
        self.note_ends();
        let own = self.partitions.get(number);
        own.is_some_and(|progress| progress.end >= 0 && progress.next >= progress.end.max(stable))
    }

    fn progress(&self) -> &[PartitionProgress] {
        self.partitions.all()
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        if self.is_open {
            self.go_back(positions);
        } else {
            self.open(positions)?;
        }
        self.assign()
    }

    fn committed(&mut self, positions: &[PartitionPosition]) {
        let own = positions.iter().filter(|position| self.partitions.get(position.partition).is_some());
        self.consumer.commit(own.map(|position| (position.partition, position.next)));
    }

    fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }
}
