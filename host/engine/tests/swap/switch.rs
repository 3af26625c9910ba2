use crate::pipeline::{Pipeline, Settings, Version};
use millstream_engine::fakes::LogFaults;
use millstream_engine::swap::{EventKind, SwapRefused, TrialRules};
use millstream_model::ids::Generation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tags by number, for outputs of one worker.
fn by_number(outputs: &[String]) -> BTreeMap<i64, Vec<String>> {
    let mut by_number: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for text in outputs {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap();
        let (number, tag) = text.split_at(end);
        by_number.entry(number.parse().unwrap()).or_default().push(tag.to_owned());
    }
    by_number
}

#[test]
fn a_new_version_takes_over_between_two_records_and_nothing_is_lost_or_repeated() {
    let pipeline = Pipeline::start(&Version::new("a"), &Settings::default());
    pipeline.feed(500);
    pipeline.wait_until_committed();
    let answer = pipeline.deploy(&Version::new("b"));
    pipeline.feed(250);
    pipeline.wait_for_phase("trial");
    pipeline.feed(250);
    let done = answer.wait().unwrap();
    assert_eq!((done.generation, done.digest), (Generation(2), Version::new("b").digest()));
    assert!(done.is_proven() && done.no_return.is_empty(), "{done:?}");
    pipeline.feed(500);
    pipeline.wait_until_committed();
    let status = pipeline.status();
    assert_eq!((status.generation, status.phase.name()), (Generation(2), "steady"));
    assert_eq!(status.event.unwrap().kind, EventKind::Switched);
    assert_eq!(status.history.iter().map(|known| known.generation.0).collect::<Vec<_>>(), [1, 2]);
    let pipeline = pipeline.drain();
    let outputs = by_number(&pipeline.outputs());
    assert_eq!(outputs.keys().copied().collect::<Vec<_>>(), (0..1_500).collect::<Vec<_>>());
    let tags: Vec<&str> = outputs
        .values()
        .map(|tags| {
            let [tag] = tags.as_slice() else { panic!("{tags:?}") };
            tag.as_str()
        })
        .collect();
    let switched = tags.iter().position(|tag| *tag == "b").unwrap();
    assert!((500..1_000).contains(&switched), "{switched}");
    assert!(tags.iter().skip(switched).all(|tag| *tag == "b"));
    // Its first commit names it, and the one before does not.
    let commits = pipeline.commits();
    let named: Vec<(i64, u64)> = commits
        .iter()
        .map(|commit| (commit.positions.iter().map(|position| position.next).sum(), commit.operators[0].generation.0))
        .collect();
    assert!(named.iter().all(|(next, generation)| (*generation == 2) == (*next > switched as i64)), "{named:?}");
}

#[test]
fn hundreds_of_swaps_lose_nothing_and_leave_nothing_behind() {
    // Of each single record, so that an epoch in a few is lost, and never ten in a row.
    let faults = LogFaults { end_lost: 20, answer_lost: 20, delivery: 1, ..LogFaults::default() };
    let settings = Settings { workers: 2, interval_ms: 2, faults, ..Settings::default() };
    let pipeline = Pipeline::start(&Version::new("a"), &settings);
    let (mut gone, mut fed) = (Vec::new(), 0);
    for swap in 0..300 {
        let version = Version::new(if swap % 2 == 0 { "b" } else { "a" });
        pipeline.feed(40);
        fed += 40;
        let factory = version.factory();
        let rules = TrialRules { records: 5, time_ms: 20, ..TrialRules::default() };
        gone.push(Arc::downgrade(&factory));
        if let Err(refused) = pipeline.ask_for(factory, rules, Default::default()).wait() {
            panic!("swap {swap}: {refused}; {:?}", pipeline.end());
        }
    }
    pipeline.wait_until_committed();
    let status = pipeline.status();
    assert_eq!((status.generation, status.history.len()), (Generation(301), 20));
    pipeline.wait("instances are dropped", |_| gone.iter().filter(|factory| factory.upgrade().is_some()).count() <= 2);
    let pipeline = pipeline.drain();
    let outputs = by_number(&pipeline.outputs());
    assert_eq!(outputs.len(), fed);
    // Two partitions have the same numbers.
    assert!(outputs.values().all(|tags| tags.len() == 2), "a record was lost or repeated");
    let generations: Vec<u64> = pipeline.commits().iter().map(|commit| commit.operators[0].generation.0).collect();
    assert!(generations.is_sorted() && generations.windows(2).all(|pair| pair[1] - pair[0] <= 1));
}

#[test]
fn one_swap_at_a_time_and_the_other_is_refused_by_name() {
    let pipeline = Pipeline::start(&Version::new("a"), &Settings::default());
    let first = pipeline.deploy(&Version::new("b"));
    pipeline.wait_for_phase("trial");
    let refused = pipeline.deploy(&Version::new("c")).wait().unwrap_err();
    assert!(matches!(&refused, SwapRefused::Busy { operator, phase: "trial" } if operator == "op"), "{refused}");
    let refused = pipeline.rollback().wait().unwrap_err();
    assert!(matches!(refused, SwapRefused::Busy { .. }), "{refused}");
    assert!(first.poll().is_none());
    pipeline.feed(10);
    assert_eq!(first.wait().unwrap().generation, Generation(2));
}

#[test]
fn an_operator_that_is_not_there_is_named_with_those_that_are() {
    let pipeline = Pipeline::start(&Version::new("a"), &Settings::default());
    let (done, answer) = std::sync::mpsc::channel();
    pipeline.control.rollback("opp", Box::new(move |answered| done.send(answered).unwrap()));
    let refused = answer.recv_timeout(crate::pipeline::PATIENCE).unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "there is no operator `opp`; the pipeline has `op`");
}

#[test]
fn whoever_asks_a_run_that_ends_is_answered() {
    let pipeline = Pipeline::start(&Version::new("a"), &Settings::default());
    let answer = pipeline.deploy(&Version::new("b"));
    let pipeline = pipeline.drain();
    // Either it was taken up in time, or not.
    assert!(matches!(answer.wait(), Ok(_) | Err(SwapRefused::Ended { .. })));
    let late = pipeline.deploy(&Version::new("c")).wait().unwrap_err();
    assert!(matches!(late, SwapRefused::Ended { .. }), "{late}");
}

#[test]
fn a_paused_run_reads_nothing_and_commits_what_it_has_read() {
    let pipeline = Pipeline::start(&Version::new("a"), &Settings::default());
    pipeline.feed(100);
    pipeline.wait_until_committed();
    pipeline.control.pause();
    // What was polled before the pause was seen may still come.
    std::thread::sleep(std::time::Duration::from_millis(50));
    pipeline.feed(100);
    let done =
        pipeline.ask(&Version::new("b"), TrialRules { time_ms: 50, ..TrialRules::default() }, Default::default());
    assert!(!done.wait().unwrap().is_proven(), "nothing came");
    assert_eq!(pipeline.outputs().len(), 100);
    pipeline.control.resume();
    pipeline.wait_until_committed();
    assert_eq!(pipeline.outputs().iter().filter(|text| text.ends_with('b')).count(), 100);
}
