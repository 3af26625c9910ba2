//! Timers through real modules.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use millstream_engine::call::TimerOp;
use millstream_engine::ports::CallError;
use millstream_model::descriptor::TimerClock;
use millstream_wasm::{LoadError, OperatorConfig};
use support::{Driver, ENGINE, config, driver, module, record};

fn named(name: &str) -> OperatorConfig {
    OperatorConfig { name: Some(name.to_owned()), ..config("{}") }
}

fn alarms() -> Driver {
    driver("alarms", named("alarms"))
}

/// Timer, key row, id and time.
fn changes(timers: &[TimerOp]) -> Vec<(u32, u32, u64, Option<i64>)> {
    timers.iter().map(|op| (op.timer, op.key_row, op.id, op.time_ms)).collect()
}

#[test]
fn a_module_tells_its_timers_and_that_it_never_asks_for_the_watermark() {
    let factory = ENGINE.operator(&module("alarms"), named("alarms")).unwrap();
    let descriptor = factory.descriptor();
    let timers: Vec<_> = descriptor.timers.iter().map(|timer| (timer.name.as_str(), timer.clock)).collect();
    let (event, processing) = (TimerClock::Event, TimerClock::Processing);
    assert_eq!(timers, [("event", event), ("other", event), ("clock", processing)]);
    assert!(descriptor.is_keyed() && descriptor.needs_marks() && !descriptor.reads_watermark);
    let factory = ENGINE.operator(&module("count"), config("{}")).unwrap();
    assert!(factory.descriptor().timers.is_empty() && !factory.descriptor().needs_marks());
}

#[test]
fn what_records_say_of_timers_is_staged_in_a_few_calls() {
    let effects = alarms()
        .process(&[
            record("a", "event=10 other=20"),
            record("b", "each=5 each=6"),
            record("a", "cancel clock=30"),
            record("b", "event=1 no-word"),
            record("b", "cancel=6"),
        ])
        .unwrap();
    assert_eq!(effects.rejections, [(3, "no such word".to_owned())]);
    let mut staged = changes(&effects.timers);
    staged.sort();
    let expected = [(0, 0, 0, None), (0, 1, 5, Some(5)), (0, 1, 6, None), (1, 0, 0, Some(20)), (2, 0, 0, Some(30))];
    assert_eq!(staged, expected);
}

#[test]
fn timers_reach_the_operator_with_name_id_time_and_the_state_of_their_key() {
    let mut alarms = alarms();
    let effects = alarms.fire(&[("a", 0, 7, 20), ("b", 1, 0, 21), ("c", 2, 0, -3)]).unwrap();
    let out = ["Some(0) 7 at 20, 1", "Some(1) 0 at 21, 1", "None 0 at -3, 1"];
    let texts: Vec<_> = effects.outputs.iter().map(|output| output.text().1).collect();
    assert_eq!(texts, out);
    let times: Vec<_> = effects.outputs.iter().map(|output| output.timestamp_ms).collect();
    assert_eq!(times, [20, 21, -3]);
    let mut staged = changes(&effects.timers);
    staged.sort();
    assert_eq!(staged, [(0, 0, 0, Some(21)), (1, 0, 0, None)]);
    let effects = alarms.fire(&[("a", 0, 0, 21)]).unwrap();
    assert_eq!(effects.texts(), [("a".to_owned(), "Some(0) 0 at 21, 2".to_owned())]);
}

#[test]
fn a_timer_that_cannot_be_handled_is_refused_alone_or_fails_the_call() {
    let mut alarms = alarms();
    let effects = alarms.fire(&[("a", 0, 0, 13), ("b", 0, 0, 15), ("c", 0, 0, 16)]).unwrap();
    let rows: Vec<u32> = effects.rejections.iter().map(|(row, _)| *row).collect();
    assert_eq!((rows, effects.outputs.len()), (vec![0, 1], 1));
    assert!(effects.rejections[1].1.contains("no value to forward"), "{:?}", effects.rejections);
    let failed = alarms.fire(&[("a", 0, 0, 1), ("d", 0, 0, 14)]).unwrap_err();
    match failed {
        CallError::Panic { text, .. } => assert!(text.contains("a very unlucky time"), "{text}"),
        other => panic!("{other:?}"),
    }
    // Nothing of it is left, and the next instance goes on.
    let effects = alarms.fire(&[("a", 0, 0, 1)]).unwrap();
    assert_eq!(effects.texts()[0].1, "Some(0) 0 at 1, 1");
}

#[test]
fn a_timer_that_nothing_would_handle_is_refused_when_the_operator_opens() {
    let error = ENGINE.operator(&module("alarms"), named("mute")).err().unwrap();
    let LoadError::Open { reason, .. } = error else { panic!("{error:?}") };
    assert!(reason.contains("`with OnTimer`"), "{reason}");
}
