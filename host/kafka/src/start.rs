//! Where to begin reading a partition. Pure.

use millstream_model::commit::PartitionPosition;
use serde::Deserialize;

/// Where a source begins when nothing is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the oldest record that is still there.
    #[default]
    Earliest,
    /// Behind the newest record.
    Latest,
    /// At the first record with this timestamp or a later one, in milliseconds since 1970.
    Timestamp(i64),
    /// At this offset in every partition.
    Offset(i64),
}

/// Where a source ends for good. Looked up when the process starts; a restart looks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// Behind the newest record that can be read then.
    Latest,
    /// Before the first record with this timestamp or a later one, in milliseconds since 1970.
    Timestamp(i64),
    /// Before this offset in every partition.
    Offset(i64),
}

/// What happens when offsets are gone that were not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDataLoss {
    /// The pipeline stops with the reason.
    #[default]
    Stop,
    /// It goes on at the oldest record that is still there; the gap is named in the commit.
    Earliest,
}

/// What a partition's log holds: the first offset that is there, and the one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first offset.
    pub(crate) begin: i64,
    /// The offset behind the last.
    pub(crate) end: i64,
}

/// Where to go on, and the offsets lost before it, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// The offset to read next.
    pub(crate) next: i64,
    /// Offsets from..to that are gone.
    pub(crate) lost: Option<(i64, i64)>,
}

/// Checks that a topic has every partition of which something is committed.
///
/// # Errors
/// When there are fewer: the topic is another one.
pub(crate) fn check_count(positions: &[PartitionPosition], count: i32) -> Result<(), String> {
    let gone = positions.iter().map(|position| position.partition).filter(|partition| *partition >= count).max();
    gone.map_or(Ok(()), |partition| {
        Err(format!(
            "partition {partition} was read and there are {count} now: the topic was made anew; `millstream reset` begins anew"
        ))
    })
}

/// Decides where to go on after a commit at `next`.
///
/// # Errors
/// When records were lost and the policy is to stop, or the log is shorter than what was read of it.
pub(crate) fn resume(next: i64, extent: Extent, policy: OnDataLoss) -> Result<Resumed, String> {
    if next > extent.end {
        return Err(format!(
            "it was read up to offset {next} and ends at {} now: the log was cut off (unclean leader election) or the topic made anew; \
             nothing was changed, `millstream reset` begins anew",
            extent.end
        ));
    }
    if next >= extent.begin {
        return Ok(Resumed { next, lost: None });
    }
    match policy {
        OnDataLoss::Earliest => Ok(Resumed { next: extent.begin, lost: Some((next, extent.begin)) }),
        OnDataLoss::Stop => Err(format!(
            "offsets {next} to {} were deleted before they were read (retention); `on_data_loss: earliest` goes on behind them and names the gap in the commit",
            extent.begin - 1
        )),
    }
}

/// Decides where to begin a partition of which nothing is committed. `at_time` is the first offset at the timestamp asked for, negative if all are earlier.
///
/// # Errors
/// When the offset asked for is not there.
pub(crate) fn begin(start: Start, extent: Extent, at_time: Option<i64>) -> Result<i64, String> {
    match start {
        Start::Earliest => Ok(extent.begin),
        Start::Latest => Ok(extent.end),
        Start::Timestamp(_) => Ok(at_time.filter(|offset| *offset >= 0).unwrap_or(extent.end)),
        Start::Offset(offset) if (extent.begin..=extent.end).contains(&offset) => Ok(offset),
        Start::Offset(offset) => {
            Err(format!("`start` asks for offset {offset} and there are {} to {}", extent.begin, extent.end))
        }
    }
}

/// The first offset of a partition that is not read any more. `at_time` is the first offset at the timestamp asked for, negative if all are earlier.
pub(crate) fn end(stop: Stop, log_end: i64, at_time: Option<i64>) -> i64 {
    match stop {
        Stop::Latest => log_end,
        Stop::Timestamp(_) => at_time.filter(|offset| *offset >= 0).unwrap_or(log_end),
        Stop::Offset(offset) => offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { begin: 10, end: 20 };

    #[test]
    fn a_commit_is_where_to_go_on() {
        for next in 10..=20 {
            assert_eq!(resume(next, EXTENT, OnDataLoss::Stop), Ok(Resumed { next, lost: None }));
        }
    }

    #[test]
    fn lost_offsets_stop_or_are_named() {
        assert!(resume(7, EXTENT, OnDataLoss::Stop).is_err_and(|text| text.contains("offsets 7 to 9 were deleted")));
        let resumed = Resumed { next: 10, lost: Some((7, 10)) };
        assert_eq!(resume(7, EXTENT, OnDataLoss::Earliest), Ok(resumed));
    }

    #[test]
    fn fewer_partitions_than_were_read_stop() {
        let position = |partition| PartitionPosition {
            source: "s".to_owned(),
            partition,
            from: 0,
            next: 0,
            leader_epoch: -1,
            timestamp_ms_max: None,
            idle: false,
        };
        assert_eq!(check_count(&[position(0), position(2)], 3), Ok(()));
        assert!(check_count(&[position(0), position(2)], 2).is_err_and(|text| text.contains("partition 2 was read")));
    }

    #[test]
    fn a_log_cut_off_stops_whatever_the_policy() {
        assert!(resume(21, EXTENT, OnDataLoss::Earliest).is_err());
    }

    #[test]
    fn every_start_setting_finds_its_offset() {
        assert_eq!(begin(Start::Earliest, EXTENT, None), Ok(10));
        assert_eq!(begin(Start::Latest, EXTENT, None), Ok(20));
        assert_eq!(begin(Start::Timestamp(5), EXTENT, Some(13)), Ok(13));
        assert_eq!(begin(Start::Timestamp(5), EXTENT, Some(-1)), Ok(20));
        assert_eq!(begin(Start::Offset(11), EXTENT, None), Ok(11));
        assert!(begin(Start::Offset(9), EXTENT, None).is_err());
    }
}
