use crate::event::{Auction, Bid, Channel, Event, Filler, Person};
use crate::random::Random;

/// Appends an event as one line of JSON, without the newline, in the field names of the benchmark:
/// `{"event_type":2,"bid":{"auction":…,"bidder":…,"price":…,"channel":…,"url":…,"dateTime":…,"extra":…}}`.
/// Times are milliseconds since 1970. Texts are letters that need no escape.
pub fn write_json(event: &Event, out: &mut Vec<u8>) {
    text(out, "{\"event_type\":");
    number(out, event.kind() as u64);
    text(out, ",\"");
    text(out, event.kind().name());
    text(out, "\":");
    match event {
        Event::Person(event) => person(event, out),
        Event::Auction(event) => auction(event, out),
        Event::Bid(event) => bid(event, out),
    }
    out.push(b'}');
}

fn person(person: &Person, out: &mut Vec<u8>) {
    number_field(out, "{\"id\":", person.id);
    text(out, ",\"name\":\"");
    text(out, person.first_name);
    out.push(b' ');
    text(out, person.last_name);
    text(out, "\",\"emailAddress\":\"");
    text(out, person.first_name);
    out.push(b'.');
    text(out, person.last_name);
    text(out, "@example.org\",\"creditCard\":\"");
    for four in [1_000_000_000_000, 100_000_000, 10_000, 1] {
        let digits = person.credit_card / four % 10_000;
        if four < 1_000_000_000_000 {
            out.push(b' ');
        }
        out.extend([1_000, 100, 10, 1].map(|unit| b'0' + (digits / unit % 10) as u8));
    }
    text(out, "\",\"city\":\"");
    text(out, person.city);
    text(out, "\",\"state\":\"");
    text(out, person.state);
    time_field(out, "\",\"dateTime\":", person.date_time_ms);
    extra(out, person.extra);
}

fn auction(auction: &Auction, out: &mut Vec<u8>) {
    number_field(out, "{\"id\":", auction.id);
    text(out, ",\"itemName\":\"");
    letters(out, auction.item_name);
    text(out, "\",\"description\":\"");
    letters(out, auction.description);
    number_field(out, "\",\"initialBid\":", auction.initial_bid);
    number_field(out, ",\"reserve\":", auction.reserve);
    time_field(out, ",\"dateTime\":", auction.date_time_ms);
    time_field(out, ",\"expires\":", auction.expires_ms);
    number_field(out, ",\"seller\":", auction.seller);
    number_field(out, ",\"category\":", auction.category);
    extra(out, auction.extra);
}

fn bid(bid: &Bid, out: &mut Vec<u8>) {
    number_field(out, "{\"auction\":", bid.auction);
    number_field(out, ",\"bidder\":", bid.bidder);
    number_field(out, ",\"price\":", bid.price);
    text(out, ",\"channel\":\"");
    match bid.channel {
        Channel::Hot(name) => {
            text(out, name);
            text(out, "\",\"url\":\"https://www.example.org/item.htm?query=1");
        }
        Channel::Numbered(channel) => {
            number_field(out, "channel-", channel);
            number_field(out, "\",\"url\":\"https://www.example.org/item.htm?query=1&channel_id=", channel);
        }
    }
    time_field(out, "\",\"dateTime\":", bid.date_time_ms);
    extra(out, bid.extra);
}

fn extra(out: &mut Vec<u8>, filler: Filler) {
    text(out, ",\"extra\":\"");
    letters(out, filler);
    text(out, "\"}");
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn number_field(out: &mut Vec<u8>, before: &str, value: u64) {
    text(out, before);
    number(out, value);
}

fn time_field(out: &mut Vec<u8>, before: &str, time_ms: i64) {
    text(out, before);
    if time_ms < 0 {
        out.push(b'-');
    }
    number(out, time_ms.unsigned_abs());
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    let first = out.len();
    loop {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(first..) {
        digits.reverse();
    }
}

/// Twelve letters from each number drawn, five bits each.
fn letters(out: &mut Vec<u8>, filler: Filler) {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz ABCDE";
    let mut random = Random::from_seed(filler.seed);
    let mut left = usize::from(filler.len);
    while left > 0 {
        let bits = random.next();
        let count = left.min(12);
        out.extend((0..count).map(|at| LETTERS.get((bits >> (5 * at) & 31) as usize).copied().unwrap_or(b'a')));
        left -= count;
    }
}
