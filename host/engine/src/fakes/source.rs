use crate::ports::{PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::PartitionPosition;
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;

/// The record at an offset: key, value and timestamp.
pub type FakeRecord = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// Makes the record of a partition and an offset.
type Content = Arc<dyn Fn(i32, i64) -> FakeRecord + Send + Sync>;

/// A source whose records are a function of partition and offset.
pub struct FakeSource {
    content: Content,
    progress: Vec<PartitionProgress>,
    ends: bool,
    turn: usize,
}

impl FakeSource {
    /// A source with these partitions: their position in the pipeline, their number, their end. `is_bounded`: no more will come.
    pub fn new(
        partitions: &[(PartitionIndex, i32, i64)],
        is_bounded: bool,
        content: impl Fn(i32, i64) -> FakeRecord + Send + Sync + 'static,
    ) -> Self {
        let progress = partitions.iter().map(|&(index, partition, end)| PartitionProgress {
            index,
            partition,
            next: 0,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end,
            ended: is_bounded && end <= 0,
        });
        Self { content: Arc::new(content), progress: progress.collect(), ends: is_bounded, turn: 0 }
    }
}

impl Source for FakeSource {
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError> {
        let count = self.progress.len().max(1);
        let mut idle = 0;
        while batch.len() < limits.rows_max && idle < count {
            let at = self.turn % count;
            self.turn += 1;
            let Some(progress) = self.progress.get_mut(at).filter(|progress| progress.next < progress.end) else {
                idle += 1;
                continue;
            };
            idle = 0;
            let (key, value, timestamp_ms) = (self.content)(progress.partition, progress.next);
            let origin = Origin { partition: progress.index, offset: progress.next };
            batch.push(key.as_deref(), value.as_deref(), timestamp_ms, origin);
            progress.next += 1;
            progress.timestamp_ms_max = progress.timestamp_ms_max.max(Some(timestamp_ms));
            progress.ended = self.ends && progress.next >= progress.end;
        }
        let is_over = self.ends && self.progress.iter().all(|progress| progress.next >= progress.end);
        Ok(if is_over { Poll::End } else { Poll::Some })
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        for progress in &mut self.progress {
            let position = positions.iter().find(|position| position.partition == progress.partition);
            progress.next = position.map_or(0, |position| position.next);
            progress.timestamp_ms_max = position.and_then(|position| position.timestamp_ms_max);
            progress.ended = self.ends && progress.next >= progress.end;
        }
        Ok(())
    }
}
