//! Input that is made on the way and output that is dropped: a pipeline without its ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_engine::ports::{PartitionProgress, Poll, Sink, SinkError, Source, SourceError};
use millstream_model::commit::PartitionPosition;
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// Pause between the first sight of every key and what is measured, for what goes on in the background to end.
const REST: Duration = Duration::from_millis(1_200);

/// What records look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Values {
    /// 100 bytes.
    Bytes,
    /// An order as JSON of about 120 bytes.
    Json,
}

/// What a stream is made of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stream {
    /// Number of keys, all equally likely. Each is seen once before what is measured.
    pub keys: u64,
    /// Records measured.
    pub records: u64,
    /// Their values.
    pub values: Values,
}

/// When what is measured began.
#[derive(Debug, Default)]
pub struct Began(Mutex<Option<Usage>>);

impl Began {
    /// The moment; none if it never came.
    #[must_use]
    pub fn get(&self) -> Option<Usage> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Usage::own());
    }
}

/// One partition of records.
pub struct MadeSource {
    stream: Stream,
    progress: [PartitionProgress; 1],
    pool: Vec<Vec<u8>>,
    chance: Chance,
    key: [u8; 9],
    rest_until: Option<Instant>,
    began: Arc<Began>,
}

impl MadeSource {
    /// A source at its beginning, and where it says when what is measured begins.
    #[must_use]
    pub fn new(stream: Stream) -> (Self, Arc<Began>) {
        let began = Arc::new(Began::default());
        let progress = PartitionProgress {
            index: PartitionIndex(0),
            partition: 0,
            next: 0,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end: (stream.keys + stream.records) as i64,
            ended: false,
        };
        let source = Self {
            stream,
            progress: [progress],
            pool: pool(stream.values),
            chance: Chance(0x9e37_79b9_7f4a_7c15),
            key: *b"k00000000",
            rest_until: None,
            began: Arc::clone(&began),
        };
        (source, began)
    }

    /// Whether the pause between the two parts is over; begins it.
    fn has_rested(&mut self) -> bool {
        let until = *self.rest_until.get_or_insert_with(|| Instant::now() + REST);
        let is_over = Instant::now() >= until;
        if is_over && self.began.get().is_none() {
            self.began.now();
        }
        is_over
    }
}

impl Source for MadeSource {
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError> {
        let Stream { keys, records, .. } = self.stream;
        let mut next = self.progress.first().map_or(0, |progress| progress.next as u64);
        if next == keys && !self.has_rested() {
            std::thread::sleep(Duration::from_millis(2));
            return Ok(Poll::Some);
        }
        if next >= keys + records {
            return Ok(Poll::End);
        }
        let end = if next < keys { keys } else { keys + records };
        let end = end.min(next + limits.rows_max as u64);
        while next < end && batch.bytes_len() < limits.bytes_max {
            let number = if next < keys { next } else { self.chance.below(keys) };
            write_key(&mut self.key, number);
            let value = self.pool.get(next as usize % self.pool.len()).map(Vec::as_slice);
            let origin = Origin { partition: PartitionIndex(0), offset: next as i64 };
            batch.push(Some(&self.key), value, next as i64, origin);
            next += 1;
        }
        for progress in &mut self.progress {
            progress.next = next as i64;
        }
        Ok(Poll::Some)
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        for (progress, position) in self.progress.iter_mut().zip(positions) {
            progress.next = position.next;
        }
        Ok(())
    }
}

/// `k` and eight digits.
pub fn write_key(key: &mut [u8; 9], number: u64) {
    let mut rest = number;
    for digit in key.iter_mut().skip(1).rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Values to choose from.
fn pool(values: Values) -> Vec<Vec<u8>> {
    let mut chance = Chance(7);
    (0..1_024_u64)
        .map(|number| match values {
            Values::Bytes => (0..100).map(|_| chance.below(256) as u8).collect(),
            Values::Json => {
                let status = ["paid", "open", "paid", "sent"].get(number as usize % 4).copied().unwrap_or("paid");
                let (cents, customer) = (chance.below(10_000), chance.below(1_000_000));
                format!(
                    r#"{{"order":{number},"customer":"customer-{customer:07}","cents":{cents},"status":"{status}","note":"leave it at the door","express":true}}"#
                )
                .into_bytes()
            }
        })
        .collect()
}

/// Cheap numbers that look random, the same in every run.
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// Counts what it is given and forgets it.
#[derive(Debug, Default)]
pub struct DropSink {
    records: u64,
}

impl Sink for DropSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.records += batch.len() as u64;
        Ok(())
    }

    fn prepare(&mut self) -> Result<u64, SinkError> {
        Ok(self.records)
    }

    fn recover(&mut self, committed_length: u64) -> Result<(), SinkError> {
        self.records = committed_length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_comes_once_before_what_is_measured() {
        let (mut source, began) = MadeSource::new(Stream { keys: 5_000, records: 3_000, values: Values::Bytes });
        let limits = BatchLimits::default();
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let mut batch = RecordBatch::default();
            let poll = source.poll(&mut batch, &limits).unwrap();
            if began.get().is_some() {
                before.get_or_insert(seen.len());
            }
            seen.extend(batch.keys.iter().map(|key| key.unwrap().to_vec()));
            if poll == Poll::End {
                break;
            }
        }
        assert_eq!((before, seen.len()), (Some(5_000), 8_000));
        assert_eq!(seen.iter().take(5_000).collect::<BTreeSet<_>>().len(), 5_000);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 5_000);
    }
}
