//! What the generator promises.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use millstream_nexmark::{Auction, Bid, Event, EventKind, Generator, Person, Settings, write_json};
use proptest::prelude::*;
use serde_json::Value;

fn json(event: &Event) -> String {
    let mut bytes = Vec::new();
    write_json(event, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

fn persons(events: &[Event]) -> Vec<&Person> {
    events.iter().filter_map(|event| if let Event::Person(person) = event { Some(person) } else { None }).collect()
}

fn auctions(events: &[Event]) -> Vec<&Auction> {
    events.iter().filter_map(|event| if let Event::Auction(auction) = event { Some(auction) } else { None }).collect()
}

fn bids(events: &[Event]) -> Vec<&Bid> {
    events.iter().filter_map(|event| if let Event::Bid(bid) = event { Some(bid) } else { None }).collect()
}

fn first(count: u64) -> Vec<Event> {
    let generator = Generator::new(Settings::default());
    (0..count).map(|index| generator.event(index)).collect()
}

/// What has been generated once has to come out the same for ever: positions in commits refer to it.
#[test]
fn events_stay_what_they_were() {
    let generator = Generator::new(Settings { seed: 7, sizes_bytes: [110, 250, 60], ..Settings::default() });
    let lines: Vec<String> = [0, 1, 4, 1_000_003, 99_999_999_999].map(|index| json(&generator.event(index))).into();
    assert_eq!(lines.join("\n"), include_str!("golden.jsonl").trim_end());
}

#[test]
fn one_person_three_auctions_and_46_bids_make_a_round() {
    let events = first(50 * 40);
    for round in events.chunks(50) {
        let kinds: Vec<EventKind> = round.iter().map(Event::kind).collect();
        assert_eq!(kinds[..4], [EventKind::Person, EventKind::Auction, EventKind::Auction, EventKind::Auction]);
        assert!(kinds[4..].iter().all(|&kind| kind == EventKind::Bid));
    }
}

#[test]
fn ids_of_persons_and_auctions_rise_by_one() {
    let events = first(50 * 20);
    assert_eq!(persons(&events).iter().map(|person| person.id).collect::<Vec<_>>(), (1_000..1_020).collect::<Vec<_>>());
    assert_eq!(
        auctions(&events).iter().map(|auction| auction.id).collect::<Vec<_>>(),
        (1_000..1_060).collect::<Vec<_>>()
    );
}

#[test]
fn events_name_auctions_in_flight_and_active_persons() {
    let events = first(50 * 2_000);
    let (mut persons, mut auctions) = (0, 0);
    for event in &events {
        match event {
            Event::Person(_) => persons += 1,
            Event::Auction(auction) => {
                auctions += 1;
                assert!((1_000..1_000 + persons + 10).contains(&auction.seller), "{auction:?}");
                assert!(
                    auction.reserve > auction.initial_bid && auction.expires_ms > auction.date_time_ms,
                    "{auction:?}"
                );
                assert!((10..15).contains(&auction.category), "{auction:?}");
            }
            Event::Bid(bid) => {
                let oldest = auctions_before(auctions);
                assert!((oldest..1_000 + auctions + 10).contains(&bid.auction), "{bid:?} with {auctions} auctions");
                assert!((1_000..1_000 + persons + 10).contains(&bid.bidder), "{bid:?} with {persons} persons");
                assert!((100..100_000_000).contains(&bid.price), "{bid:?}");
            }
        }
    }
}

/// The oldest auction that may get bids: 100 are in flight, and the hot one is the newest multiple of 100.
fn auctions_before(auctions: u64) -> u64 {
    1_000 + auctions.saturating_sub(101)
}

#[test]
fn half_of_the_bids_go_to_the_hot_auction_and_three_quarters_come_from_the_hot_bidder() {
    let events = first(50 * 4_000);
    let bids = bids(&events);
    let share =
        |is_hot: &dyn Fn(&Bid) -> bool| bids.iter().filter(|bid| is_hot(bid)).count() as f64 / bids.len() as f64;
    // Now and then the others name the hot one too, so a little more than the ratio.
    let hot_auction = share(&|bid| bid.auction % 100 == 0);
    assert!((0.49..0.52).contains(&hot_auction), "{hot_auction}");
    let hot_bidder = share(&|bid| bid.bidder % 100 == 1);
    assert!((0.74..0.77).contains(&hot_bidder), "{hot_bidder}");
}

#[test]
fn sizes_are_the_configured_ones_on_average() {
    for (kind, size) in [(EventKind::Person, 200), (EventKind::Auction, 500)] {
        let lengths: Vec<usize> =
            first(50 * 1_000).iter().filter(|e| e.kind() == kind).map(|e| json(e).len()).collect();
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        // JSON adds names and digits to what the benchmark counts.
        assert!((size..size + 250).contains(&mean), "{kind:?}: {mean}");
    }
}

#[test]
fn json_has_the_fields_of_the_benchmark() {
    let fields = |event: &Event, name: &str| {
        let value: Value = serde_json::from_str(&json(event)).unwrap();
        assert_eq!(value["event_type"], event.kind() as u8);
        assert_eq!(value[name]["dateTime"], event.timestamp_ms());
        let mut names: Vec<String> = value[name].as_object().unwrap().keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    let events = first(5);
    assert_eq!(fields(&events[0], "person"), "city creditCard dateTime emailAddress extra id name state");
    assert_eq!(
        fields(&events[1], "auction"),
        "category dateTime description expires extra id initialBid itemName reserve seller"
    );
    assert_eq!(fields(&events[4], "bid"), "auction bidder channel dateTime extra price url");
}

#[test]
fn another_seed_gives_other_events() {
    let other = Generator::new(Settings { seed: 1, ..Settings::default() });
    let events = first(200);
    let same = events.iter().zip(0..).filter(|&(event, index)| *event == other.event(index)).count();
    assert_eq!(same, 0);
}

proptest! {
    #[test]
    fn any_index_and_any_settings_give_valid_json_and_times_that_never_descend(
        index in any::<u64>(), seed in any::<u64>(), period_us in 0..u64::MAX / 4, start_ms in any::<i64>(),
        in_flight in 0..u64::MAX / 100, active in 0..u64::MAX / 100, ratio in any::<u64>(), sizes in any::<[u16; 3]>(),
    ) {
        let settings = Settings {
            seed, start_ms, period_us, auctions_in_flight: in_flight, active_persons: active, sizes_bytes: sizes,
            hot_auction_ratio: ratio, hot_bidder_ratio: ratio, hot_seller_ratio: ratio,
        };
        let generator = Generator::new(settings);
        let event = generator.event(index);
        prop_assert_eq!(event, generator.event(index));
        let value: Value = serde_json::from_str(&json(&event)).unwrap();
        prop_assert!(value["event_type"].is_u64());
        prop_assert!(generator.timestamp_ms(index) <= generator.timestamp_ms(index.saturating_add(1)));
    }
}
