//! States of every kind through real modules: maps, lists, times to live, broadcast states, against models.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use millstream_engine::fakes::{FakeDisk, FakeState, Life};
use millstream_engine::ports::CallError;
use millstream_model::limits::OperatorLimits;
use millstream_wasm::OperatorConfig;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{Driver, ENGINE, Input, config, module, record};

fn named(name: &str) -> OperatorConfig {
    OperatorConfig { name: Some(name.to_owned()), ..config("{}") }
}

fn driver(name: &str, disk: &Arc<FakeDisk>) -> Driver {
    let store = Arc::new(FakeState::new(disk, &Life::default()));
    Driver::over(ENGINE.operator(&module("kinds"), named(name)).unwrap(), OperatorLimits::default(), store)
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    numbers: BTreeMap<i32, String>,
    list: Vec<String>,
}

#[derive(Debug, Clone)]
enum Deed {
    Get(i32),
    Put(i32, String),
    Remove(i32),
    Range(i32, i32, bool),
    Clear,
    Append(String),
    Elements,
    ClearList,
}

impl Deed {
    fn json(&self) -> String {
        match self {
            Self::Get(key) => format!(r#"{{"Get":{key}}}"#),
            Self::Put(key, value) => format!(r#"{{"Put":[{key},"{value}"]}}"#),
            Self::Remove(key) => format!(r#"{{"Remove":{key}}}"#),
            Self::Range(start, end, rev) => format!(r#"{{"Range":[{start},{end},{rev}]}}"#),
            Self::Clear => r#""Clear""#.to_owned(),
            Self::Append(element) => format!(r#"{{"Append":"{element}"}}"#),
            Self::Elements => r#""Elements""#.to_owned(),
            Self::ClearList => r#""ClearList""#.to_owned(),
        }
    }

    fn apply(&self, model: &mut Model) -> Option<String> {
        match self {
            Self::Get(key) => return Some(model.numbers.get(key).cloned().unwrap_or_default()),
            Self::Put(key, value) => drop(model.numbers.insert(*key, value.clone())),
            Self::Remove(key) => drop(model.numbers.remove(key)),
            Self::Range(start, end, rev) => {
                let range = model.numbers.iter().filter(|(key, _)| *key >= start && *key < end);
                let mut entries: Vec<_> = range.map(|(key, value)| format!("{key}={value}")).collect();
                if *rev {
                    entries.reverse();
                }
                return Some(entries.join(","));
            }
            Self::Clear => model.numbers.clear(),
            Self::Append(element) => model.list.push(element.clone()),
            Self::Elements => return Some(model.list.join(",")),
            Self::ClearList => model.list.clear(),
        }
        None
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    let key = -4i32..5;
    let text = "[a-c]{0,4}";
    prop_oneof![
        3 => key.clone().prop_map(Deed::Get),
        4 => (key.clone(), text).prop_map(|(key, value)| Deed::Put(key, value)),
        2 => key.clone().prop_map(Deed::Remove),
        3 => (key.clone(), key, any::<bool>()).prop_map(|(start, end, rev)| Deed::Range(start, end, rev)),
        1 => Just(Deed::Clear),
        3 => text.prop_map(Deed::Append),
        2 => Just(Deed::Elements),
        1 => Just(Deed::ClearList),
    ]
}

#[derive(Debug, Clone)]
struct Told {
    key: String,
    deeds: Vec<Deed>,
    refuse: bool,
}

fn told() -> impl Strategy<Value = Told> {
    ("[xyz]", prop::collection::vec(deed(), 0..5), prop::bool::weighted(0.2)).prop_map(|(key, deeds, refuse)| Told {
        key,
        deeds,
        refuse,
    })
}

/// What happens between two batches.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Commit,
    Lose,
    Restart,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_a_module_does_is_what_maps_and_lists_do(
        batches in prop::collection::vec(
            (prop::collection::vec(told(), 1..12),
             prop::sample::select(vec![Between::Nothing, Between::Commit, Between::Lose, Between::Restart])), 1..12)
    ) {
        let mut doer = driver("doer", &Arc::default());
        let (mut open, mut committed) = (BTreeMap::<String, Model>::new(), BTreeMap::new());
        for (batch, between) in batches {
            let (mut expected, mut refused) = (Vec::new(), Vec::new());
            let mut records = Vec::new();
            for (row, Told { key, deeds, refuse }) in (0u32..).zip(batch) {
                let model = open.entry(key.clone()).or_default();
                let before = model.clone();
                let seen: Vec<_> = deeds.iter().filter_map(|deed| deed.apply(model)).collect();
                if refuse {
                    *model = before;
                    refused.push(row);
                } else {
                    expected.extend(seen.into_iter().map(|seen| (key.clone(), seen)));
                }
                let deeds: Vec<_> = deeds.iter().map(Deed::json).collect();
                records.push(record(&key, &format!(r#"{{"deeds":[{}],"refuse":{refuse}}}"#, deeds.join(","))));
            }
            let effects = doer.process(&records).unwrap();
            prop_assert_eq!(effects.texts(), expected);
            prop_assert_eq!(effects.rejections.iter().map(|(row, _)| *row).collect::<Vec<_>>(), refused);
            match between {
                Between::Nothing => {}
                Between::Commit => {
                    doer.commit();
                    committed.clone_from(&open);
                }
                Between::Lose => {
                    doer.lose();
                    open.clone_from(&committed);
                }
                Between::Restart => doer.restart(),
            }
        }
    }
}

fn counts(lives: &mut Driver, records: &[(&str, &str)]) -> Vec<String> {
    let records: Vec<_> = records.iter().map(|(key, value)| record(key, value)).collect();
    lives.process(&records).unwrap().texts().into_iter().map(|(_, count)| count).collect()
}

#[test]
fn times_to_live_go_by_the_mark_of_the_call() {
    let disk = Arc::default();
    let mut lives = driver("lives", &disk);
    lives.mark.now_ms = 50_000;
    assert_eq!(counts(&mut lives, &[("a", "write"), ("a", "write")]), ["1 0 1", "2 1 2"]);
    lives.commit();
    lives.mark.watermark_ms = Some(1_000);
    lives.mark.now_ms = 50_999;
    assert_eq!(counts(&mut lives, &[("a", "read")]), ["3 2 2"], "event time has begun only now");
    lives.mark.watermark_ms = Some(1_999);
    lives.mark.now_ms = 51_998;
    assert_eq!(counts(&mut lives, &[("a", "write"), ("b", "read")]), ["3 2 3", "1 0 0"], "reading kept one alive");
    lives.commit();
    let mut lives = driver("lives", &disk);
    lives.mark.watermark_ms = Some(2_000);
    lives.mark.now_ms = 52_998;
    assert_eq!(counts(&mut lives, &[("a", "read")]), ["4 0 1"], "the older entries are over, and so is what was read");
    lives.mark.watermark_ms = Some(2_999);
    assert_eq!(counts(&mut lives, &[("a", "read")]), ["1 0 0"]);
    lives.commit();
    lives.commit();
    assert_eq!(disk.cells().keys().filter(|key| !millstream_model::cell::is_fact_key(key)).count(), 0);
}

fn rule(rules: &mut Driver, name: &str, rule: Option<&str>) -> Result<support::Effects, CallError> {
    rules.input = 1;
    let input = Input { value: rule.map(Into::into), ..record(name, "") };
    let effects = rules.process(&[input]);
    rules.input = 0;
    effects
}

#[test]
fn a_rule_reaches_the_next_batch_and_survives() {
    let disk = Arc::default();
    let mut rules = driver("rules", &disk);
    let passed = |rules: &mut Driver| rules.process(&[record("", "fruit")]).unwrap().texts();
    assert!(passed(&mut rules).is_empty());
    rule(&mut rules, "fruit", Some("apple")).unwrap();
    let first = passed(&mut rules);
    assert_eq!(passed(&mut rules), first, "as long as nothing changes the revision stays");
    rule(&mut rules, "fruit", Some("apple")).unwrap();
    assert_eq!(passed(&mut rules), first, "equal bytes are no change");
    rules.commit();
    rule(&mut rules, "fruit", Some("pear")).unwrap();
    assert_ne!(passed(&mut rules), first);
    rules.lose();
    let text = passed(&mut rules).remove(0).1;
    assert!(text.starts_with("apple "), "{text}");
    let mut rules = driver("rules", &disk);
    assert!(passed(&mut rules).remove(0).1.starts_with("apple "));
    rule(&mut rules, "fruit", None).unwrap();
    assert!(passed(&mut rules).is_empty());
}

#[test]
fn a_broadcast_record_that_fails_changes_nothing() {
    let mut rules = driver("rules", &Arc::default());
    rule(&mut rules, "fruit", Some("apple")).unwrap();
    assert_eq!(rule(&mut rules, "fruit", Some("bad")).unwrap().rejections, [(0, "a bad rule".to_owned())]);
    let panic = rule(&mut rules, "fruit", Some("panic"));
    assert!(matches!(&panic, Err(CallError::Panic { text, .. }) if text.contains("a rule that panics")), "{panic:?}");
    assert_eq!(rules.process(&[record("k", "fruit")]).unwrap().texts().len(), 1);
}

#[test]
fn states_describe_themselves_with_kind_clock_and_codec() {
    let described = |name| ENGINE.describe(&module("kinds"), named(name)).unwrap().0;
    let doer = described("doer");
    let facts = |state: usize, name| doer.states.get(state).unwrap().property(name);
    assert_eq!(
        (facts(0, "key-codec"), facts(0, "codec"), facts(1, "codec")),
        (Some("ordered-i32"), Some("text"), Some("text"))
    );
    let lives = described("lives");
    let ttl = lives.states.get(1).unwrap().ttl.unwrap();
    assert_eq!(format!("{ttl:?}"), "Ttl { duration_ms: 1000, clock: Processing, refresh: OnAccess }");
    assert!(!described("rules").is_keyed());
}

/// Operators that were compiled against the contract as it was first published: whatever is added since, they go on running.
#[test]
fn components_of_earlier_contracts_run() {
    let fixture = |name: &str| {
        let path = format!("{}/tests/fixtures/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        ENGINE.load(&millstream_wasm::ModuleSource::file(path).unwrap()).unwrap()
    };
    let run = |name: &str| {
        let factory = ENGINE.operator(&fixture(name), config("{}")).unwrap();
        let store = Arc::new(FakeState::new(&Arc::default(), &Life::default()));
        let mut count = Driver::over(factory, OperatorLimits::default(), store);
        let first = count.process(&[record("a", ""), record("b", ""), record("a", "")]).unwrap().texts();
        count.commit();
        count.restart();
        let second = count.process(&[record("a", "")]).unwrap().texts();
        [first, second].concat().into_iter().map(|(key, count)| format!("{key}{count}")).collect::<Vec<_>>()
    };
    for name in ["count-0.1.0", "count-simple-0.1.0"] {
        assert_eq!(run(name), ["a1", "b1", "a2", "a3"], "{name}");
    }
}
