//! What the SDK keeps an author from: failures that are returned, the metrics contract, limits of the runtime, an operator that does not always
//! describe itself alike.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use millstream_engine::ports::CallError;
use millstream_model::limits::OperatorLimits;
use millstream_wasm::{Engine, EngineSettings, OperatorConfig};
use support::{Driver, ENGINE, Input, config, driver, module, record, source};

fn failures() -> Driver {
    driver("failures", config(""))
}

fn error(records: &[Input]) -> CallError {
    let mut failures = failures();
    let error = failures.process(records).unwrap_err();
    assert_eq!(failures.process(&[record("a", "x")]).unwrap().texts(), [("a".to_owned(), "x".to_owned())], "{error:?}");
    error
}

fn trapped(records: &[Input]) -> String {
    match error(records) {
        CallError::Trap { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_are_returned_as_rejected_are_named_with_their_reasons() {
    let batch = [record("a", "x"), record("b", "reject"), record("c", "x"), record("d", "reject")];
    let expected = [(1, "row 1 on purpose".to_owned()), (3, "row 3 on purpose".to_owned())];
    assert_eq!(error(&batch), CallError::Reject(expected.to_vec()));
}

#[test]
fn a_rejection_that_names_no_row_or_a_wrong_one_is_a_trap() {
    let of = |value| trapped(&[record("a", "x"), record("b", value)]);
    assert_eq!(of("reject-none"), "it failed with `reject` and named no row");
    assert_eq!(of("reject-beyond"), "it rejected row 2, the batch has 2 rows");
    assert_eq!(of("reject-twice"), "it rejected row 1 twice");
}

#[test]
fn a_request_to_retry_keeps_the_instance() {
    let mut failures = failures();
    let batch = [record("a", "retry-once")];
    assert_eq!(failures.process(&batch), Err(CallError::Retry("once".to_owned())));
    // The instance still knows that it has asked.
    assert_eq!(failures.process(&batch).unwrap().texts(), [("a".to_owned(), "retry-once".to_owned())]);
    assert_eq!(error(&[record("a", "retry")]), CallError::Retry("always".to_owned()));
    assert_eq!(error(&[record("a", "stop")]), CallError::Stop("stopped on purpose".to_owned()));
}

#[test]
fn a_metric_keeps_its_kind_for_good() {
    let mut failures = failures();
    failures.process(&[record("a", "x")]).unwrap();
    failures.restart();
    let error = failures.process(&[record("a", "gauge")]).unwrap_err();
    let CallError::Trap { reason, .. } = error else { panic!("{error:?}") };
    assert_eq!(reason, "the metric `seen` is a counter and was used as a gauge");
    // Within one call it cannot change either.
    assert_eq!(trapped(&[record("a", "gauge")]), "the metric `seen` is a gauge and was used as a counter");
}

#[test]
fn names_of_metrics_are_limited_and_never_cut() {
    let limits = OperatorLimits { metric_names_max: 10, ..OperatorLimits::default() };
    let mut failures = driver("failures", OperatorConfig { limits, ..config("") });
    // With `seen` there are ten.
    failures.process(&[record("9", "names")]).unwrap();
    let error = failures.process(&[record("10", "names")]).unwrap_err();
    let CallError::Limit { limit: "metrics", reason } = error else { panic!("{error:?}") };
    assert!(reason.contains("`name_9`") && reason.contains("10 allowed"), "{reason}");
    failures.process(&[record("9", "names")]).unwrap();
    let reason = trapped(&[record("a", "long-name")]);
    assert!(reason.contains("(64 bytes) is no name of a metric"), "{reason}");
}

#[test]
fn an_exit_with_last_words_is_a_panic() {
    let CallError::Panic { text, backtrace } = error(&[record("a", "exit")]) else { panic!("no panic") };
    // WASI 0.2 tells whether it went well, and no more.
    assert_eq!(text, "exits on purpose (it exited with status 1)");
    assert!(backtrace.is_some());
}

#[test]
fn what_was_said_before_time_ran_out_is_kept() {
    let mut failures = failures();
    failures.time_limit_ms = 30;
    let error = failures.process(&[record("a", "mutter")]).unwrap_err();
    let last_words = Some("never comes back".to_owned());
    assert_eq!(error, CallError::Timeout { limit_ms: 30, last_words });
    assert_eq!(error.to_string(), "ran longer than 30 ms (`limits.batch_time`); its last words: never comes back");
}

#[test]
fn endless_recursion_hits_the_limit_of_the_call_stack_by_name() {
    let CallError::Limit { limit: "stack", reason } = error(&[record("a", "deep")]) else { panic!("no limit") };
    assert_eq!(reason, "the call stack is full, 524288 bytes allowed");
    let settings = EngineSettings { stack_bytes_max: 64 << 10, ..EngineSettings::default() };
    let engine = Engine::new(settings).unwrap();
    let limits = OperatorLimits { stack_bytes_max: 64 << 10, ..OperatorLimits::default() };
    let module = engine.load(&source("failures")).unwrap();
    let factory = engine.operator(&module, OperatorConfig { limits: limits.clone(), ..config("") }).unwrap();
    let error = Driver::new(factory, limits).process(&[record("a", "deep")]).unwrap_err();
    assert!(matches!(&error, CallError::Limit { limit: "stack", reason } if reason.contains("65536")), "{error:?}");
}

#[test]
fn a_request_that_hands_over_too_much_hits_its_limit_by_name() {
    let CallError::Limit { limit: "request", reason } = error(&[record("a", "heavy")]) else { panic!("no limit") };
    assert!(reason.contains("16777216 bytes"), "{reason}");
    // With more room for the request, the value itself is what is too large.
    let limits = OperatorLimits { request_bytes_max: 64 << 20, ..OperatorLimits::default() };
    let error = driver("failures", OperatorConfig { limits, ..config("") }).process(&[record("a", "heavy")]);
    assert!(matches!(&error, Err(CallError::Reject(rows)) if rows.len() == 1), "{error:?}");
}

#[test]
fn an_instance_that_describes_itself_otherwise_is_refused() {
    let factory = ENGINE.operator(&module("failures"), config("")).unwrap();
    assert_eq!(factory.descriptor().outputs, ["out"]);
    assert!(factory.instantiate().is_ok());
    let listens = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink).finish();
    let refused = tracing::subscriber::with_default(listens, || factory.instantiate().map(drop)).unwrap_err();
    assert_eq!(refused.operator, "subject");
    assert_eq!(refused.reason, "it describes itself otherwise than before, with the same configuration");
    assert!(factory.instantiate().is_ok());
}
