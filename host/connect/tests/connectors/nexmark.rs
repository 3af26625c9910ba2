//! The generator as a source.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::support::{FakeClock, drain, limits, poll, positions};
use millstream_connect::{NexmarkKey, NexmarkSettings, NexmarkSource, Share};
use millstream_engine::ports::{Clock, Source};
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_nexmark::{Event, Generator, write_json};
use proptest::prelude::*;

fn settings(partitions: u32, events_max: u64) -> NexmarkSettings {
    NexmarkSettings { partitions, events_max: Some(events_max), ..NexmarkSettings::new("in") }
}

fn open(settings: NexmarkSettings) -> NexmarkSource {
    NexmarkSource::new(settings, Share::whole(), FakeClock::shared())
}

#[test]
fn values_and_times_are_those_of_the_event_at_the_offset() {
    let settings = settings(3, 500);
    let generator = Generator::new(settings.events.clone());
    let rows = drain(&mut open(settings), &BatchLimits::default());
    assert_eq!(rows.len(), 500);
    for row in rows {
        let event = generator.event(row.offset as u64);
        let mut json = Vec::new();
        write_json(&event, &mut json);
        assert_eq!((row.value, row.timestamp_ms), (json, event.timestamp_ms()));
        assert_eq!(i64::from(row.partition), row.offset % 3);
        assert_eq!(row.key, None);
    }
}

#[test]
fn keys_are_what_the_setting_says() {
    let keys = |key| drain(&mut open(NexmarkSettings { key, ..settings(1, 50) }), &BatchLimits::default());
    let text = |key: &Option<Vec<u8>>| key.as_ref().map(|key| String::from_utf8(key.clone()).unwrap());
    let types: Vec<_> = keys(NexmarkKey::Type).iter().map(|row| text(&row.key).unwrap()).collect();
    assert_eq!(types[..5], ["person", "auction", "auction", "auction", "bid"]);
    let generator = Generator::new(settings(1, 50).events);
    for row in keys(NexmarkKey::Auction) {
        let expected = match generator.event(row.offset as u64) {
            Event::Person(_) => None,
            Event::Auction(auction) => Some(auction.id.to_string()),
            Event::Bid(bid) => Some(bid.auction.to_string()),
        };
        assert_eq!(text(&row.key), expected);
    }
    for row in keys(NexmarkKey::Bidder) {
        assert_eq!(text(&row.key), Some(generator.event(row.offset as u64).person().to_string()));
    }
}

#[test]
fn a_rate_paces_and_changes_nothing_else() {
    let clock = FakeClock::shared();
    let rated = NexmarkSettings { events_per_second: Some(10_000), ..settings(2, 5_000) };
    let mut source = NexmarkSource::new(rated, Share::whole(), clock.clone());
    let paced = drain(&mut source, &BatchLimits::default());
    let elapsed_ms = clock.monotonic_ms();
    assert!((500..=510).contains(&elapsed_ms), "5 000 events took {elapsed_ms} ms at 10 000 a second");
    assert_eq!(paced, drain(&mut open(settings(2, 5_000)), &BatchLimits::default()));
}

#[test]
fn a_source_that_was_held_up_does_not_burst() {
    let clock = FakeClock::shared();
    let rated = NexmarkSettings { events_per_second: Some(1_000), ..settings(1, 1_000_000) };
    let mut source = NexmarkSource::new(rated, Share::whole(), clock.clone());
    poll(&mut source, &BatchLimits::default());
    clock.pause(60_000);
    let mut rows = 0;
    while clock.monotonic_ms() < 60_100 {
        rows += poll(&mut source, &BatchLimits::default()).0.len();
    }
    assert!((90..=110).contains(&rows), "{rows} events in 100 ms at 1 000 a second");
}

#[test]
fn positions_of_another_number_of_partitions_are_refused() {
    for (old, new) in [(4, 2), (2, 4), (3, 1), (1, 3)] {
        for polls in 0..6 {
            let mut source = open(settings(old, 1_000));
            for _ in 0..polls {
                poll(&mut source, &limits(7, 1 << 20));
            }
            let error = open(settings(new, 1_000)).seek(&positions(&source)).unwrap_err().to_string();
            assert!(error.contains(&format!("cannot be with the present `partitions: {new}`")), "{error}");
            open(settings(old, 1_000)).seek(&positions(&source)).unwrap();
        }
    }
}

#[test]
fn other_events_are_another_source() {
    let name = |settings: NexmarkSettings| settings.identity().name;
    let mut other = settings(1, 10);
    other.events.seed = 1;
    assert_ne!(name(other.clone()), name(settings(1, 10)));
    other.events.seed = 0;
    assert_eq!(name(other.clone()), name(settings(1, 20)), "how many there are may change");
    other.events.period_us += 1;
    assert_ne!(name(other), name(settings(1, 10)));
}

proptest! {
    #[test]
    fn a_restart_at_any_position_gives_the_same_records(
        partitions in 1u32..6, workers in 1u32..4, events in 0u64..300, rows_max in 1usize..40, stops in prop::collection::vec(0usize..5, 0..20),
    ) {
        let limits = limits(rows_max, 1 << 20);
        let mut whole = drain(&mut open(settings(partitions, events)), &BatchLimits::default());
        whole.sort();
        let make = |worker| {
            NexmarkSource::new(settings(partitions, events), Share { worker, workers, first: PartitionIndex(0) }, FakeClock::shared())
        };
        let mut sources: Vec<_> = (0..workers).map(make).collect();
        let (mut committed, mut at) = (Vec::new(), Vec::new());
        for (number, &polls) in stops.iter().enumerate() {
            let mut rows = Vec::new();
            for source in &mut sources {
                for _ in 0..polls {
                    rows.extend(poll(source, &limits).0);
                }
            }
            if number % 3 == 0 {
                if number % 2 == 0 {
                    sources = (0..workers).map(make).collect();
                }
                for source in &mut sources {
                    source.seek(&at).unwrap();
                }
            } else {
                committed.extend(rows);
                at = sources.iter().flat_map(|source| positions(source)).collect();
            }
        }
        for source in &mut sources {
            committed.extend(drain(source, &limits));
        }
        committed.sort();
        prop_assert_eq!(committed, whole);
    }
}
