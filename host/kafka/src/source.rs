use crate::consumer::{Consumer, Event, Message};
use crate::error::KafkaError;
use crate::properties::Properties;
use crate::start::{Extent, OnDataLoss, Start, begin, resume};
use millstream_engine::ports::{PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::{Gap, PartitionPosition};
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use rdkafka_sys::rd_kafka_resp_err_t as code;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a poll waits for the first record, in milliseconds.
const POLL_WAIT_MS: u64 = 5;

/// How long a request to the brokers may take at a start, in milliseconds.
const REQUEST_MS: u64 = 30_000;

/// How often the topic is asked for new partitions.
const DISCOVERY_EVERY: Duration = Duration::from_secs(10);

/// One worker's part of a topic.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The source's id in the pipeline file.
    pub id: String,
    /// Its position in the plan.
    pub index: u16,
    /// The topic.
    pub topic: String,
    /// The pipeline's id, which names the group whose offsets mirror the positions.
    pub group: String,
    /// This worker, of `workers`: it reads the partitions whose number leaves it as remainder.
    pub worker: u32,
    /// How many workers share the topic.
    pub workers: u32,
    /// Where to begin.
    pub start: Start,
    /// What to do about lost offsets.
    pub on_data_loss: OnDataLoss,
    /// Whether records of open and aborted transactions are read as well.
    pub read_uncommitted: bool,
    /// Whether to go on although somebody has moved the group's offsets.
    pub ignore_group_offsets: bool,
}

/// A topic's partitions as a source of the engine, on librdkafka's batch interface.
pub struct KafkaSource {
    settings: SourceSettings,
    consumer: Consumer,
    progress: Vec<PartitionProgress>,
    /// By partition number: place in `progress`.
    places: Vec<Option<usize>>,
    /// Where each partition began when nothing was committed: decided once in a process.
    begun: BTreeMap<i32, i64>,
    gaps: Vec<Gap>,
    discovered: Instant,
}

impl KafkaSource {
    /// Makes the consumer; `seek` begins to read.
    ///
    /// # Errors
    /// When a property is wrong.
    pub fn new(properties: &Properties, settings: SourceSettings) -> Result<Self, KafkaError> {
        let isolation = if settings.read_uncommitted { "read_uncommitted" } else { "read_committed" };
        let properties = properties
            .or(&[("fetch.queue.backoff.ms", "2"), ("queued.min.messages", "20000"), ("fetch.wait.max.ms", "50")])
            .with(&[
                ("group.id", &settings.group),
                ("isolation.level", isolation),
                ("auto.offset.reset", "error"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("enable.partition.eof", "false"),
            ]);
        let consumer = Consumer::new(&properties, &settings.topic)?;
        Ok(Self {
            settings,
            consumer,
            progress: Vec::new(),
            places: Vec::new(),
            begun: BTreeMap::new(),
            gaps: Vec::new(),
            discovered: Instant::now(),
        })
    }

    fn error(&self, reason: String) -> SourceError {
        SourceError {
            source_id: self.settings.id.clone(),
            reason: format!("topic `{}`: {reason}", self.settings.topic),
        }
    }

    fn own_partitions(&self) -> Result<Vec<i32>, SourceError> {
        let count = crate::metadata::partition_count(self.consumer.client(), &self.settings.topic, REQUEST_MS);
        let count = count.map_err(|reason| self.error(reason))?;
        let own = |partition: &i32| *partition as u32 % self.settings.workers.max(1) == self.settings.worker;
        Ok((0..count).filter(own).collect())
    }

    fn extent(&self, partition: i32) -> Result<Extent, SourceError> {
        let found = self.consumer.client().watermarks(&self.settings.topic, partition, REQUEST_MS as i32);
        let (begin, end) = found.map_err(|text| self.error(format!("partition {partition}: {text}")))?;
        Ok(Extent { begin, end })
    }

    /// Where to go on in a partition.
    fn resolve(
        &mut self,
        partition: i32,
        position: Option<&PartitionPosition>,
        is_new: bool,
    ) -> Result<i64, SourceError> {
        let extent = self.extent(partition)?;
        let place = |reason| format!("partition {partition}: {reason}");
        if let Some(position) = position {
            let resumed = resume(position.next, extent, self.settings.on_data_loss);
            let resumed = resumed.map_err(|reason| self.error(place(reason)))?;
            self.gaps.extend(resumed.lost.map(|(from, to)| self.gap(partition, from, to)));
            return Ok(resumed.next);
        }
        if let Some(begun) = self.begun.get(&partition) {
            return Ok(*begun);
        }
        let start = if is_new { Start::Earliest } else { self.settings.start };
        let at_time = match start {
            Start::Timestamp(time_ms) => {
                let found = self.consumer.offsets_at(&[partition], time_ms, REQUEST_MS);
                found.map_err(|text| self.error(place(text)))?.first().map(|(_, offset)| *offset)
            }
            _ => None,
        };
        let begun = begin(start, extent, at_time).map_err(|reason| self.error(place(reason)))?;
        self.begun.insert(partition, begun);
        Ok(begun)
    }

    fn gap(&self, partition: i32, from: i64, to: i64) -> Gap {
        Gap { source: self.settings.id.clone(), partition, from, to }
    }

    fn add(&mut self, partition: i32, next: i64, like: Option<&PartitionPosition>) {
        let place = self.progress.len();
        let index = PartitionIndex(u32::from(self.settings.index) << 16 | partition as u32);
        self.progress.push(PartitionProgress {
            index,
            partition,
            next,
            leader_epoch: like.map_or(-1, |position| position.leader_epoch),
            timestamp_ms_max: like.and_then(|position| position.timestamp_ms_max),
            end: -1,
        });
        let at = partition as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        if let Some(entry) = self.places.get_mut(at) {
            *entry = Some(place);
        }
    }

    /// The group's offsets decide nothing, but a person who moved them meant something by it.
    fn check_group(&self, own: &[i32], positions: &[PartitionPosition]) -> Result<(), SourceError> {
        let foreign = self.consumer.foreign_offsets(own, REQUEST_MS).map_err(|text| self.error(text))?;
        for (partition, offset) in foreign {
            let next = positions.iter().find(|position| position.partition == partition).map(|position| position.next);
            if next.is_some_and(|next| next != offset) {
                return Err(self.error(format!(
                    "somebody moved the offsets of group `{}` (partition {partition} to {offset}, the pipeline is at {}): \
                     `millstream reset --to-group-offsets` begins anew there, `run --ignore-group-offsets` stays",
                    self.settings.group,
                    next.unwrap_or_default()
                )));
            }
        }
        Ok(())
    }

    fn assign(&self) -> Result<(), SourceError> {
        let offsets = self.progress.iter().map(|progress| (progress.partition, progress.next));
        self.consumer.assign(offsets).map_err(|text| self.error(text))
    }

    /// Begins to read partitions that were added to the topic, at their first record.
    fn discover(&mut self) -> Result<(), SourceError> {
        if self.discovered.elapsed() < DISCOVERY_EVERY {
            return Ok(());
        }
        self.discovered = Instant::now();
        // Brokers that cannot answer now are no reason to stop reading.
        let Ok(own) = self.own_partitions() else { return Ok(()) };
        let is_known = |partition: &i32| self.places.get(*partition as usize).is_some_and(Option::is_some);
        let new: Vec<i32> = own.into_iter().filter(|partition| !is_known(partition)).collect();
        for &partition in &new {
            let next = self.resolve(partition, None, true)?;
            self.add(partition, next, None);
            tracing::info!(source = self.settings.id, partition, "partition added");
        }
        if new.is_empty() { Ok(()) } else { self.assign() }
    }

    fn recover(&mut self, failed: Failed) -> Result<(), SourceError> {
        let Failed { partition, code, text } = failed;
        match code {
            code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
                let place = self.places.get(partition as usize).copied().flatten();
                let Some(next) = place.and_then(|place| self.progress.get(place)).map(|progress| progress.next) else {
                    return Ok(());
                };
                let resumed = resume(next, self.extent(partition)?, self.settings.on_data_loss);
                let resumed = resumed.map_err(|reason| self.error(format!("partition {partition}: {reason}")))?;
                self.gaps.extend(resumed.lost.map(|(from, to)| self.gap(partition, from, to)));
                if let Some(progress) = place.and_then(|place| self.progress.get_mut(place)) {
                    progress.next = resumed.next;
                }
                self.assign()
            }
            code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC => {
                Err(self.error(format!("{text}; was the topic deleted?")))
            }
            code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                Err(self.error(format!("{text}; the user needs READ on it")))
            }
            code::RD_KAFKA_RESP_ERR__FATAL | code::RD_KAFKA_RESP_ERR__AUTHENTICATION => Err(self.error(text)),
            // Brokers that are gone come back; the client goes on by itself.
            _ => {
                tracing::warn!(source = self.settings.id, partition, text, "reading is held up");
                Ok(())
            }
        }
    }
}

struct Failed {
    partition: i32,
    code: rdkafka_sys::rd_kafka_resp_err_t,
    text: String,
}

/// Copies a record into the batch.
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
        let mut failed: Vec<Failed> = Vec::new();
        let mut wait_ms = POLL_WAIT_MS;
        while batch.len() < limits.rows_max && batch.bytes_len() < limits.bytes_max {
            // Rows of unknown size: take as many as fit if they are like those before.
            let mean_bytes = (batch.bytes_len() / batch.len().max(1)).max(64);
            let fitting = (limits.bytes_max.saturating_sub(batch.bytes_len()) / mean_bytes).max(1);
            let max = fitting.min(limits.rows_max - batch.len());
            let (progress, places) = (&mut self.progress, &self.places);
            let taken = self.consumer.take(wait_ms, max, |event| match event {
                Event::Record(message) => {
                    let place = places.get(message.partition() as usize).copied().flatten();
                    let Some(progress) = place.and_then(|place| progress.get_mut(place)) else { return };
                    // What was fetched before a seek may still come.
                    if message.offset() < progress.next {
                        return;
                    }
                    let timestamp_ms = push(batch, &message, progress.index);
                    progress.next = message.offset() + 1;
                    progress.timestamp_ms_max = progress.timestamp_ms_max.max(Some(timestamp_ms));
                    progress.leader_epoch = message.leader_epoch();
                }
                Event::End { .. } => {}
                Event::Failed { partition, code, text } => failed.push(Failed { partition, code, text }),
            });
            if taken == 0 || !failed.is_empty() {
                break;
            }
            wait_ms = 0;
        }
        for failed in failed {
            self.recover(failed)?;
        }
        let topic = self.consumer.topic();
        for progress in &mut self.progress {
            if let Some((_, end)) = self.consumer.client().known_watermarks(topic, progress.partition) {
                progress.end = end;
            }
        }
        Ok(Poll::Some)
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        self.progress.clear();
        self.places.clear();
        let own = self.own_partitions()?;
        if !self.settings.ignore_group_offsets && !positions.is_empty() {
            self.check_group(&own, positions)?;
        }
        for partition in own {
            let position = positions.iter().find(|position| position.partition == partition);
            let next = self.resolve(partition, position, !positions.is_empty())?;
            self.add(partition, next, position);
        }
        self.assign()
    }

    fn committed(&mut self, positions: &[PartitionPosition]) {
        let own = positions
            .iter()
            .filter(|position| self.places.get(position.partition as usize).is_some_and(Option::is_some));
        self.consumer.commit(own.map(|position| (position.partition, position.next)));
    }

    fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }
}
