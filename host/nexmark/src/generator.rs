use crate::event::{Auction, Bid, Channel, Event, Filler, Person};
use crate::random::Random;
use crate::words::{CITIES, FIRST_NAMES, HOT_CHANNELS, LAST_NAMES, STATES};

/// Events of a round: one person, three auctions, 46 bids, in this order.
const ROUND: u64 = 50;
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;

const FIRST_ID: u64 = 1_000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// How far ahead of the newest one an event may name a person or an auction that is not there yet.
const ID_LEAD: u64 = 10;
/// What is hot is the newest multiple of this.
const HOT_EVERY: u64 = 100;
const CHANNELS: u64 = 10_000;

/// What the events depend on. Other settings give other events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Other seeds give other events.
    pub seed: u64,
    /// Event time of event 0, in milliseconds since 1970.
    pub start_ms: i64,
    /// Event time from one event to the next, in microseconds.
    pub period_us: u64,
    /// Auctions that get bids at a time.
    pub auctions_in_flight: u64,
    /// Persons who sell and bid at a time.
    pub active_persons: u64,
    /// One bid in so many goes to any auction, the others to the hot one.
    pub hot_auction_ratio: u64,
    /// One bid in so many comes from anybody, the others from the hot bidder.
    pub hot_bidder_ratio: u64,
    /// One auction in so many is anybody's, the others the hot seller's.
    pub hot_seller_ratio: u64,
    /// Sizes of a person, an auction and a bid as the benchmark counts them: texts by their bytes, numbers as 8; on average, ± 20 %.
    pub sizes_bytes: [u16; 3],
}

impl Default for Settings {
    /// The benchmark's defaults; 10 000 events per second of event time.
    fn default() -> Self {
        Self {
            seed: 0,
            start_ms: 1_436_918_400_000,
            period_us: 100,
            auctions_in_flight: 100,
            active_persons: 1_000,
            hot_auction_ratio: 2,
            hot_bidder_ratio: 4,
            hot_seller_ratio: 4,
            sizes_bytes: [200, 500, 100],
        }
    }
}

/// The events, each a pure function of the settings and its index.
///
/// ```
/// use millstream_nexmark::{EventKind, Generator, Settings, write_json};
///
/// let generator = Generator::new(Settings::default());
/// let event = generator.event(1_000_000);
/// assert_eq!(event.kind(), EventKind::Person);
/// assert_eq!(event, generator.event(1_000_000));
///
/// let mut json = Vec::new();
/// write_json(&event, &mut json);
/// assert!(json.starts_with(br#"{"event_type":0,"person":{"id":21000,"#));
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    settings: Settings,
}

impl Generator {
    /// A generator of these events.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// What the events depend on.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Event time of an event, in milliseconds since 1970; never descends with the index.
    #[must_use]
    pub fn timestamp_ms(&self, index: u64) -> i64 {
        let since_us = u128::from(index) * u128::from(self.settings.period_us);
        self.settings.start_ms.saturating_add(i64::try_from(since_us / 1_000).unwrap_or(i64::MAX))
    }

    /// The event at an index.
    #[must_use]
    pub fn event(&self, index: u64) -> Event {
        let mut random = Random::of_event(self.settings.seed, index);
        let at = index % ROUND;
        if at < PERSONS {
            Event::Person(self.person(index, &mut random))
        } else if at < PERSONS + AUCTIONS {
            Event::Auction(self.auction(index, &mut random))
        } else {
            Event::Bid(self.bid(index, &mut random))
        }
    }

    fn person(&self, index: u64, random: &mut Random) -> Person {
        let [size, ..] = self.settings.sizes_bytes;
        let (first_name, last_name, city) = (random.pick(FIRST_NAMES), random.pick(LAST_NAMES), random.pick(CITIES));
        // Name, address of the same words, sixteen digits with blanks, city and state.
        let texts = 2 * (first_name.len() + last_name.len() + 1) + "@example.org".len() + 19 + city.len() + 2;
        Person {
            id: FIRST_ID + newest_person(index),
            first_name,
            last_name,
            credit_card: random.below(10_000_000_000_000_000),
            city,
            state: random.pick(STATES),
            date_time_ms: self.timestamp_ms(index),
            extra: filler(random, size, texts + 16),
        }
    }

    fn auction(&self, index: u64, random: &mut Random) -> Auction {
        let [_, size, _] = self.settings.sizes_bytes;
        let hot = random.is_hot(self.settings.hot_seller_ratio);
        let seller = if hot { newest_person(index) / HOT_EVERY * HOT_EVERY } else { self.any_person(index, random) };
        let item_name = Filler { seed: random.next(), len: 3 + random.below(18) as u16 };
        let description = Filler { seed: random.next(), len: 3 + random.below(98) as u16 };
        let initial_bid = price(random);
        let date_time_ms = self.timestamp_ms(index);
        // On average an auction lasts until as many others have been put up as are in flight.
        let events_in_flight = self.settings.auctions_in_flight.saturating_mul(ROUND) / AUCTIONS;
        let lasts_ms = events_in_flight.saturating_mul(self.settings.period_us).saturating_mul(2) / 1_000;
        let lasts_ms = i64::try_from(1 + random.below(lasts_ms.max(1))).unwrap_or(i64::MAX);
        Auction {
            id: FIRST_ID + newest_auction(index),
            item_name,
            description,
            initial_bid,
            reserve: initial_bid + price(random),
            date_time_ms,
            expires_ms: date_time_ms.saturating_add(lasts_ms),
            seller: FIRST_ID + seller,
            category: FIRST_CATEGORY + random.below(CATEGORIES),
            extra: filler(random, size, usize::from(item_name.len + description.len) + 56),
        }
    }

    fn bid(&self, index: u64, random: &mut Random) -> Bid {
        let [.., size] = self.settings.sizes_bytes;
        let newest = newest_auction(index);
        let hot = random.is_hot(self.settings.hot_auction_ratio);
        let auction = if hot { newest / HOT_EVERY * HOT_EVERY } else { self.any_auction(newest, random) };
        let hot = random.is_hot(self.settings.hot_bidder_ratio);
        // Beside the hot seller, so that nobody is hot as both.
        let bidder =
            if hot { newest_person(index) / HOT_EVERY * HOT_EVERY + 1 } else { self.any_person(index, random) };
        let hot = random.is_hot(2);
        let channel =
            if hot { Channel::Hot(random.pick(HOT_CHANNELS)) } else { Channel::Numbered(random.below(CHANNELS)) };
        Bid {
            auction: FIRST_ID + auction,
            bidder: FIRST_ID + bidder,
            price: price(random),
            channel,
            date_time_ms: self.timestamp_ms(index),
            // As the benchmark counts: the channel and its address do not belong to the size.
            extra: filler(random, size, 32),
        }
    }

    /// One of the active persons, or one who is about to come.
    fn any_person(&self, index: u64, random: &mut Random) -> u64 {
        let persons = newest_person(index) + 1;
        let active = persons.min(self.settings.active_persons);
        persons - active + random.below(active + ID_LEAD)
    }

    /// One of the auctions in flight, or one that is about to come.
    fn any_auction(&self, newest: u64, random: &mut Random) -> u64 {
        let oldest = newest.saturating_sub(self.settings.auctions_in_flight);
        oldest + random.below(newest - oldest + 1 + ID_LEAD)
    }
}

/// The person whose event is the last one up to `index`, counted from 0.
fn newest_person(index: u64) -> u64 {
    index / ROUND * PERSONS
}

/// The auction whose event is the last one up to `index`, counted from 0. Only asked for behind the first person.
fn newest_auction(index: u64) -> u64 {
    index / ROUND * AUCTIONS + (index % ROUND).saturating_sub(PERSONS).min(AUCTIONS - 1)
}

/// From one to a million, in cents: every power of ten is as likely. The benchmark draws a smooth logarithm; integers are the same everywhere.
fn price(random: &mut Random) -> u64 {
    let unit = 10u64.pow(random.below(6) as u32);
    100 * unit + random.below(900 * unit)
}

/// What is missing to the size, ± 20 %.
fn filler(random: &mut Random, size: u16, texts: usize) -> Filler {
    let missing = usize::from(size).saturating_sub(texts) as u64;
    let spread = missing / 5;
    Filler { seed: random.next(), len: (missing - spread + random.below(2 * spread + 1)) as u16 }
}
