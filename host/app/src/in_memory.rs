//! A source and a sink that are lists: for `millstream test`.

use millstream_engine::ports::{PartitionProgress, Poll, Sink, SinkError, Source, SourceError};
use millstream_model::commit::PartitionPosition;
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::{Arc, Mutex, PoisonError};

/// Key and value.
pub(crate) type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

/// One partition whose record n has the timestamp n, unless it has one of its own. A poll brings one record, so that time moves between any two.
pub(crate) struct ListSource {
    records: Vec<(Pair, Option<i64>)>,
    progress: [PartitionProgress; 1],
}

impl ListSource {
    pub(crate) fn new(index: PartitionIndex, records: Vec<(Pair, Option<i64>)>) -> Self {
        let progress = PartitionProgress {
            index,
            partition: 0,
            next: 0,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end: records.len() as i64,
            ended: records.is_empty(),
        };
        Self { records, progress: [progress] }
    }
}

impl Source for ListSource {
    fn poll(&mut self, batch: &mut RecordBatch, _: &BatchLimits) -> Result<Poll, SourceError> {
        let [progress] = &mut self.progress;
        let record = usize::try_from(progress.next).ok().and_then(|next| self.records.get(next));
        let Some(((key, value), own_ms)) = record else {
            progress.ended = true;
            return Ok(Poll::End);
        };
        let timestamp_ms = own_ms.unwrap_or(progress.next);
        let origin = Origin { partition: progress.index, offset: progress.next };
        batch.push(key.as_deref(), value.as_deref(), timestamp_ms, origin);
        progress.timestamp_ms_max = progress.timestamp_ms_max.max(Some(timestamp_ms));
        progress.next += 1;
        Ok(Poll::Some)
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        let [progress] = &mut self.progress;
        progress.next = positions.first().map_or(0, |position| position.next);
        Ok(())
    }
}

/// What a [`ListSink`] was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct List(Arc<Mutex<Vec<Pair>>>);

impl List {
    pub(crate) fn taken(&self) -> Vec<Pair> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keeps what it is given; its length is the number of records.
pub(crate) struct ListSink(pub(crate) List);

impl Sink for ListSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        let mut list = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = batch.keys.iter().zip(batch.values.iter());
        list.extend(rows.map(|(key, value)| (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec))));
        Ok(())
    }

    fn prepare(&mut self) -> Result<u64, SinkError> {
        Ok(self.0.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn recover(&mut self, committed_length: u64) -> Result<(), SinkError> {
        let length = usize::try_from(committed_length).unwrap_or(usize::MAX);
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).truncate(length);
        Ok(())
    }
}
