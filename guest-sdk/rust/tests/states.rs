//! Maps, lists, broadcast states and times to live, under the harness: whole, record by record, and under random cuts.
#![expect(clippy::unwrap_used, reason = "tests")]

use millstream_sdk::harness::{Harness, Message};
use millstream_sdk::{
    Aggregate, Aggregating, Broadcast, BroadcastContext, Cached, Context, List, Map, OnBroadcast, Operator, Output,
    Record, Reducing, Result, Setup, State, Value, export_operators, reject,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What one record does, one after the other. Refused ones do all of it, and then fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Deeds {
    deeds: Vec<Deed>,
    refuse: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Deed {
    Get(i32),
    Put(i32, String),
    Remove(i32),
    Range(Option<i32>, Option<i32>, bool, usize),
    Clear,
    GetOther(String),
    PutOther(String, u8),
    RangeOther,
    Append(String),
    Elements,
    ClearList,
    Set(u64),
    Fold(u64),
}

/// Does what records say, and emits what it has seen.
struct Doer {
    numbers: Map<i32, String>,
    names: Map<String, u8>,
    list: List<String>,
    value: Value<u64>,
    sum: Reducing<u64>,
    seen: Output,
}

impl Operator for Doer {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self {
            numbers: setup.map("numbers"),
            names: setup.map("names"),
            list: setup.list("list"),
            value: setup.value("value"),
            sum: setup.reducing("sum", |a, b| a.wrapping_add(b)),
            seen: setup.output("seen"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let Deeds { deeds, refuse } = record.json()?;
        for deed in deeds {
            let seen = self.does(deed, ctx)?;
            ctx.emit(self.seen, seen.as_bytes());
        }
        if refuse { Err(reject("as it was told")) } else { Ok(()) }
    }
}

impl Doer {
    fn does(&self, deed: Deed, ctx: &mut Context) -> Result<String> {
        let taken = |entries: Vec<_>| format!("{entries:?}");
        Ok(match deed {
            Deed::Get(key) => format!("{:?}", self.numbers.get(ctx, &key)?),
            Deed::Put(key, value) => {
                self.numbers.put(ctx, &key, &value);
                String::new()
            }
            Deed::Remove(key) => {
                self.numbers.remove(ctx, &key);
                String::new()
            }
            Deed::Range(start, end, rev, count) => {
                let start = start.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let end = end.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
                let range = self.numbers.range(ctx, (start, end));
                let range = if rev { range.rev() } else { range };
                taken(range.take(count).collect::<Result<Vec<_>>>()?)
            }
            Deed::Clear => {
                self.numbers.clear(ctx);
                String::new()
            }
            Deed::GetOther(key) => format!("{:?}", self.names.contains(ctx, key.as_str())),
            Deed::PutOther(key, value) => {
                self.names.put(ctx, &key, &value);
                String::new()
            }
            Deed::RangeOther => format!("{:?}", self.names.iter(ctx).collect::<Result<Vec<_>>>()?),
            Deed::Append(element) => {
                self.list.append(ctx, &element);
                String::new()
            }
            Deed::Elements => self.list.iter(ctx).collect::<Result<Vec<_>>>()?.join(","),
            Deed::ClearList => {
                self.list.clear(ctx);
                String::new()
            }
            Deed::Set(value) => {
                let before = self.value.get(ctx)?;
                self.value.set(ctx, &value);
                format!("{before:?}")
            }
            Deed::Fold(addend) => self.sum.add(ctx, addend)?.to_string(),
        })
    }
}

/// The same with maps of the standard library.
#[derive(Debug, Clone, Default)]
struct Model {
    numbers: BTreeMap<i32, String>,
    names: BTreeMap<String, u8>,
    list: Vec<String>,
    value: Option<u64>,
    sum: Option<u64>,
}

impl Model {
    fn does(&mut self, deed: &Deed) -> String {
        match deed {
            Deed::Get(key) => format!("{:?}", self.numbers.get(key)),
            Deed::Put(key, value) => {
                self.numbers.insert(*key, value.clone());
                String::new()
            }
            Deed::Remove(key) => {
                self.numbers.remove(key);
                String::new()
            }
            Deed::Range(start, end, rev, count) => {
                let is_in = |key: &i32| start.is_none_or(|start| *key > start) && end.is_none_or(|end| *key <= end);
                let mut entries: Vec<_> = self.numbers.iter().filter(|(key, _)| is_in(key)).collect();
                if *rev {
                    entries.reverse();
                }
                entries.truncate(*count);
                format!("{entries:?}")
            }
            Deed::Clear => {
                self.numbers.clear();
                String::new()
            }
            Deed::GetOther(key) => format!("{:?}", self.names.contains_key(key)),
            Deed::PutOther(key, value) => {
                self.names.insert(key.clone(), *value);
                String::new()
            }
            Deed::RangeOther => format!("{:?}", self.names.iter().collect::<Vec<_>>()),
            Deed::Append(element) => {
                self.list.push(element.clone());
                String::new()
            }
            Deed::Elements => self.list.join(","),
            Deed::ClearList => {
                self.list.clear();
                String::new()
            }
            Deed::Set(value) => format!("{:?}", self.value.replace(*value)),
            Deed::Fold(addend) => {
                self.sum = Some(self.sum.unwrap_or(0).wrapping_add(*addend));
                self.sum.unwrap().to_string()
            }
        }
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    let key = -3i32..4;
    let text = "[a-c]{0,3}";
    prop_oneof![
        3 => key.clone().prop_map(Deed::Get),
        4 => (key.clone(), text).prop_map(|(key, value)| Deed::Put(key, value)),
        2 => key.clone().prop_map(Deed::Remove),
        3 => (prop::option::of(key.clone()), prop::option::of(key), any::<bool>(), 0usize..9)
            .prop_map(|(start, end, rev, count)| Deed::Range(start, end, rev, count)),
        1 => Just(Deed::Clear),
        1 => text.prop_map(Deed::GetOther),
        2 => (text, any::<u8>()).prop_map(|(key, value)| Deed::PutOther(key, value)),
        1 => Just(Deed::RangeOther),
        3 => text.prop_map(Deed::Append),
        2 => Just(Deed::Elements),
        1 => Just(Deed::ClearList),
        1 => any::<u64>().prop_map(Deed::Set),
        1 => any::<u64>().prop_map(Deed::Fold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_records_do_is_what_maps_and_lists_do(
        records in prop::collection::vec(("[xy]", prop::collection::vec(deed(), 0..6), prop::bool::weighted(0.25)), 0..24)
    ) {
        let (mut harness, mut models) = (Harness::<Doer>::new("{}"), BTreeMap::<String, Model>::new());
        let (mut expected, mut refused) = (Vec::new(), 0);
        for (key, deeds, refuse) in records {
            let model = models.entry(key.clone()).or_default();
            let mut after = model.clone();
            let seen: Vec<_> = deeds.iter().map(|deed| (key.clone(), after.does(deed))).collect();
            harness.push(&key, serde_json::to_string(&Deeds { deeds, refuse }).unwrap());
            if refuse {
                refused += 1;
            } else {
                *model = after;
                expected.extend(seen);
            }
        }
        let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap()).unwrap();
        let seen: Vec<_> =
            harness.outputs("seen").iter().map(|seen| (text(&seen.key), text(&seen.value))).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(harness.rejected().len(), refused);
        for (key, model) in models {
            prop_assert_eq!(harness.entries("numbers", &key), model.numbers.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(harness.entries("names", &key), model.names.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(harness.elements::<String>("list", &key), model.list);
            prop_assert_eq!(harness.state("value", &key), model.value);
            prop_assert_eq!(harness.state("sum", &key), model.sum);
        }
    }
}

/// Many entries: pages, prefixes, and more than a buffer holds.
struct Large {
    pairs: Map<(String, u32), Vec<u8>>,
    list: List<Vec<u8>>,
    sizes: Output,
}

impl Operator for Large {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { pairs: setup.map("pairs"), list: setup.list("list"), sizes: setup.output("sizes") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let count: u32 = record.text()?.parse()?;
        for number in 0..count {
            for name in ["a", "a\0", "b"] {
                self.pairs.put(ctx, &(name.to_owned(), number), &vec![7; 2_000]);
            }
            self.list.append(ctx, &vec![8; 2_000]);
        }
        let a = self.pairs.prefix(ctx, &"a".to_owned()).count();
        let all = self.pairs.iter(ctx).rev().count();
        let above = self.pairs.range(ctx, ("a\0".to_owned(), 3)..).count();
        let list = self.list.iter(ctx).count();
        ctx.emit_display(self.sizes, format_args!("{a} {all} {above} {list}"));
        Ok(())
    }
}

#[test]
fn ranges_come_in_pages_and_buffers_are_emptied() {
    let mut harness = Harness::<Large>::new("{}");
    harness.push("k", "300").push("k", "500").push("other", "2").push("k", "0");
    let expected =
        [("k", "300 900 597 300"), ("k", "500 1500 997 800"), ("other", "2 6 2 2"), ("k", "500 1500 997 800")];
    assert_eq!(harness.outputs("sizes"), expected);
}

/// Lets every value of a key pass once in a while.
struct Dedup {
    seen: Map<Vec<u8>, ()>,
    last: Value<Vec<u8>>,
    trail: List<u8>,
    first: Output,
}

impl Operator for Dedup {
    fn open(setup: &mut Setup) -> Result<Self> {
        let second = Duration::from_secs(1);
        Ok(Self {
            seen: setup.map(State::new("seen").event_ttl(second)),
            last: setup.value(State::new("last").processing_ttl(second).refreshed_on_access()),
            trail: setup.list(State::new("trail").event_ttl(second).refreshed_on_access()),
            first: setup.output("first"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let value = record.bytes()?;
        match value {
            b"refuse" => {
                self.last.bytes(ctx);
                self.trail.iter(ctx).count();
                return Err(reject("as it was told"));
            }
            b"peek" => {
                let last = self.last.bytes(ctx).map(<[u8]>::to_vec);
                ctx.emit(self.first, last.as_deref().unwrap_or(b"nothing"));
                return Ok(());
            }
            b"trail" => {
                let trail = self.trail.iter(ctx).count();
                ctx.emit_display(self.first, trail);
                return Ok(());
            }
            _ => {}
        }
        if !self.seen.contains(ctx, value) {
            self.seen.put(ctx, value, &());
            ctx.forward(self.first);
        }
        self.last.set(ctx, &value.to_vec());
        self.trail.append(ctx, &1);
        Ok(())
    }
}

fn dedup(steps: impl FnOnce(&mut Harness<Dedup>)) -> Vec<String> {
    let mut harness = Harness::<Dedup>::new("{}");
    steps(&mut harness);
    let values = harness.outputs("first").iter().map(|first| first.value.clone().unwrap());
    values.map(|value| String::from_utf8(value).unwrap()).collect()
}

#[test]
fn what_was_seen_is_forgotten_when_its_time_is_over() {
    let seen = dedup(|harness| {
        harness.watermark(10_000).push("k", "a").push("k", "a").push("k", "b");
        harness.watermark(10_999).push("k", "a");
        harness.watermark(11_000).restart().push("k", "a").push("other", "a").push("k", "a");
    });
    assert_eq!(seen, ["a", "b", "a", "a"]);
}

#[test]
fn before_the_first_watermark_nothing_is_forgotten() {
    let seen = dedup(|harness| {
        harness.push("k", "a").now(1_000_000).push("k", "a");
        harness.watermark(5_000).push("k", "a").watermark(5_999).push("k", "a").watermark(6_000).push("k", "a");
    });
    assert_eq!(seen, ["a", "a"]);
}

#[test]
fn reading_keeps_alive_what_is_refreshed_on_access_unless_the_record_is_refused() {
    let seen = dedup(|harness| {
        harness.now(1_000).push("k", "a").now(1_900).push("k", "peek").push("other", "peek");
        harness.now(2_800).push("k", "peek").now(3_700).push("k", "refuse").now(3_800).push("k", "peek");
    });
    assert_eq!(seen, ["a", "a", "nothing", "a", "nothing"]);
    let seen = dedup(|harness| {
        harness.watermark(0).push("k", "a").push("k", "a").watermark(900).push("k", "trail");
        harness.watermark(1_800).push("k", "refuse").push("k", "trail").watermark(2_800).push("k", "trail");
    });
    assert_eq!(seen, ["a", "2", "2", "0"]);
}

/// Lets pass what some rule names, and counts how often rules were compiled.
struct Rules {
    rules: Broadcast<String, String>,
    compiled: Cached<Vec<String>>,
    hits: Value<u64>,
    passed: Output,
}

impl Operator for Rules {
    fn open(setup: &mut Setup) -> Result<Self> {
        setup.input("records");
        setup.broadcast_input("rules");
        Ok(Self {
            rules: setup.broadcast("rules"),
            compiled: Cached::new(),
            hits: setup.value("hits"),
            passed: setup.output("passed"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let rules = self.rules.cached(ctx, &self.compiled, |entries| entries.map(|entry| Ok(entry?.1)).collect())?;
        let text = record.text()?;
        if rules.iter().any(|rule| text.contains(rule.as_str())) || self.rules.contains(ctx, text) {
            let hits = self.hits.get(ctx)?.unwrap_or(0) + 1;
            self.hits.set(ctx, &hits);
            ctx.emit_display(self.passed, format_args!("{text} {hits}"));
        }
        Ok(())
    }
}

impl OnBroadcast for Rules {
    fn on_broadcast(&self, record: &Record, ctx: &mut BroadcastContext) -> Result<()> {
        let name = str::from_utf8(record.key().unwrap_or_default())?;
        match record.value() {
            None if name == "*" => self.rules.clear(ctx),
            None => self.rules.remove(ctx, name),
            Some(rule) => {
                let rule = str::from_utf8(rule)?.to_owned();
                let before = self.rules.get(ctx, name)?;
                self.rules.put(ctx, name, &rule);
                if rule == "bad" {
                    return Err(reject("a bad rule"));
                }
                if rule == "swap" {
                    // Sees what this record wrote, in order.
                    let last = self.rules.iter(ctx).rev().next().transpose()?;
                    self.rules.put(ctx, name, &last.map_or(String::new(), |(name, _)| name));
                    self.rules.put(ctx, "before", &before.unwrap_or_default());
                }
            }
        }
        Ok(())
    }
}

export_operators! { "rules": Rules with OnBroadcast, "dedup": Dedup }

fn rule(name: &str, rule: &str) -> Message {
    Message::new(name, rule).input("rules")
}

#[test]
fn a_rule_counts_from_the_next_batch_on_for_all_keys() {
    let mut harness = Harness::<Rules>::new("{}").with_broadcast();
    harness.push("ann", "an apple").push_message(rule("1", "apple")).push("ann", "an apple").push("bob", "apples");
    harness.push_message(rule("2", "pear")).push_message(rule("1", "bad")).restart().push("ann", "pear, apple");
    harness.push_message(Message::tombstone("1").input("rules")).push("ann", "an apple").push("bob", "a pear");
    harness.push_message(Message::tombstone("*").input("rules")).push("ann", "a pear");
    assert_eq!(
        harness.outputs("passed"),
        [("ann", "an apple 1"), ("bob", "apples 1"), ("ann", "pear, apple 2"), ("bob", "a pear 2")]
    );
    assert_eq!(harness.rejected(), [("bad", "a bad rule")]);
    assert!(harness.broadcast_entries::<String, String>("rules").is_empty());
}

#[test]
fn a_broadcast_record_sees_what_it_and_earlier_ones_wrote() {
    let mut harness = Harness::<Rules>::new("{}").with_broadcast();
    harness.push_message(rule("a", "x")).push_message(rule("b", "y")).push_message(rule("a", "swap"));
    let text = |name: &str, rule: &str| (name.to_owned(), rule.to_owned());
    let rules = harness.broadcast_entries::<String, String>("rules");
    assert_eq!(rules, [text("a", "b"), text("b", "y"), text("before", "x")]);
}

#[test]
fn records_without_a_key_reach_a_broadcast_input() {
    let mut harness = Harness::<Rules>::new("{}").with_broadcast();
    harness.push_message(Message::unkeyed("x").input("rules")).push_message(Message::unkeyed("y"));
    assert_eq!(harness.rejected(), [("y", "the record has no key")]);
    assert_eq!(harness.broadcast_entries::<String, String>("rules"), [(String::new(), "x".to_owned())]);
}

struct Mean;

impl Aggregate for Mean {
    type Input = u64;
    type Accumulator = millstream_sdk::Postcard<(u64, u64)>;
    type Output = u64;

    fn create(&self) -> Self::Accumulator {
        millstream_sdk::Postcard((0, 0))
    }
    fn add(&self, accumulator: &mut Self::Accumulator, input: u64) {
        accumulator.0.0 += input;
        accumulator.0.1 += 1;
    }
    fn result(&self, accumulator: &Self::Accumulator) -> u64 {
        accumulator.0.0.checked_div(accumulator.0.1).unwrap_or(0)
    }
}

struct Means {
    mean: Aggregating<Mean>,
    means: Output,
}

impl Operator for Means {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { mean: setup.aggregating("mean", Mean), means: setup.output("means") })
    }
    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let mean = match record.value() {
            Some(_) => self.mean.add(ctx, record.text()?.parse()?)?,
            None => {
                let mean = self.mean.get(ctx)?.unwrap_or(0);
                self.mean.clear(ctx);
                mean
            }
        };
        ctx.emit_display(self.means, mean);
        Ok(())
    }
}

#[test]
fn an_aggregate_is_what_its_inputs_come_to() {
    let mut harness = Harness::<Means>::new("{}");
    harness.push("a", "2").push("a", "4").push_message(Message::tombstone("a")).push("a", "7").push("a", "x");
    assert_eq!(harness.outputs("means"), [("a", "2"), ("a", "3"), ("a", "3"), ("a", "7")]);
    assert_eq!(harness.rejected().len(), 1);
}

#[test]
fn what_states_are_is_checked_when_the_operator_opens() {
    struct Open<const N: u32>;
    impl<const N: u32> Operator for Open<N> {
        fn open(setup: &mut Setup) -> Result<Self> {
            let state = State::new("s");
            match N {
                0 => drop(setup.value::<u8>(state.event_ttl(Duration::from_micros(5)))),
                1 => drop(setup.map::<u8, u8>(state.refreshed_on_access())),
                2 => drop(setup.broadcast::<u8, u8>(state.processing_ttl(Duration::from_secs(1)))),
                3 => drop(setup.broadcast_input("rules")),
                _ => drop((setup.list::<u8>("s"), setup.map::<u8, u8>("s"))),
            }
            Ok(Self)
        }
        fn process(&self, _: &Record, _: &mut Context) -> Result<()> {
            Ok(())
        }
    }
    let refused = |refused: Result<Harness<Open<0>>, String>| refused.err().unwrap();
    assert!(refused(Harness::open("{}")).contains("below a millisecond"));
    assert!(Harness::<Open<1>>::open("{}").err().unwrap().contains("no time to live"));
    assert!(Harness::<Open<2>>::open("{}").err().unwrap().contains("broadcast state, which has no time to live"));
    assert!(Harness::<Open<3>>::open("{}").err().unwrap().contains("all inputs are broadcast inputs"));
    assert!(Harness::<Open<4>>::open("{}").err().unwrap().contains("declared twice"));
}
