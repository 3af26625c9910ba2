//! Windows of an operator, as the pipeline file declares them. They are the host's: to the operator a window is part of the key.

use crate::descriptor::{Descriptor, TimerClock, TimerDescriptor};
use serde::{Deserialize, Serialize};

/// Which windows a record belongs to. All times and lengths are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// One after the other: a record belongs to one.
    Tumbling {
        /// Length; at least 1.
        size_ms: u64,
        /// Where windows begin, counted from 1970: for days of another time zone.
        offset_ms: i64,
    },
    /// One begins every `slide_ms`: a record belongs to several if that is less than their length, and to none if it falls between two.
    Sliding {
        /// Length; at least 1.
        size_ms: u64,
        /// From the beginning of one to that of the next; at least 1.
        slide_ms: u64,
        /// As for tumbling windows.
        offset_ms: i64,
    },
}

impl WindowKind {
    /// Length of a window in milliseconds.
    #[must_use]
    pub const fn size_ms(self) -> u64 {
        match self {
            Self::Tumbling { size_ms, .. } | Self::Sliding { size_ms, .. } => size_ms,
        }
    }

    /// Length, distance and offset.
    const fn grid(self) -> (u64, u64, i64) {
        match self {
            Self::Tumbling { size_ms, offset_ms } => (size_ms, size_ms, offset_ms),
            Self::Sliding { size_ms, slide_ms, offset_ms } => (size_ms, slide_ms, offset_ms),
        }
    }
}

/// The windows of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windowing {
    /// Which.
    pub kind: WindowKind,
    /// How long after its end, by the watermark, a window still takes records and fires again, in milliseconds.
    pub lateness_ms: u64,
    /// How long after its first record since it last fired a window that is not over fires early, on the wall clock, in milliseconds.
    pub early_ms: Option<u64>,
}

impl Windowing {
    /// Position of the timer that fires at the end of a window.
    pub const END: u32 = 0;

    /// Position of the timer that fires a window again for records that came late.
    pub const LATE: u32 = 1;

    /// Position of the timer after which a window is forgotten.
    pub const OVER: u32 = 2;

    /// Position of the timer that fires a window early.
    pub const EARLY: u32 = 3;

    /// What a window does is the work of timers; the operator declares none itself.
    #[must_use]
    pub fn timers() -> Vec<TimerDescriptor> {
        let timer = |(name, clock): (&str, TimerClock)| TimerDescriptor { name: name.to_owned(), clock };
        let names = [
            ("window-end", TimerClock::Event),
            ("window-late", TimerClock::Event),
            ("window-over", TimerClock::Event),
            ("window-early", TimerClock::Processing),
        ];
        names.map(timer).to_vec()
    }

    /// What an operator in these windows says of itself, with what the host needs for them.
    #[must_use]
    pub fn describe(self, descriptor: Descriptor) -> Descriptor {
        let mut timers = Self::timers();
        if self.early_ms.is_none() {
            timers.truncate(Self::EARLY as usize);
        }
        Descriptor { timers, ..descriptor }
    }

    /// Where the windows begin that a record belongs to, the latest first.
    pub fn starts(self, time_ms: i64) -> impl Iterator<Item = i64> {
        let (size_ms, slide_ms, offset_ms) = self.kind.grid();
        let (time, slide, size) = (i128::from(time_ms), i128::from(slide_ms.max(1)), i128::from(size_ms));
        let last = time - (time - i128::from(offset_ms)).rem_euclid(slide);
        let starts = (0..).map(move |number: i128| last - number * slide).take_while(move |start| start + size > time);
        // A window that begins before the beginning of time is one that nobody can name.
        starts.filter_map(|start| i64::try_from(start).ok())
    }

    /// Where a window ends that begins there.
    #[must_use]
    pub fn end_ms(self, start_ms: i64) -> i64 {
        start_ms.saturating_add_unsigned(self.kind.size_ms())
    }

    /// From when on a window that begins there takes no records any more.
    #[must_use]
    pub fn over_ms(self, start_ms: i64) -> i64 {
        self.end_ms(start_ms).saturating_add_unsigned(self.lateness_ms)
    }

    /// Whether a window takes no records any more.
    #[must_use]
    pub fn is_over(self, start_ms: i64, watermark_ms: Option<i64>) -> bool {
        watermark_ms.is_some_and(|watermark_ms| self.over_ms(start_ms) <= watermark_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windowing(kind: WindowKind) -> Windowing {
        Windowing { kind, lateness_ms: 0, early_ms: None }
    }

    proptest! {
        #[test]
        fn a_record_belongs_to_the_windows_that_it_lies_in(
            size_ms in 1u64..50, slide_ms in 1u64..50, offset_ms in -100i64..100, time_ms in -300i64..300,
        ) {
            let found: Vec<i64> = windowing(WindowKind::Sliding { size_ms, slide_ms, offset_ms }).starts(time_ms).collect();
            let is_start = |start: &i64| (start - offset_ms).rem_euclid(slide_ms as i64) == 0;
            let expected: Vec<i64> = (time_ms - size_ms as i64 + 1..=time_ms).rev().filter(is_start).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn tumbling_windows_are_sliding_ones_that_slide_by_their_length(
            size_ms in 1u64..50, offset_ms in -100i64..100, time_ms: i64,
        ) {
            let tumbling: Vec<i64> = windowing(WindowKind::Tumbling { size_ms, offset_ms }).starts(time_ms).collect();
            let sliding = windowing(WindowKind::Sliding { size_ms, slide_ms: size_ms, offset_ms });
            prop_assert_eq!(&tumbling, &sliding.starts(time_ms).collect::<Vec<_>>());
            prop_assert!(tumbling.len() <= 1);
        }
    }

    #[test]
    fn days_of_another_time_zone_begin_where_its_midnight_is() {
        const HOUR_MS: i64 = 3_600_000;
        let kind = WindowKind::Tumbling { size_ms: 24 * HOUR_MS as u64, offset_ms: -2 * HOUR_MS };
        // 1970-01-01T23:00Z is 01:00 of the second day at +02:00.
        assert_eq!(windowing(kind).starts(23 * HOUR_MS).collect::<Vec<_>>(), [22 * HOUR_MS]);
    }

    #[test]
    fn the_ends_of_time_overflow_nothing() {
        let kind = WindowKind::Tumbling { size_ms: u64::MAX, offset_ms: 0 };
        for time_ms in [i64::MIN, -1, 0, i64::MAX] {
            windowing(kind).starts(time_ms).for_each(|start| assert!(windowing(kind).over_ms(start) >= time_ms));
        }
    }
}
