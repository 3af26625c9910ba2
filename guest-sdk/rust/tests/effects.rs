//! What records do, and that a rejected one did nothing.

use millstream_sdk::harness::{Harness, Message};
use millstream_sdk::{
    Context, Counter, Field, Gauge, Header, Histogram, Input, Json, Operator, Outgoing, Output, Postcard, Record,
    Result, Setup, Value, reject, stop,
};
use serde::{Deserialize, Serialize};

/// Does what the value of a record says, word by word.
struct Obedient {
    left: Input,
    plain: Output,
    other: Output,
    text: Value<String>,
    number: Value<i32>,
    counter: Counter,
    gauge: Gauge,
    histogram: Histogram,
}

impl Operator for Obedient {
    fn open(setup: &mut Setup) -> Result<Self> {
        let left = setup.input("left");
        setup.input("right");
        Ok(Self {
            left,
            plain: setup.output("plain"),
            other: setup.output("other"),
            text: setup.value("text"),
            number: setup.value("number"),
            counter: setup.counter("words"),
            gauge: setup.gauge("last"),
            histogram: setup.histogram("lengths"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let headers: [Header<'_>; 2] = [("a", Some(b"1")), ("a", None)];
        for word in record.text()?.split(' ') {
            ctx.count(self.counter, 1);
            ctx.gauge(self.gauge, word.len() as f64);
            ctx.observe(self.histogram, word.len() as f64);
            match word {
                "forward" => ctx.forward(self.plain),
                "side" => ctx.forward(self.other),
                "emit" => ctx.emit(self.plain, b"emitted"),
                "tombstone" => ctx.emit_fields(self.plain, Field::Keep, Field::Set(None)),
                "unkeyed" => ctx.emit_fields(self.plain, Field::Set(None), Field::Keep),
                "late" => ctx.emit_record(self.plain, &Outgoing { timestamp_ms: Some(99), ..Outgoing::default() }),
                "header" => ctx.emit_record(self.plain, &Outgoing { headers: Some(&headers), ..Outgoing::default() }),
                "bare" => ctx.emit_record(self.plain, &Outgoing { headers: Some(&[]), ..Outgoing::default() }),
                "write" => {
                    let before = self.text.get(ctx)?.unwrap_or_default();
                    self.text.set(ctx, &format!("{before}w"));
                    let before = self.number.get(ctx)?.unwrap_or(0);
                    self.number.set(ctx, &(before - 1));
                }
                "clear" => self.text.clear(ctx),
                "large" => ctx.emit(self.plain, &vec![b'x'; 2 << 20]),
                "input" => ctx.emit_display(self.plain, record.input() == self.left),
                "reject" => return Err(reject("as told")),
                "stop" => return Err(stop("as told")),
                number => ctx.emit_display(self.plain, number.parse::<u64>()?),
            }
        }
        Ok(())
    }
}

fn run(values: &[&str]) -> Harness<Obedient> {
    let mut harness = Harness::new("{}");
    for value in values {
        harness.push_message(Message::new("k", value).at(7).header("h", "v"));
    }
    harness
}

#[test]
fn records_go_where_they_are_sent_in_order() {
    let harness = run(&["forward side emit", "side", "7"]);
    assert_eq!(harness.outputs("plain"), [("k", "forward side emit"), ("k", "emitted"), ("k", "7")]);
    assert_eq!(harness.outputs("other"), [("k", "forward side emit"), ("k", "side")]);
}

#[test]
fn what_is_not_set_is_the_parents() {
    let harness = run(&["emit", "late", "header", "bare", "tombstone", "unkeyed"]);
    let shown: Vec<String> = harness.outputs("plain").iter().map(|emitted| format!("{emitted:?}")).collect();
    let expected = [
        r#"("k", "emitted") at 7 h: "v""#,
        r#"("k", "late") at 99 h: "v""#,
        r#"("k", "header") at 7 a: "1" a: null"#,
        r#"("k", "bare") at 7"#,
        r#"("k", null) at 7 h: "v""#,
        r#"(null, "unkeyed") at 7 h: "v""#,
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_rejected_record_leaves_no_trace() {
    let harness = run(&["write forward 1", "write clear emit side 2 large reject", "write forward", "nonsense"]);
    assert_eq!(harness.outputs("plain"), [("k", "write forward 1"), ("k", "1"), ("k", "write forward")]);
    assert!(harness.outputs("other").is_empty());
    assert_eq!(harness.state::<String>("text", "k").as_deref(), Some("ww"));
    assert_eq!(harness.state::<i32>("number", "k"), Some(-2));
    let words = ["write", "forward", "1", "write", "forward"].map(|word| word.len() as f64);
    assert_eq!((harness.counter("words"), harness.gauge("last")), (5, Some(7.0)));
    assert_eq!(harness.observations("lengths"), words);
    let expected = [("write clear emit side 2 large reject", "as told"), ("nonsense", "invalid digit found in string")];
    assert_eq!(harness.rejected(), expected);
}

#[test]
fn a_cleared_value_is_gone_and_can_be_written_again() {
    let harness = run(&["write write", "clear", "write"]);
    assert_eq!(harness.state::<String>("text", "k").as_deref(), Some("w"));
    assert_eq!(run(&["write", "clear"]).state::<String>("text", "k"), None);
}

#[test]
fn stopping_tells_why() {
    assert_eq!(run(&["forward", "stop", "forward"]).stopped(), Some("as told"));
    assert_eq!(run(&["forward"]).stopped(), None);
}

#[test]
fn records_know_their_input() {
    let mut harness = Harness::<Obedient>::new("{}");
    harness.push("k", "input").push_message(Message::new("k", "input").input("right"));
    assert_eq!(harness.outputs("plain"), [("k", "true"), ("k", "false")]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u32,
    tags: Vec<String>,
}

/// One state per encoding.
struct Encodings {
    json: Value<Json<Order>>,
    postcard: Value<Postcard<Order>>,
    raw: Value<Vec<u8>>,
    wide: Value<i128>,
}

impl Operator for Encodings {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self {
            json: setup.value("json"),
            postcard: setup.value("postcard"),
            raw: setup.value("raw"),
            wide: setup.value("wide"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let mut order: Order = record.json()?;
        if let Some(Json(before)) = self.json.get(ctx)? {
            order.tags.extend(before.tags);
        }
        self.json.set(ctx, &Json(order.clone()));
        self.postcard.set(ctx, &Postcard(order));
        self.raw.set(ctx, &record.bytes()?.to_vec());
        let wide = self.wide.get(ctx)?.unwrap_or(i128::MIN);
        self.wide.set(ctx, &(wide + 1));
        Ok(())
    }
}

#[test]
fn every_encoding_comes_back_after_a_restart() {
    let mut harness = Harness::<Encodings>::new("{}");
    harness.push("k", r#"{"id":1,"tags":["a"]}"#).restart().push("k", r#"{"id":2,"tags":["b"]}"#).push("k", "{");
    let expected = Order { id: 2, tags: vec!["b".to_owned(), "a".to_owned()] };
    assert_eq!(harness.state("json", "k"), Some(Json(expected.clone())));
    assert_eq!(harness.state("postcard", "k"), Some(Postcard(expected)));
    assert_eq!(harness.state::<Vec<u8>>("raw", "k").as_deref(), Some(&br#"{"id":2,"tags":["b"]}"#[..]));
    assert_eq!(harness.state::<i128>("wide", "k"), Some(i128::MIN + 2));
    assert_eq!(harness.rejected().len(), 1);
}

/// Keeps a count where it must not be.
struct Forgetful {
    seen: std::cell::Cell<u64>,
    counts: Output,
}

impl Operator for Forgetful {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { seen: std::cell::Cell::new(0), counts: setup.output("counts") })
    }

    fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
        self.seen.set(self.seen.get() + 1);
        ctx.emit_display(self.counts, self.seen.get());
        Ok(())
    }
}

#[test]
#[should_panic(expected = "results depend on how batches are cut")]
fn the_harness_finds_what_lasts_outside_of_state() {
    let mut harness = Harness::<Forgetful>::new("{}");
    for _ in 0..50 {
        harness.push("k", "");
    }
    harness.seed(1).outputs("counts");
}
