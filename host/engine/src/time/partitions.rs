use super::EdgeTime;
use crate::ports::PartitionProgress;
use millstream_model::commit::PartitionPosition;
use millstream_model::ids::PartitionIndex;
use millstream_model::plan::SourceTime;
use millstream_model::record::RecordBatch;
use std::collections::BTreeMap;

/// How long a partition that is idle counts as such before its end is looked up again, at least, in milliseconds.
const CONFIRM_EVERY_MS: u64 = 1_000;

/// What a worker's part of a source says of time: of its partitions, how far they are, and whether something is expected of them.
#[derive(Debug, Default)]
pub struct PartitionTimes {
    settings: SourceTime,
    partitions: BTreeMap<PartitionIndex, PartitionTime>,
    has_ended: bool,
}

#[derive(Debug)]
struct PartitionTime {
    partition: i32,
    /// Highest timestamp read.
    max_ms: Option<i64>,
    next: i64,
    /// When it last moved, on the monotonic clock.
    moved_ms: u64,
    /// When its end was last looked up, and whether it was there.
    confirmed_ms: u64,
    is_idle: bool,
    has_ended: bool,
}

impl PartitionTime {
    fn time(&self, disorder_ms: u64) -> EdgeTime {
        if self.has_ended {
            return EdgeTime::ENDED;
        }
        EdgeTime::of(self.max_ms, disorder_ms, self.is_idle)
    }
}

/// A partition that holds a watermark back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slowest {
    /// Its number within the source.
    pub partition: i32,
    /// Its watermark, in milliseconds since 1970.
    pub watermark_ms: Option<i64>,
}

impl PartitionTimes {
    /// Of a source with these settings.
    #[must_use]
    pub fn new(settings: SourceTime) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes over what the source says after a poll: new partitions, which have moved, which have ended.
    pub fn follow(&mut self, progress: &[PartitionProgress], has_ended: bool, now_ms: u64) {
        self.has_ended = has_ended;
        for one in progress {
            let known = self.partitions.entry(one.index).or_insert_with(|| PartitionTime {
                partition: one.partition,
                max_ms: None,
                next: one.next,
                moved_ms: now_ms,
                confirmed_ms: now_ms,
                is_idle: false,
                has_ended: false,
            });
            known.has_ended = one.ended;
            if known.next != one.next {
                known.next = one.next;
                known.moved_ms = now_ms;
                known.is_idle = false;
            }
        }
    }

    /// Counts the timestamps of records read, but for those of the rows `without`, ascending.
    pub fn count(&mut self, batch: &RecordBatch, without: &[u32]) {
        let mut without = without.iter().copied().peekable();
        let mut run: Option<(PartitionIndex, i64)> = None;
        for (row, (origin, &time_ms)) in (0u32..).zip(batch.origins.iter().zip(&batch.timestamps_ms)) {
            if without.next_if_eq(&row).is_some() {
                continue;
            }
            match &mut run {
                Some((partition, max_ms)) if *partition == origin.partition => *max_ms = time_ms.max(*max_ms),
                _ => {
                    if let Some((partition, max_ms)) = run.replace((origin.partition, time_ms)) {
                        self.raise(partition, max_ms);
                    }
                }
            }
        }
        if let Some((partition, max_ms)) = run {
            self.raise(partition, max_ms);
        }
    }

    fn raise(&mut self, partition: PartitionIndex, time_ms: i64) {
        if let Some(known) = self.partitions.get_mut(&partition) {
            known.max_ms = known.max_ms.max(Some(time_ms));
        }
    }

    /// Finds the partitions that have become idle; `is_at_end` asks the source for the end of one, and is asked no more often than need be.
    pub fn look_for_idle(&mut self, now_ms: u64, mut is_at_end: impl FnMut(PartitionIndex) -> bool) {
        let Some(idle_after_ms) = self.settings.idle_after_ms else { return };
        for (&index, known) in &mut self.partitions {
            let is_silent = now_ms.saturating_sub(known.moved_ms) >= idle_after_ms;
            let is_due = now_ms.saturating_sub(known.confirmed_ms) >= idle_after_ms.max(CONFIRM_EVERY_MS)
                || (!known.is_idle && known.confirmed_ms < known.moved_ms.saturating_add(idle_after_ms));
            if is_silent && is_due && !known.has_ended {
                known.confirmed_ms = now_ms;
                known.is_idle = is_at_end(index);
            }
        }
    }

    /// What all partitions say together.
    #[must_use]
    pub fn time(&self) -> EdgeTime {
        if self.has_ended {
            return EdgeTime::ENDED;
        }
        EdgeTime::of_all(self.partitions.values().map(|known| known.time(self.settings.disorder_ms)))
    }

    /// The partition that holds the watermark back; none if nothing is expected of any.
    #[must_use]
    pub fn slowest(&self) -> Option<Slowest> {
        let times = self.partitions.values().map(|known| (known.partition, known.time(self.settings.disorder_ms)));
        let active = times.filter(|(_, time)| !time.is_idle && !time.has_ended());
        let slowest = active.min_by_key(|(_, time)| time.watermark_ms)?;
        Some(Slowest { partition: slowest.0, watermark_ms: slowest.1.watermark_ms })
    }

    /// The highest timestamp of a partition, if one is known, and whether it is idle.
    #[must_use]
    pub fn of(&self, partition: PartitionIndex) -> Option<(Option<i64>, bool)> {
        self.partitions.get(&partition).map(|known| (known.max_ms, known.is_idle))
    }

    /// Begins anew at the positions of a commit. That a partition was idle then says nothing: it may have been written to since.
    pub fn restore(&mut self, positions: &[PartitionPosition], progress: &[PartitionProgress], now_ms: u64) {
        self.partitions.clear();
        self.follow(progress, false, now_ms);
        for known in self.partitions.values_mut() {
            let then = positions.iter().find(|position| position.partition == known.partition);
            known.max_ms = then.and_then(|position| position.timestamp_ms_max);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use millstream_model::record::Origin;

    fn progress(nexts: &[i64]) -> Vec<PartitionProgress> {
        let one = |(partition, next): (i32, &i64)| PartitionProgress {
            index: PartitionIndex(partition as u32),
            partition,
            next: *next,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end: 100,
            ended: false,
        };
        (0..).zip(nexts).map(one).collect()
    }

    fn batch(records: &[(u32, i64)]) -> RecordBatch {
        let mut batch = RecordBatch::default();
        for (partition, time_ms) in records {
            let origin = Origin { partition: PartitionIndex(*partition), offset: 0 };
            batch.push(None, None, *time_ms, origin);
        }
        batch
    }

    fn times(disorder_ms: u64, idle_after_ms: Option<u64>) -> PartitionTimes {
        PartitionTimes::new(SourceTime { disorder_ms, idle_after_ms, ..SourceTime::default() })
    }

    #[test]
    fn the_watermark_is_the_least_of_the_partitions_latest_less_the_disorder() {
        let mut times = times(10, None);
        times.follow(&progress(&[0, 0]), false, 0);
        times.count(&batch(&[(0, 100), (0, 50), (0, 90)]), &[]);
        assert_eq!(times.time().watermark_ms, None);
        assert_eq!(times.slowest(), Some(Slowest { partition: 1, watermark_ms: None }));
        times.count(&batch(&[(1, 70), (0, 101), (1, 200), (1, 60)]), &[]);
        assert_eq!(times.time().watermark_ms, Some(91));
        times.count(&batch(&[(0, 300), (0, 120)]), &[0]);
        assert_eq!(times.time().watermark_ms, Some(110), "a row that was refused counts for nothing");
        assert_eq!(times.slowest(), Some(Slowest { partition: 0, watermark_ms: Some(110) }));
    }

    #[test]
    fn a_partition_is_idle_when_it_was_silent_and_its_end_is_certain() {
        let mut times = times(0, Some(100));
        times.follow(&progress(&[3, 5]), false, 0);
        times.count(&batch(&[(0, 10), (1, 20)]), &[]);
        let mut asked = Vec::new();
        let mut look = |times: &mut PartitionTimes, now_ms, answer| {
            asked.clear();
            times.look_for_idle(now_ms, |partition| {
                asked.push(partition.0);
                answer
            });
            asked.clone()
        };
        assert_eq!(look(&mut times, 99, true), [0; 0]);
        assert_eq!(look(&mut times, 100, false), [0, 1], "what is in an open transaction is waited for");
        assert_eq!(times.time(), EdgeTime { watermark_ms: Some(10), is_idle: false });
        assert_eq!(look(&mut times, 101, true), [0; 0], "the end is looked up now and then only");
        times.follow(&progress(&[3, 6]), false, 1_050);
        assert_eq!(look(&mut times, 1_100, true), [0]);
        assert_eq!(times.time(), EdgeTime { watermark_ms: Some(20), is_idle: false });
        assert_eq!(look(&mut times, 1_150, true), [1]);
        assert_eq!(times.time(), EdgeTime { watermark_ms: Some(20), is_idle: true });
        times.follow(&progress(&[4, 6]), false, 1_200);
        assert!(!times.time().is_idle, "a record ends it");
    }

    #[test]
    fn a_commit_brings_the_highest_timestamps_back_but_no_idleness() {
        let mut times = times(5, Some(1));
        times.follow(&progress(&[1, 1]), false, 0);
        times.count(&batch(&[(0, 1_000), (1, 2_000)]), &[]);
        let position = PartitionPosition {
            source: "s".to_owned(),
            partition: 1,
            from: 0,
            next: 1,
            leader_epoch: -1,
            timestamp_ms_max: Some(50),
            idle: true,
        };
        times.restore(&[position], &progress(&[0, 1]), 10);
        assert_eq!(times.of(PartitionIndex(1)), Some((Some(50), false)));
        assert_eq!(times.of(PartitionIndex(0)), Some((None, false)));
        assert_eq!(times.time().watermark_ms, None);
    }

    #[test]
    fn what_has_ended_holds_nothing_back_and_ends_only_when_all_have() {
        let mut times = times(0, None);
        let mut now = progress(&[1, 1]);
        now[0].ended = true;
        times.follow(&now, false, 0);
        times.count(&batch(&[(1, 7)]), &[]);
        assert_eq!(times.time().watermark_ms, Some(7));
        times.follow(&now, true, 0);
        assert_eq!(times.time(), EdgeTime::ENDED);
    }

    #[test]
    fn the_highest_possible_timestamp_ends_nothing() {
        let mut times = times(0, None);
        times.follow(&progress(&[1]), false, 0);
        times.count(&batch(&[(0, i64::MAX)]), &[]);
        assert_eq!(times.time().watermark_ms, Some(i64::MAX - 1));
    }
}
