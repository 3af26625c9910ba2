//! What a call comes to: every way in which one can fail, and that nothing of it stays.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use millstream_engine::ports::CallError;
use millstream_model::limits::OperatorLimits;
use millstream_wasm::OperatorConfig;
use support::{Driver, config, driver, record};

fn poison() -> Driver {
    driver("poison", config("{}"))
}

fn ok(name: &str) -> support::Input {
    record(name, "fine")
}

/// Counts a key, to see whether state and instance are as they should be.
fn assert_works(poison: &mut Driver) {
    let effects = poison.process(&[ok("probe")]).unwrap();
    assert_eq!(effects.texts(), [("probe".to_owned(), "fine".to_owned())]);
}

#[test]
fn a_panic_is_told_from_a_trap_with_its_text_and_the_guests_frames() {
    let mut poison = poison();
    let error = poison.process(&[ok("a"), record("b", "trap"), ok("c")]).unwrap_err();
    let CallError::Panic { text, backtrace } = error else { panic!("{error:?}") };
    assert!(text.starts_with("panicked at ") && text.contains("lib.rs"), "{text}");
    assert!(text.ends_with(": poisoned on purpose"), "{text}");
    let backtrace = backtrace.unwrap();
    assert!(backtrace.contains("core::panicking::panic_fmt"), "{backtrace}");
    assert!(backtrace.contains("millstream_sdk::run::Instance<O>") && backtrace.contains("::process"), "{backtrace}");
    assert_works(&mut poison);
}

#[test]
fn a_loop_is_a_timeout() {
    let mut poison = poison();
    poison.time_limit_ms = 30;
    let error = poison.process(&[record("a", "loop")]).unwrap_err();
    assert_eq!(error, CallError::Timeout { limit_ms: 30, last_words: None });
    poison.time_limit_ms = 60_000;
    assert_works(&mut poison);
}

#[test]
fn a_memory_bomb_hits_the_limit_by_name() {
    let mut poison = poison();
    let error = poison.process(&[record("a", "bomb")]).unwrap_err();
    let CallError::Limit { limit: "memory", reason } = error else { panic!("{error:?}") };
    assert!(reason.contains("67108864 allowed"), "{reason}");
    assert_works(&mut poison);
}

#[test]
fn a_stack_that_runs_out_of_memory_is_a_trap() {
    let mut poison = poison();
    let error = poison.process(&[record("a", "recurse")]).unwrap_err();
    let CallError::Trap { reason, .. } = error else { panic!("{error:?}") };
    // Rust keeps arrays on a stack in linear memory, which ends before the call stack does; see `failures.rs` for that one.
    assert_eq!(reason, "out of bounds memory access");
    assert_works(&mut poison);
}

#[test]
fn a_rejected_record_leaves_no_trace_and_the_others_stay() {
    let mut poison = poison();
    let effects = poison.process(&[ok("a"), record("a", "reject"), ok("b")]).unwrap();
    assert_eq!(effects.rejections, [(1, "rejected on purpose".to_owned())]);
    assert_eq!(effects.texts(), [("a".to_owned(), "fine".to_owned()), ("b".to_owned(), "fine".to_owned())]);
}

#[test]
fn an_oversized_value_refuses_its_row() {
    let mut poison = poison();
    let error = poison.process(&[ok("a"), record("b", "oversize"), ok("c")]).unwrap_err();
    let CallError::Reject(rows) = error else { panic!("{error:?}") };
    assert_eq!(rows.len(), 1);
    assert!(matches!(rows.as_slice(), [(1, reason)] if reason.contains("`limits.value` allows 1048576")), "{rows:?}");
    assert_works(&mut poison);
}

#[test]
fn a_flood_hits_a_limit() {
    let mut poison = poison();
    let error = poison.process(&[ok("a"), record("b", "flood")]).unwrap_err();
    assert!(matches!(&error, CallError::Limit { limit: "memory", .. }), "{error:?}");
    assert_works(&mut poison);
}

#[test]
fn outputs_are_limited_per_record_and_per_call() {
    let words = "w ".repeat(1_001);
    let mut split = driver("split", config("{}"));
    let error = split.process(&[record("a", "one two"), record("b", &words)]).unwrap_err();
    let CallError::Reject(rows) = error else { panic!("{error:?}") };
    assert!(matches!(rows.as_slice(), [(1, reason)] if reason.contains("`limits.outputs_per_record`")), "{rows:?}");
    let limits = OperatorLimits { output_bytes_max: 1_000, ..OperatorLimits::default() };
    let mut split = driver("split", OperatorConfig { limits, ..config("{}") });
    let error = split.process(&[record("a", &"w ".repeat(501))]).unwrap_err();
    assert!(matches!(&error, CallError::Limit { limit: "output_bytes", .. }), "{error:?}");
    assert_eq!(split.process(&[record("a", "b")]).unwrap().texts(), [("b".to_owned(), "b".to_owned())]);
}

#[test]
fn a_request_to_stop_is_passed_on() {
    let error = poison().process(&[record("a", "stop")]).unwrap_err();
    assert_eq!(error, CallError::Stop("stopped on purpose".to_owned()));
}

#[test]
fn a_failed_call_changes_no_state() {
    let mut poison = poison();
    for bad in ["trap", "bomb", "oversize"] {
        assert!(poison.process(&[ok("a"), record("b", bad), ok("c")]).is_err(), "{bad}");
        assert_eq!(poison.changed_keys(), 0, "{bad}");
    }
    poison.process(&[ok("a"), record("b", "reject"), ok("c")]).unwrap();
    assert_eq!(poison.changed_keys(), 2);
}

#[test]
fn state_outlives_the_instance() {
    let mut count = driver("count", config("{}"));
    assert_eq!(count.process(&[record("a", "x")]).unwrap().texts(), [("a".to_owned(), "1".to_owned())]);
    count.restart();
    assert_eq!(count.process(&[record("a", "x")]).unwrap().texts(), [("a".to_owned(), "2".to_owned())]);
}

#[test]
fn every_field_and_every_fact_crosses_the_boundary() {
    let mut latest = driver("two-operators", OperatorConfig { name: Some("latest".to_owned()), ..config("{}") });
    latest.mark.watermark_ms = Some(-5);
    latest.mark.now_ms = 123;
    latest.input = 1;
    let mut first = record("k", "one");
    first.headers = vec![("h".to_owned(), Some(b"1".to_vec())), ("h".to_owned(), None)];
    let tombstone = support::Input { value: None, ..record("k", "") };
    let effects = latest.process(&[first.clone(), record("k", ""), tombstone]).unwrap();
    let values: Vec<_> = effects.outputs.iter().map(|output| output.value.clone()).collect();
    assert_eq!(values, [None, Some(b"one".to_vec()), Some(Vec::new())]);
    let output = effects.outputs.first().unwrap();
    assert_eq!(output.timestamp_ms, 1_007);
    let mut headers = first.headers;
    headers.push(("watermark".to_owned(), Some(b"-5".to_vec())));
    headers.push(("now".to_owned(), Some(b"123".to_vec())));
    assert_eq!(output.headers, headers);
    assert_eq!(effects.metrics.len(), 3, "{:?}", effects.metrics);
}

#[test]
fn the_same_calls_have_the_same_effects() {
    let run = || {
        let mut latest = driver("two-operators", OperatorConfig { name: Some("latest".to_owned()), ..config("{}") });
        let batches = [vec![record("a", "1"), record("b", "2")], vec![record("b", "3"), record("a", "")]];
        batches.iter().map(|batch| latest.process(batch).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn many_failures_in_a_row_leave_the_operator_working() {
    let mut poison = poison();
    for _ in 0..50 {
        assert!(matches!(poison.process(&[record("a", "trap")]), Err(CallError::Panic { .. })));
    }
    assert_works(&mut poison);
}
