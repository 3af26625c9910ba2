use super::KafkaSource;
use crate::metadata::NO_ANSWER;
use crate::start::{Extent, Start, Stop, begin, check_count, end, resume};
use millstream_engine::ports::SourceError;
use millstream_model::commit::{Gap, PartitionPosition};
use std::time::{Duration, Instant};

/// How long a request to the brokers may take at a start, in milliseconds.
const START_REQUEST_MS: u64 = 30_000;

/// How long a request may take while records flow, in milliseconds: it holds them up.
const REQUEST_MS: u64 = 500;

/// How often the topic is asked for new partitions.
const DISCOVERY_EVERY: Duration = Duration::from_secs(5);

/// How often it is asked whether it is there, when a broker says it is not.
const MISSING_EVERY: Duration = Duration::from_secs(1);

/// How long brokers may not know the topic: one that has just started does not for a while.
const MISSING_PATIENCE: Duration = Duration::from_secs(30);

/// As many as have a number of their own among all partitions of a pipeline.
const PARTITIONS_MAX: i32 = 1 << 16;

impl KafkaSource {
    /// Decides where every partition is read from, once in a process.
    pub(super) fn open(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        let count = crate::metadata::partition_count(self.consumer.client(), &self.settings.topic, START_REQUEST_MS);
        let count = count.map_err(|reason| self.error(reason))?;
        check_count(positions, count).map_err(|reason| self.error(reason))?;
        if count > PARTITIONS_MAX {
            return Err(
                self.error(format!("it has {count} partitions, {PARTITIONS_MAX} are the most that can be read"))
            );
        }
        let own: Vec<i32> = (0..count).filter(|partition| self.settings.owns(*partition)).collect();
        if !self.settings.ignore_group_offsets && !positions.is_empty() {
            self.check_group(&own, positions)?;
        }
        for partition in own {
            let position = positions.iter().find(|position| position.partition == partition);
            let next = match position {
                Some(position) => self.go_on(partition, position.next, START_REQUEST_MS)?,
                None if positions.is_empty() => self.start(partition)?,
                // Added while nothing ran.
                None => self.extent(partition, START_REQUEST_MS)?.begin,
            };
            self.begun.insert(partition, next);
            self.partitions.add(self.settings.index, partition, next);
            self.partitions.put_back(partition, next, position);
        }
        self.find_stops()?;
        self.is_open = true;
        self.looked = Instant::now();
        Ok(())
    }

    /// Decides where every partition ends for good, if it does.
    fn find_stops(&mut self) -> Result<(), SourceError> {
        let Some(stop) = self.settings.stop else { return Ok(()) };
        let own: Vec<i32> = self.partitions.all().iter().map(|progress| progress.partition).collect();
        for partition in own {
            let place = |reason| format!("partition {partition}: {reason}");
            let log_end = self.extent(partition, START_REQUEST_MS)?.end;
            let at_time = match stop {
                Stop::Timestamp(time_ms) => {
                    let found = self.consumer.offsets_at(&[partition], time_ms, START_REQUEST_MS);
                    found.map_err(|text| self.error(place(text)))?.first().map(|(_, offset)| *offset)
                }
                _ => None,
            };
            self.partitions.stop_at(partition, end(stop, log_end, at_time));
        }
        self.partitions.end();
        Ok(())
    }

    /// Goes back to a commit of this run. Asks nobody: brokers may be away, and what is lost shows when it is read.
    pub(super) fn go_back(&mut self, positions: &[PartitionPosition]) {
        let own: Vec<i32> = self.partitions.all().iter().map(|progress| progress.partition).collect();
        for partition in own {
            let position = positions.iter().find(|position| position.partition == partition);
            let begun = self.begun.get(&partition).copied();
            if let Some(next) = position.map(|position| position.next).or(begun) {
                self.partitions.put_back(partition, next, position);
            }
        }
    }

    pub(super) fn extent(&self, partition: i32, wait_ms: u64) -> Result<Extent, SourceError> {
        let found = self.consumer.client().watermarks(&self.settings.topic, partition, wait_ms as i32);
        let (begin, end) = found.map_err(|text| self.error(format!("partition {partition}: {text}")))?;
        Ok(Extent { begin, end })
    }

    /// Where to go on behind what is committed; what was lost is remembered as a gap.
    pub(super) fn go_on(&mut self, partition: i32, next: i64, wait_ms: u64) -> Result<i64, SourceError> {
        let resumed = resume(next, self.extent(partition, wait_ms)?, self.settings.on_data_loss);
        let resumed = resumed.map_err(|reason| self.error(format!("partition {partition}: {reason}")))?;
        if let Some((from, to)) = resumed.lost {
            tracing::warn!(
                source = self.settings.id,
                partition,
                from,
                to,
                "records are lost: retention overtook the pipeline"
            );
            self.gaps.push(Gap { source: self.settings.id.clone(), partition, from, to });
        }
        Ok(resumed.next)
    }

    /// Where the start setting says to begin.
    fn start(&mut self, partition: i32) -> Result<i64, SourceError> {
        let extent = self.extent(partition, START_REQUEST_MS)?;
        let place = |reason| format!("partition {partition}: {reason}");
        let at_time = match self.settings.start {
            Start::Timestamp(time_ms) => {
                let found = self.consumer.offsets_at(&[partition], time_ms, START_REQUEST_MS);
                found.map_err(|text| self.error(place(text)))?.first().map(|(_, offset)| *offset)
            }
            _ => None,
        };
        begin(self.settings.start, extent, at_time).map_err(|reason| self.error(place(reason)))
    }

    /// The group's offsets decide nothing, but a person who moved them meant something by it.
    fn check_group(&self, own: &[i32], positions: &[PartitionPosition]) -> Result<(), SourceError> {
        let foreign = self.consumer.foreign_offsets(own, START_REQUEST_MS).map_err(|text| {
            self.error(format!("the offsets of group `{}` cannot be read: {text}", self.settings.group))
        })?;
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

    /// Begins to read partitions that were added to the topic, at their first record.
    pub(super) fn discover(&mut self) -> Result<(), SourceError> {
        let every = if self.missing.is_some() { MISSING_EVERY } else { DISCOVERY_EVERY };
        // What ends for good does not grow.
        if self.settings.stop.is_some() || self.looked.elapsed() < every {
            return Ok(());
        }
        self.looked = Instant::now();
        // Brokers that cannot answer now are no reason to stop; those that do not know the topic are, after a while.
        let count = crate::metadata::partition_count(self.consumer.client(), &self.settings.topic, REQUEST_MS);
        let count = match count {
            Ok(count) => count,
            Err(text) if text.starts_with(NO_ANSWER) => return Ok(()),
            Err(text) => {
                let since = *self.missing.get_or_insert_with(Instant::now);
                let is_gone = since.elapsed() > MISSING_PATIENCE;
                return if is_gone { Err(self.error(format!("{text}; was the topic deleted?"))) } else { Ok(()) };
            }
        };
        let was_missing = self.missing.take().is_some();
        let mut is_changed = was_missing;
        for partition in (0..count).filter(|partition| self.settings.owns(*partition)) {
            if self.partitions.get(partition).is_none() {
                // A leader may not be there yet.
                let Ok(extent) = self.extent(partition, REQUEST_MS) else { continue };
                tracing::info!(source = self.settings.id, partition, "a partition was added");
                self.begun.insert(partition, extent.begin);
                self.partitions.add(self.settings.index, partition, extent.begin);
                is_changed = true;
            }
        }
        if is_changed { self.assign() } else { Ok(()) }
    }
}
