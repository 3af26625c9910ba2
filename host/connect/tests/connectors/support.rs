//! What the tests of sources share.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use millstream_engine::ports::{Clock, Poll, Source};
use millstream_model::commit::PartitionPosition;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that only pauses move.
#[derive(Default)]
pub(crate) struct FakeClock(AtomicU64);

impl FakeClock {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::default()
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn pause(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

/// A record as read: partition index, offset, key, value, timestamp.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) partition: u32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp_ms: i64,
}

pub(crate) fn rows(batch: &RecordBatch) -> Vec<Row> {
    let row = |(at, origin): (u32, &Origin)| Row {
        partition: origin.partition.0,
        offset: origin.offset,
        key: batch.keys.get(at).map(<[u8]>::to_vec),
        value: batch.values.get(at).unwrap().to_vec(),
        timestamp_ms: *batch.timestamps_ms.get(at as usize).unwrap(),
    };
    (0..).zip(&batch.origins).map(row).collect()
}

pub(crate) fn limits(rows_max: usize, bytes_max: usize) -> BatchLimits {
    BatchLimits { rows_max, bytes_max }
}

/// One poll, and whether it was the last.
pub(crate) fn poll(source: &mut dyn Source, limits: &BatchLimits) -> (Vec<Row>, bool) {
    let mut batch = RecordBatch::default();
    let poll = source.poll(&mut batch, limits).unwrap();
    assert!(batch.len() <= limits.rows_max);
    assert!(batch.len() <= 1 || batch.bytes_len() <= limits.bytes_max, "{} bytes", batch.bytes_len());
    (rows(&batch), poll == Poll::End)
}

/// Polls to the end.
pub(crate) fn drain(source: &mut dyn Source, limits: &BatchLimits) -> Vec<Row> {
    let mut all = Vec::new();
    for _ in 0..100_000 {
        let (rows, is_end) = poll(source, limits);
        all.extend(rows);
        if is_end {
            return all;
        }
    }
    panic!("the source does not end");
}

/// What a commit would say of the source now.
pub(crate) fn positions(source: &dyn Source) -> Vec<PartitionPosition> {
    let position = |progress: &millstream_engine::ports::PartitionProgress| PartitionPosition {
        source: "in".to_owned(),
        partition: progress.partition,
        from: progress.next,
        next: progress.next,
        leader_epoch: progress.leader_epoch,
        timestamp_ms_max: progress.timestamp_ms_max,
        idle: false,
    };
    source.progress().iter().map(position).collect()
}

/// The error of a poll or, before it comes, the end.
pub(crate) fn poll_error(source: &mut dyn Source) -> String {
    for _ in 0..1_000 {
        match source.poll(&mut RecordBatch::default(), &BatchLimits::default()) {
            Err(error) => return error.to_string(),
            Ok(Poll::End) => return "the source has ended".to_owned(),
            Ok(Poll::Some) => {}
        }
    }
    "no error".to_owned()
}
