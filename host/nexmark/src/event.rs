/// What happened at the auction house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody signed up.
    Person(Person),
    /// Something was put up for sale.
    Auction(Auction),
    /// Somebody made an offer.
    Bid(Bid),
}

/// The three kinds of events; their numbers are the `event_type` of the benchmark's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// See [`Person`].
    Person = 0,
    /// See [`Auction`].
    Auction = 1,
    /// See [`Bid`].
    Bid = 2,
}

impl EventKind {
    /// `person`, `auction` or `bid`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        }
    }
}

impl Event {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Person(_) => EventKind::Person,
            Self::Auction(_) => EventKind::Auction,
            Self::Bid(_) => EventKind::Bid,
        }
    }

    /// When it happened, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        match self {
            Self::Person(person) => person.date_time_ms,
            Self::Auction(auction) => auction.date_time_ms,
            Self::Bid(bid) => bid.date_time_ms,
        }
    }

    /// The auction it is about: one put up for sale, or the one bid on.
    #[must_use]
    pub fn auction(&self) -> Option<u64> {
        match self {
            Self::Person(_) => None,
            Self::Auction(auction) => Some(auction.id),
            Self::Bid(bid) => Some(bid.auction),
        }
    }

    /// The person it is about: the one who signed up, sells or bids.
    #[must_use]
    pub fn person(&self) -> u64 {
        match self {
            Self::Person(person) => person.id,
            Self::Auction(auction) => auction.seller,
            Self::Bid(bid) => bid.bidder,
        }
    }
}

/// Text without meaning that brings an event to its size; letters follow from the seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filler {
    pub(crate) seed: u64,
    /// Length in bytes.
    pub len: u16,
}

/// Somebody who may sell and bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Rises by one from person to person.
    pub id: u64,
    /// First name.
    pub first_name: &'static str,
    /// Last name.
    pub last_name: &'static str,
    /// Sixteen digits.
    pub credit_card: u64,
    /// City in the United States.
    pub city: &'static str,
    /// Two letters.
    pub state: &'static str,
    /// When they signed up, in milliseconds since 1970.
    pub date_time_ms: i64,
    /// Brings the event to its size.
    pub extra: Filler,
}

/// Something for sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auction {
    /// Rises by one from auction to auction.
    pub id: u64,
    /// What is sold.
    pub item_name: Filler,
    /// More about it.
    pub description: Filler,
    /// First price, in cents.
    pub initial_bid: u64,
    /// Price below which it is not sold, in cents.
    pub reserve: u64,
    /// When it was put up, in milliseconds since 1970.
    pub date_time_ms: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: i64,
    /// The person who sells.
    pub seller: u64,
    /// One of five.
    pub category: u64,
    /// Brings the event to its size.
    pub extra: Filler,
}

/// An offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bid {
    /// The auction it is for.
    pub auction: u64,
    /// The person who makes it.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// Where it came from.
    pub channel: Channel,
    /// When it was made, in milliseconds since 1970.
    pub date_time_ms: i64,
    /// Brings the event to its size.
    pub extra: Filler,
}

/// Where a bid came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// One of the few that half of the bids come from.
    Hot(&'static str),
    /// One of many.
    Numbered(u64),
}
