//! Event time: what partitions, edges and operators say of it. Pure.
//!
//! A *watermark* says that no record with an earlier timestamp is expected. Each source partition has one, made of the timestamps read from it; what an operator
//! has is the least of its inputs', and never goes back. It moves at *marks* only: a source places one before the records of each poll, and one on a
//! tick when there are none; marks go the way of the records, over the exchange as well.

mod inputs;
mod partitions;
mod routes;

pub use inputs::Inputs;
pub use partitions::{PartitionTimes, Slowest};
pub use routes::{Route, Routes};

/// The watermark of what has come to its end.
pub const END_MS: i64 = i64::MAX;

/// What a partition, or an edge between a source or operator and an operator, says of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EdgeTime {
    /// No record with an earlier timestamp is expected, in milliseconds since 1970. `None` before the first record, [`END_MS`] when no more will come.
    pub watermark_ms: Option<i64>,
    /// Whether nothing comes for now, so that it is not waited for.
    pub is_idle: bool,
}

impl EdgeTime {
    /// Nothing will come any more.
    pub const ENDED: Self = Self { watermark_ms: Some(END_MS), is_idle: false };

    /// Nothing comes and nothing is known.
    pub const NOBODY: Self = Self { watermark_ms: None, is_idle: true };

    /// What timestamps say whose highest is `max_ms`, if they may be out of order by `disorder_ms`.
    #[must_use]
    pub fn of(max_ms: Option<i64>, disorder_ms: u64, is_idle: bool) -> Self {
        // One below the end: a timestamp that says so does not end anything.
        let watermark_ms = max_ms.map(|max_ms| max_ms.saturating_sub_unsigned(disorder_ms).min(END_MS - 1));
        Self { watermark_ms, is_idle }
    }

    /// Whether nothing will come any more.
    #[must_use]
    pub fn has_ended(self) -> bool {
        self.watermark_ms == Some(END_MS)
    }

    /// What several say together: the least of those that something is expected of. When all are idle, the latest: nothing holds it back. What has ended
    /// counts only when everything has.
    #[must_use]
    pub fn of_all(parts: impl IntoIterator<Item = Self>) -> Self {
        let (mut active, mut idle, mut ended) = (None::<Self>, None::<Self>, None::<Self>);
        for part in parts {
            if part.has_ended() {
                ended = Some(part);
            } else if part.is_idle {
                idle = Some(idle.map_or(part, |so_far| Self {
                    watermark_ms: so_far.watermark_ms.max(part.watermark_ms),
                    is_idle: true,
                }));
            } else {
                active = Some(active.map_or(part, |so_far| Self {
                    watermark_ms: so_far.watermark_ms.min(part.watermark_ms),
                    is_idle: false,
                }));
            }
        }
        active.or(idle).or(ended).unwrap_or(Self::NOBODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(watermark_ms: impl Into<Option<i64>>) -> EdgeTime {
        EdgeTime { watermark_ms: watermark_ms.into(), is_idle: false }
    }

    fn idle(watermark_ms: impl Into<Option<i64>>) -> EdgeTime {
        EdgeTime { watermark_ms: watermark_ms.into(), is_idle: true }
    }

    #[test]
    fn the_slowest_of_those_that_something_is_expected_of_counts() {
        assert_eq!(EdgeTime::of_all([at(5), at(3), idle(1)]), at(3));
        assert_eq!(EdgeTime::of_all([at(5), at(None), idle(1)]), at(None));
        assert_eq!(EdgeTime::of_all([at(5), EdgeTime::ENDED]), at(5));
    }

    #[test]
    fn when_all_are_idle_nothing_holds_the_latest_back() {
        assert_eq!(EdgeTime::of_all([idle(5), idle(3), idle(None)]), idle(5));
        assert_eq!(EdgeTime::of_all([idle(5), EdgeTime::ENDED]), idle(5));
        assert_eq!(EdgeTime::of_all([]), EdgeTime::NOBODY);
    }

    #[test]
    fn the_end_has_come_when_it_has_for_all() {
        assert_eq!(EdgeTime::of_all([EdgeTime::ENDED, EdgeTime::ENDED]), EdgeTime::ENDED);
    }

    proptest! {
        #[test]
        fn it_makes_no_difference_how_parts_are_grouped(
            parts in prop::collection::vec((prop::option::of(0i64..5), any::<bool>(), any::<bool>()), 0..8),
            split in 0usize..8,
        ) {
            let part = |&(time, is_idle, ended): &(Option<i64>, bool, bool)| {
                if ended { EdgeTime::ENDED } else { EdgeTime { watermark_ms: time, is_idle } }
            };
            let parts: Vec<_> = parts.iter().map(part).collect();
            let (left, right) = parts.split_at(split.min(parts.len()));
            let grouped = [left, right].map(|group| EdgeTime::of_all(group.iter().copied()));
            // A group that ended altogether beside an empty one is the one case that grouping could change; nobody is asked of no sender.
            prop_assume!(!left.is_empty() && !right.is_empty());
            prop_assert_eq!(EdgeTime::of_all(grouped), EdgeTime::of_all(parts));
        }
    }
}
