use millstream_engine::ports::PartitionProgress;
use millstream_model::commit::PartitionPosition;
use millstream_model::ids::PartitionIndex;

/// A worker's partitions of a topic, and how far each is read.
#[derive(Default)]
pub(super) struct Partitions {
    progress: Vec<PartitionProgress>,
    /// By partition number: place in `progress`.
    places: Vec<Option<u32>>,
    /// By partition number: the first offset that is not read any more. Empty if there is no end.
    stops: Vec<i64>,
}

impl Partitions {
    pub(super) fn all(&self) -> &[PartitionProgress] {
        &self.progress
    }

    pub(super) fn all_mut(&mut self) -> &mut [PartitionProgress] {
        &mut self.progress
    }

    fn place(&self, partition: i32) -> Option<usize> {
        let place = self.places.get(usize::try_from(partition).ok()?).copied().flatten();
        place.map(|place| place as usize)
    }

    pub(super) fn get(&self, partition: i32) -> Option<&PartitionProgress> {
        self.progress.get(self.place(partition)?)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, partition: i32) -> Option<&mut PartitionProgress> {
        let place = self.place(partition)?;
        self.progress.get_mut(place)
    }

    /// Sets where a partition ends for good.
    pub(super) fn stop_at(&mut self, partition: i32, offset: i64) {
        let at = partition as usize;
        if self.stops.len() <= at {
            self.stops.resize(at + 1, i64::MAX);
        }
        if let Some(stop) = self.stops.get_mut(at) {
            *stop = offset;
        }
    }

    /// Whether an offset of a partition is behind its end.
    #[inline]
    pub(super) fn is_behind_end(&self, partition: i32, offset: i64) -> bool {
        !self.stops.is_empty() && self.stops.get(partition as usize).is_some_and(|stop| offset >= *stop)
    }

    /// Takes note of the partitions that are read to their ends; tells whether there are new ones.
    pub(super) fn end(&mut self) -> bool {
        let stops = &self.stops;
        let mut is_news = false;
        for progress in self.progress.iter_mut().filter(|progress| !progress.ended) {
            progress.ended = stops.get(progress.partition as usize).is_some_and(|stop| progress.next >= *stop);
            is_news |= progress.ended;
        }
        is_news
    }

    /// Adds a partition of the source with this number, to be read from `next` on.
    pub(super) fn add(&mut self, source: u16, partition: i32, next: i64) {
        let at = partition as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(self.progress.len() as u32);
        }
        self.progress.push(PartitionProgress {
            index: PartitionIndex(u32::from(source) << 16 | partition as u32),
            partition,
            next,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end: -1,
            ended: false,
        });
    }

    /// Puts a partition where it was at a commit.
    pub(super) fn put_back(&mut self, partition: i32, next: i64, position: Option<&PartitionPosition>) {
        if let Some(progress) = self.get_mut(partition) {
            progress.next = next;
            progress.leader_epoch = position.map_or(-1, |position| position.leader_epoch);
            progress.timestamp_ms_max = position.and_then(|position| position.timestamp_ms_max);
            progress.ended = false;
        }
        self.end();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn partitions_of_two_sources_never_share_an_index() {
        let mut partitions = Partitions::default();
        partitions.add(2, 5, 10);
        partitions.add(2, 0, 20);
        assert_eq!(partitions.get(5).unwrap().index, PartitionIndex(2 << 16 | 5));
        assert_eq!(partitions.get(0).unwrap().next, 20);
        assert!(partitions.get(1).is_none() && partitions.get(-1).is_none() && partitions.get(6).is_none());
    }

    #[test]
    fn a_partition_ends_where_it_is_to_and_begins_again_when_it_goes_back() {
        let mut partitions = Partitions::default();
        partitions.add(0, 0, 5);
        partitions.add(0, 1, 5);
        assert!(!partitions.is_behind_end(0, 9) && !partitions.end());
        partitions.stop_at(1, 7);
        assert!(partitions.is_behind_end(1, 7) && !partitions.is_behind_end(1, 6) && !partitions.is_behind_end(0, 9));
        partitions.get_mut(1).unwrap().next = 8;
        assert!(partitions.end() && !partitions.end());
        assert_eq!(partitions.all().iter().map(|progress| progress.ended).collect::<Vec<_>>(), [false, true]);
        partitions.put_back(1, 6, None);
        assert!(!partitions.get(1).unwrap().ended);
    }

    #[test]
    fn a_partition_goes_back_to_what_the_commit_says_of_it() {
        let mut partitions = Partitions::default();
        partitions.add(0, 0, 10);
        let position = PartitionPosition {
            source: "s".to_owned(),
            partition: 0,
            from: 0,
            next: 7,
            leader_epoch: 3,
            timestamp_ms_max: Some(5),
            idle: false,
        };
        partitions.put_back(0, 7, Some(&position));
        let progress = partitions.get(0).unwrap();
        assert_eq!((progress.next, progress.leader_epoch, progress.timestamp_ms_max), (7, 3, Some(5)));
        partitions.put_back(0, 1, None);
        assert_eq!(partitions.get(0).unwrap().timestamp_ms_max, None);
    }
}
