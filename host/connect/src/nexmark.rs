use crate::{Error, Share};
use millstream_engine::ports::{Clock, PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::{PartitionPosition, TopicIdentity};
use millstream_model::key_group::murmur2;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use millstream_nexmark::{Event, Generator, Settings, write_json};
use std::sync::Arc;

/// Wait when the rate allows no event yet, and how far a source may fall behind before it gives up catching up.
const WAIT_MS: u64 = 2;
const BEHIND_MS_MAX: u64 = 1_000;

/// What the key of a record is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NexmarkKey {
    /// Null.
    #[default]
    None,
    /// Number of the auction, as decimal text; null for persons.
    Auction,
    /// Number of the person who signs up, sells or bids, as decimal text.
    Bidder,
    /// `person`, `auction` or `bid`.
    Type,
}

/// Which events a source gives, and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NexmarkSettings {
    /// Id in the pipeline file.
    pub source_id: String,
    /// What the events depend on.
    pub events: Settings,
    /// Number of partitions, at least 1: event `i` is in partition `i % partitions`.
    pub partitions: u32,
    /// How many events there are; `None` goes on for ever.
    pub events_max: Option<u64>,
    /// Events per second of all partitions; `None` is as fast as they can be taken. The events are the same.
    pub events_per_second: Option<u64>,
    /// What the keys are.
    pub key: NexmarkKey,
}

impl NexmarkSettings {
    /// The benchmark's events in one partition, without end or limit or keys.
    #[must_use]
    pub fn new(source_id: &str) -> Self {
        Self {
            source_id: source_id.to_owned(),
            events: Settings::default(),
            partitions: 1,
            events_max: None,
            events_per_second: None,
            key: NexmarkKey::None,
        }
    }

    /// What the `open` record says of the source: other settings of the events are another source.
    #[must_use]
    pub fn identity(&self) -> TopicIdentity {
        let Settings { seed, start_ms, period_us, auctions_in_flight, active_persons, .. } = &self.events;
        let Settings { hot_auction_ratio, hot_bidder_ratio, hot_seller_ratio, sizes_bytes, .. } = &self.events;
        let ratios = [hot_auction_ratio, hot_bidder_ratio, hot_seller_ratio];
        let rest = format!(
            "{start_ms} {period_us} {auctions_in_flight} {active_persons} {ratios:?} {sizes_bytes:?} {:?}",
            self.key
        );
        TopicIdentity {
            name: format!("nexmark, seed {seed}, settings {:08x}", murmur2(rest.as_bytes())),
            id: String::new(),
            partitions: i32::try_from(self.partitions).unwrap_or(i32::MAX),
        }
    }
}

/// A worker's partitions of the generated events. Offsets are indexes of events, values their JSON.
pub struct NexmarkSource {
    settings: NexmarkSettings,
    generator: Generator,
    clock: Arc<dyn Clock>,
    progress: Vec<PartitionProgress>,
    /// The partition whose turn it is.
    at: usize,
    pace: Option<Pace>,
    key: Vec<u8>,
}

/// How many events there may have been.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since_ms: u64,
    given: u64,
}

impl NexmarkSource {
    /// A worker's part of the events.
    #[must_use]
    pub fn new(settings: NexmarkSettings, share: Share, clock: Arc<dyn Clock>) -> Self {
        let progress = share.places(settings.partitions.max(1) as usize).map(|(place, index)| PartitionProgress {
            index,
            partition: place as i32,
            next: place as i64,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end: settings.events_max.map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX)),
            ended: false,
        });
        let progress = progress.collect();
        let generator = Generator::new(settings.events.clone());
        Self { settings, generator, clock, progress, at: 0, pace: None, key: Vec::new() }
    }

    /// Events that the rate allows now, for this worker's share of the partitions.
    fn allowed(&mut self) -> u64 {
        let Some(rate) = self.settings.events_per_second else { return u64::MAX };
        let now_ms = self.clock.monotonic_ms();
        let pace = self.pace.get_or_insert(Pace { since_ms: now_ms, given: 0 });
        let partitions = u128::from(self.settings.partitions.max(1)) * 1_000;
        let due = |elapsed_ms: u64| {
            let own = u128::from(elapsed_ms) * u128::from(rate) * self.progress.len() as u128 / partitions;
            u64::try_from(own).unwrap_or(u64::MAX)
        };
        let due_now = due(now_ms.saturating_sub(pace.since_ms));
        if due_now.saturating_sub(pace.given) > due(BEHIND_MS_MAX) + 1 {
            *pace = Pace { since_ms: now_ms, given: 0 };
            return 1;
        }
        due_now.saturating_sub(pace.given)
    }

    /// Appends an event of the next partition that has one. False if none has.
    fn take_event(&mut self, batch: &mut RecordBatch) -> bool {
        let step = i64::from(self.settings.partitions.max(1));
        let end = self.settings.events_max.map_or(i64::MAX, |count| i64::try_from(count).unwrap_or(i64::MAX));
        for _ in 0..self.progress.len() {
            let at = self.at;
            self.at = (self.at + 1) % self.progress.len();
            let Some(progress) = self.progress.get_mut(at).filter(|progress| progress.next < end) else { continue };
            let event = self.generator.event(progress.next.unsigned_abs());
            let has_key = write_key(self.settings.key, &event, &mut self.key);
            let timestamp_ms = event.timestamp_ms();
            batch.keys.push(has_key.then_some(self.key.as_slice()));
            batch.values.push_with(|out| write_json(&event, out));
            batch.timestamps_ms.push(timestamp_ms);
            batch.origins.push(Origin { partition: progress.index, offset: progress.next });
            progress.next = progress.next.saturating_add(step);
            progress.ended = progress.next >= end;
            progress.timestamp_ms_max = progress.timestamp_ms_max.max(Some(timestamp_ms));
            return true;
        }
        false
    }

    fn go_to(&mut self, positions: &[PartitionPosition]) -> Result<(), Error> {
        let partitions = self.settings.partitions.max(1);
        for position in positions {
            let (partition, offset) = (position.partition, position.next);
            let fits = u32::try_from(partition).is_ok_and(|number| number < partitions)
                && offset >= 0
                && offset % i64::from(partitions) == i64::from(partition);
            // A commit speaks of all partitions, so more of them show too.
            if !fits || positions.len() != partitions as usize {
                return Err(Error::Position { partition, offset, partitions });
            }
        }
        for progress in &mut self.progress {
            let position = positions.iter().find(|position| position.partition == progress.partition);
            progress.next = position.map_or(i64::from(progress.partition), |position| position.next);
            progress.timestamp_ms_max = position.and_then(|position| position.timestamp_ms_max);
            progress.ended = progress.end >= 0 && progress.next >= progress.end;
        }
        self.pace = None;
        self.at = 0;
        Ok(())
    }
}

/// Puts the key of an event into `key`; false if it is null.
fn write_key(setting: NexmarkKey, event: &Event, key: &mut Vec<u8>) -> bool {
    use std::io::Write;
    key.clear();
    // Writing into memory does not fail.
    match setting {
        NexmarkKey::None => return false,
        NexmarkKey::Auction => {
            let Some(auction) = event.auction() else { return false };
            let _ = write!(key, "{auction}");
        }
        NexmarkKey::Bidder => drop(write!(key, "{}", event.person())),
        NexmarkKey::Type => key.extend_from_slice(event.kind().name().as_bytes()),
    }
    true
}

impl Source for NexmarkSource {
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError> {
        let allowed = self.allowed();
        let mut given = 0;
        // No event has more bytes: a fifth more than its size on average, names of fields, digits, and texts that do not count.
        let size = self.settings.events.sizes_bytes.into_iter().max().unwrap_or_default();
        let fits = limits.bytes_max.saturating_sub(usize::from(size) * 6 / 5 + 512);
        while given < allowed && batch.len() < limits.rows_max && (batch.is_empty() || batch.bytes_len() <= fits) {
            if !self.take_event(batch) {
                return Ok(Poll::End);
            }
            given += 1;
        }
        if let Some(pace) = &mut self.pace {
            pace.given += given;
        }
        if allowed == 0 {
            self.clock.pause(WAIT_MS);
        }
        Ok(Poll::Some)
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        self.go_to(positions).map_err(|error| error.of_source(&self.settings.source_id))
    }
}
