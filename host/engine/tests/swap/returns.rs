use crate::pipeline::{Pipeline, Settings, Version, state};
use millstream_engine::swap::{EventKind, ProbationRules, SwapRefused, TrialRules};
use millstream_model::ids::Generation;
use millstream_model::plan::ErrorPolicy;

const ONE: TrialRules =
    TrialRules { records: 1, time_ms: 5_000, reject_ratio_max: None, output_ratio: None, sample_min: 100 };

/// A pipeline in which the version takes over from "a", with numbers from 200 on.
fn swapped(version: &Version, probation: ProbationRules, on_error: ErrorPolicy) -> Pipeline {
    let pipeline = Pipeline::start(&Version::new("a"), &Settings { on_error, ..Settings::default() });
    pipeline.feed(200);
    pipeline.wait_until_committed();
    let answer = pipeline.ask(version, ONE, probation);
    pipeline.wait_for_phase("trial");
    pipeline.feed(1);
    answer.wait().unwrap();
    pipeline
}

#[test]
fn a_person_can_go_back_without_a_trial_and_only_once() {
    let pipeline = swapped(&Version::new("b"), ProbationRules::default(), ErrorPolicy::DeadLetter);
    assert!(pipeline.status().can_return);
    let done = pipeline.rollback().wait().unwrap();
    assert_eq!((done.generation, done.digest, done.trial_records), (Generation(3), Version::new("a").digest(), 0));
    pipeline.feed(100);
    pipeline.wait_until_committed();
    let status = pipeline.status();
    assert_eq!(
        (status.event.unwrap().kind, status.can_return, status.phase.name()),
        (EventKind::Returned, false, "steady")
    );
    let refused = pipeline.rollback().wait().unwrap_err();
    assert!(matches!(&refused, SwapRefused::NoReturn { .. }) && refused.to_string().contains("`swap`"), "{refused}");
    let pipeline = pipeline.drain();
    let outputs = pipeline.outputs();
    assert_eq!(outputs.len(), 301);
    assert!(outputs.contains(&"200b".to_owned()) && outputs.contains(&"300a".to_owned()));
}

#[test]
fn too_many_failures_on_probation_bring_the_version_before_back() {
    let version = Version::new("b").traps(|number| (300..400).contains(&number) && number % 10 == 0);
    let probation = ProbationRules { records: 1_000_000, time_ms: 1_000_000, failures_max: 5 };
    let pipeline = swapped(&version, probation, ErrorPolicy::DeadLetter);
    assert_eq!(pipeline.status().phase.name(), "probation");
    pipeline.feed(400);
    pipeline.wait("the version before is back", |pipeline| pipeline.status().generation == Generation(3));
    pipeline.wait_until_committed();
    let status = pipeline.status();
    assert_eq!((status.digest, status.phase.name()), (Version::new("a").digest(), "steady"));
    let event = status.event.unwrap();
    assert_eq!(event.kind, EventKind::Returned);
    assert!(event.reason.contains("at fault for"), "{}", event.reason);
    assert_eq!(pipeline.outputs().len() + pipeline.letters().len(), 601);
}

#[test]
fn few_failures_do_not_and_probation_ends() {
    let version = Version::new("b").traps(|number| number == 250);
    let probation = ProbationRules { records: 300, time_ms: 1_000_000, failures_max: 1 };
    let pipeline = swapped(&version, probation, ErrorPolicy::DeadLetter);
    pipeline.feed(400);
    pipeline.wait_for_phase("steady");
    let status = pipeline.status();
    assert_eq!((status.generation, status.event.unwrap().kind), (Generation(2), EventKind::Settled));
    assert!(status.can_return, "a person can still go back");
}

#[test]
fn on_probation_what_would_stop_the_pipeline_brings_the_version_before_back() {
    let version = Version::new("b").traps(|number| number == 250);
    let pipeline = swapped(&version, ProbationRules::default(), ErrorPolicy::Stop);
    pipeline.feed(400);
    pipeline.wait("the version before is back", |pipeline| pipeline.status().generation == Generation(3));
    pipeline.wait_until_committed();
    assert!(pipeline.status().event.unwrap().reason.contains("offset 250"));
    let pipeline = pipeline.drain();
    let outputs = pipeline.outputs();
    assert_eq!(outputs.len(), 601);
    assert!(outputs.contains(&"250a".to_owned()) && pipeline.letters().is_empty());
}

#[test]
fn after_probation_it_stops_the_pipeline_as_it_says() {
    let version = Version::new("b").traps(|number| number == 250);
    let probation = ProbationRules { records: 0, ..ProbationRules::default() };
    let pipeline = swapped(&version, probation, ErrorPolicy::Stop);
    pipeline.feed(400);
    let ended = pipeline.end().unwrap_err();
    assert!(ended.to_string().contains("partition 0, offset 250: trapped"), "{ended}");
}

#[test]
fn there_is_no_way_back_to_code_that_cannot_read_what_was_written_and_that_is_told_before() {
    let old = Version { states: vec![state("seen", 1, &[])], ..Version::new("a") };
    let new = Version { states: vec![state("seen", 2, &[1])], ..Version::new("b") }.traps(|number| number % 2 == 1);
    let pipeline = Pipeline::start(&old, &Settings { workers: 2, ..Settings::default() });
    pipeline.feed(100);
    pipeline.wait_until_committed();
    let probation = ProbationRules { records: 1_000_000, time_ms: 1_000_000, failures_max: 3 };
    let answer = pipeline.ask(&new, TrialRules { time_ms: 20, ..ONE }, probation);
    let done = answer.wait().unwrap();
    let told = done.no_return.first().unwrap();
    assert!(told.what.contains("`seen`") && told.reason.contains("version 2"), "{told}");
    let refused = pipeline.rollback().wait().unwrap_err();
    assert!(refused.to_string().contains("cannot go back: state `seen` holds values of version 2"), "{refused}");
    pipeline.feed(200);
    pipeline.wait("probation fails", |pipeline| pipeline.status().phase.name() == "steady");
    let status = pipeline.status();
    assert_eq!((status.generation, status.event.unwrap().kind), (Generation(2), EventKind::Stuck));
}
