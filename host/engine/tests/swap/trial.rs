use crate::pipeline::{Pipeline, Settings, Version};
use millstream_engine::ports::{CallError, OpenError, Operator, OperatorFactory};
use millstream_engine::swap::{EventKind, ProbationRules, SwapRefused, TrialFailure, TrialRules};
use millstream_model::descriptor::Descriptor;
use millstream_model::ids::{Digest, Generation};
use millstream_model::plan::ErrorPolicy;

const NO_PROBATION: ProbationRules = ProbationRules { records: 0, time_ms: 0, failures_max: 0 };

fn trial(refused: SwapRefused) -> TrialFailure {
    match refused {
        SwapRefused::Trial { failure, .. } => failure,
        other => panic!("{other}"),
    }
}

/// A pipeline of version "a" that has processed 200 numbers.
fn running(settings: &Settings) -> Pipeline {
    let pipeline = Pipeline::start(&Version::new("a"), settings);
    pipeline.feed(200);
    pipeline.wait_until_committed();
    pipeline
}

/// The version "a" goes on, and nothing of "b" is anywhere.
fn check_unharmed(pipeline: Pipeline) {
    pipeline.feed(100);
    pipeline.wait_until_committed();
    let status = pipeline.status();
    assert_eq!((status.generation, status.digest), (Generation(1), Version::new("a").digest()));
    assert_eq!(status.event.unwrap().kind, EventKind::Refused);
    assert!(pipeline.everything().iter().all(|text| text.ends_with('a')), "an output of the new version was written");
    let mut outputs = pipeline.outputs();
    outputs.sort_by_key(|text| text.trim_end_matches('a').parse::<i64>().unwrap());
    let count = outputs.len() as i64;
    assert_eq!(outputs, (0..count).map(|number| format!("{number}a")).collect::<Vec<_>>());
    assert!(pipeline.letters().is_empty(), "{:?}", pipeline.letters());
    assert!(pipeline.commits().iter().all(|commit| commit.operators[0].generation == Generation(1)));
    pipeline.drain();
}

#[test]
fn a_version_that_traps_is_refused_with_the_record_and_was_never_there() {
    let pipeline = running(&Settings::default());
    let answer = pipeline.ask(&Version::new("b").traps(|number| number == 321), TrialRules::default(), NO_PROBATION);
    pipeline.wait_for_phase("trial");
    pipeline.feed(300);
    let refused = answer.wait().unwrap_err();
    let expected = "the new version of operator `op` failed its trial: \
        trapped: unreachable (at source `numbers`, partition 0, offset 321)";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(pipeline.status().event.unwrap().reason, expected);
    check_unharmed(pipeline);
}

#[test]
fn a_version_that_loops_hits_a_limit_or_asks_to_stop_is_refused() {
    let faults: [(fn(Vec<u32>) -> CallError, &str); 3] = [
        (|_| CallError::Timeout { limit_ms: 200, last_words: None }, "ran longer than 200 ms"),
        (|_| CallError::Limit { limit: "memory", reason: "64 MiB".to_owned() }, "hit `limits.memory`: 64 MiB"),
        (|_| CallError::Stop("no more".to_owned()), "no more"),
    ];
    for (fault, text) in faults {
        let pipeline = running(&Settings::default());
        let version = Version { fault: Some((|number| number == 250, fault)), ..Version::new("b") };
        let answer = pipeline.ask(&version, TrialRules::default(), NO_PROBATION);
        pipeline.wait_for_phase("trial");
        pipeline.feed(100);
        let failure = trial(answer.wait().unwrap_err());
        assert!(failure.reason.contains(text), "{failure}");
        check_unharmed(pipeline);
    }
}

#[test]
fn a_version_that_puts_out_too_much_is_refused_and_nobody_saw_it() {
    let pipeline = running(&Settings { workers: 2, ..Settings::default() });
    let rules = TrialRules { output_ratio: Some((0.5, 2.0)), ..TrialRules::default() };
    let answer = pipeline.ask(&Version { times: 3, ..Version::new("b") }, rules, NO_PROBATION);
    pipeline.wait_for_phase("trial");
    pipeline.feed(2_000);
    let failure = trial(answer.wait().unwrap_err());
    assert!(failure.reason.contains("3.000 times") && failure.place.is_none(), "{failure}");
    assert!(pipeline.everything().iter().all(|text| text.ends_with('a')));
    pipeline.wait_until_committed();
    assert_eq!(pipeline.outputs().len(), 2 * 2_200);
}

#[test]
fn a_version_that_rejects_too_much_is_refused_with_its_dead_letters() {
    let pipeline = running(&Settings::default());
    let reject = |rows: Vec<u32>| CallError::Reject(rows.into_iter().map(|row| (row, "no".to_owned())).collect());
    let version = Version { fault: Some((|number| number % 2 == 0, reject)), ..Version::new("b") };
    let rules = TrialRules { reject_ratio_max: Some(0.25), ..TrialRules::default() };
    let answer = pipeline.ask(&version, rules, NO_PROBATION);
    pipeline.wait_for_phase("trial");
    pipeline.feed(1_000);
    let failure = trial(answer.wait().unwrap_err());
    assert!(failure.reason.contains("`max_reject_ratio` is 0.25"), "{failure}");
    check_unharmed(pipeline);
}

#[test]
fn a_record_that_the_version_before_fails_on_as_well_is_no_failure() {
    let bad = |number: i64| number == 321;
    let pipeline = Pipeline::start(&Version::new("a").traps(bad), &Settings::default());
    pipeline.feed(200);
    pipeline.wait_until_committed();
    let answer = pipeline.ask(&Version::new("b").traps(bad), TrialRules::default(), NO_PROBATION);
    pipeline.wait_for_phase("trial");
    pipeline.feed(300);
    pipeline.wait("the swap is tried again", |pipeline| {
        pipeline.feed(10);
        answer.poll().is_some()
    });
    pipeline.wait_until_committed();
    let status = pipeline.status();
    assert_eq!((status.generation, status.event.unwrap().kind), (Generation(2), EventKind::Switched));
    let pipeline = pipeline.drain();
    assert_eq!(pipeline.letters(), ["321"]);
    let outputs = pipeline.outputs();
    assert!(
        !outputs.contains(&"321b".to_owned()) && outputs.contains(&"322a".to_owned()),
        "it was armed behind the record"
    );
}

#[test]
fn what_the_version_before_fails_on_all_the_time_excuses_only_so_often() {
    let pipeline = Pipeline::start(&Version::new("a").traps(|number| number % 10 == 7), &Settings::default());
    pipeline.feed(200);
    pipeline.wait_until_committed();
    let version = Version::new("b").traps(|number| number % 10 == 7);
    let answer = pipeline.ask(&version, TrialRules::default(), NO_PROBATION);
    pipeline.wait_for_phase("trial");
    let mut refused = None;
    pipeline.wait("the swap is given up", |pipeline| {
        pipeline.feed(10);
        refused = answer.poll();
        refused.is_some()
    });
    let failure = trial(refused.unwrap().unwrap_err());
    assert!(failure.reason.contains("the last trials"), "{failure}");
    assert!(pipeline.everything().iter().all(|text| text.ends_with('a')));
}

#[test]
fn a_trial_without_records_ends_by_time_and_says_so() {
    let pipeline = running(&Settings::default());
    let answer = pipeline.ask(&Version::new("b"), TrialRules { time_ms: 30, ..TrialRules::default() }, NO_PROBATION);
    let done = answer.wait().unwrap();
    assert_eq!((done.trial_records, done.is_proven()), (0, false));
    // Nothing moved, and the switch is durable all the same.
    assert_eq!(pipeline.commits().last().unwrap().operators[0].generation, Generation(2));
    assert!(pipeline.status().event.unwrap().reason.contains("unproven"));
}

#[test]
fn a_new_version_does_not_inherit_what_the_one_before_could_not_process() {
    let pipeline = Pipeline::start(&Version::new("a").traps(|number| number == 5), &Settings::default());
    pipeline.feed(10);
    pipeline.wait_until_committed();
    assert_eq!(pipeline.letters(), ["5"]);
    let answer = pipeline.ask(&Version::new("b"), TrialRules { records: 1, ..TrialRules::default() }, NO_PROBATION);
    pipeline.feed(10);
    answer.wait().unwrap();
    pipeline.wait_until_committed();
    assert_eq!(pipeline.letters(), ["5"]);
}

#[test]
fn a_pipeline_that_would_stop_in_a_trial_goes_on_with_the_version_before() {
    let pipeline = running(&Settings { on_error: ErrorPolicy::Stop, ..Settings::default() });
    let reject = |rows: Vec<u32>| CallError::Reject(rows.into_iter().map(|row| (row, "no".to_owned())).collect());
    let version = Version { fault: Some((|number| number == 250, reject)), ..Version::new("b") };
    let answer = pipeline.ask(&version, TrialRules::default(), NO_PROBATION);
    pipeline.wait_for_phase("trial");
    pipeline.feed(100);
    assert_eq!(trial(answer.wait().unwrap_err()).place.unwrap().offset, 250);
    check_unharmed(pipeline);
}

#[test]
fn rules_that_make_no_sense_and_modules_that_do_not_open_are_refused() {
    struct Broken(Descriptor);
    impl OperatorFactory for Broken {
        fn descriptor(&self) -> &Descriptor {
            &self.0
        }
        fn digest(&self) -> Digest {
            Digest([9; 32])
        }
        fn instantiate(&self) -> Result<Box<dyn Operator>, OpenError> {
            Err(OpenError { operator: "op".to_owned(), reason: "`open` trapped".to_owned() })
        }
    }
    let pipeline = running(&Settings::default());
    let rules = TrialRules { records: 0, ..TrialRules::default() };
    let refused = pipeline.ask(&Version::new("b"), rules, NO_PROBATION).wait().unwrap_err();
    assert_eq!(refused.to_string(), "the rules of the swap: `records` is 0; a trial needs at least 1");
    let broken = Broken(Version::new("b").factory().descriptor().clone());
    let refused =
        pipeline.ask_for(std::sync::Arc::new(broken), TrialRules::default(), NO_PROBATION).wait().unwrap_err();
    assert_eq!(refused.to_string(), "operator `op`: `open` trapped");
    check_unharmed(pipeline);
}
