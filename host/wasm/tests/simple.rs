//! The simple world behind the same port, with the same promises.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use millstream_engine::ports::CallError;
use millstream_wasm::{Declared, OperatorConfig, World};
use support::{Driver, Input, config, driver, module, record};

fn poison() -> Driver {
    driver("simple-poison", config(r#"{"a": 1}"#))
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn it_is_keyed_by_what_it_imports() {
    let module = module("count-simple");
    assert_eq!(module.world(), World::RecordOperator);
    let declared = Declared { outputs: vec!["counts".to_owned()], ..Declared::default() };
    let (descriptor, _) = support::ENGINE.describe(&module, OperatorConfig { declared, ..config("") }).unwrap();
    assert!(descriptor.is_keyed());
    assert_eq!(descriptor.outputs, ["counts"]);
}

#[test]
fn records_see_what_those_before_them_wrote() {
    let mut count = driver("count-simple", config(""));
    let batch = [record("a", "x"), record("b", "x"), record("a", "x")];
    assert_eq!(count.process(&batch).unwrap().texts(), texts(&[("a", "1"), ("b", "1"), ("a", "2")]));
    count.restart();
    assert_eq!(count.process(&batch).unwrap().texts(), texts(&[("a", "3"), ("b", "2"), ("a", "4")]));
}

#[test]
fn a_bad_record_leaves_no_trace_and_costs_no_other() {
    for bad in ["reject", "trap", "bomb", "oversize"] {
        let mut poison = poison();
        let effects = poison.process(&[record("a", "x"), record("a", bad), record("a", "x")]).unwrap();
        assert_eq!(effects.texts(), texts(&[("a", "1"), ("a", "2")]), "{bad}");
        let [(1, reason)] = effects.rejections.as_slice() else { panic!("{bad}: {:?}", effects.rejections) };
        let expected = match bad {
            "reject" => "rejected on purpose",
            "trap" => "poisoned on purpose",
            "bomb" => "`limits.memory`",
            _ => "`limits.value` allows 1048576",
        };
        assert!(reason.contains(expected), "{bad}: {reason}");
    }
}

#[test]
fn a_loop_costs_its_record_only() {
    let mut poison = poison();
    poison.time_limit_ms = 30;
    let effects = poison.process(&[record("a", "loop"), record("a", "x")]).unwrap();
    assert_eq!(effects.texts(), texts(&[("a", "1")]));
    assert!(matches!(effects.rejections.as_slice(), [(0, reason)] if reason.contains("`limits.batch_time`")));
}

#[test]
fn a_request_to_stop_is_passed_on() {
    let error = poison().process(&[record("a", "x"), record("a", "stop")]).unwrap_err();
    assert_eq!(error, CallError::Stop("stopped on purpose".to_owned()));
}

#[test]
fn it_reads_its_configuration_its_input_and_its_names() {
    let mut poison = poison();
    let batch =
        [record("a", "config"), record("a", "input"), record("a", "names"), record("a", "x"), record("a", "names")];
    let expected = [("a", r#"{"a": 1}"#), ("a", "in"), ("a", ""), ("a", "1"), ("a", "seen")];
    assert_eq!(poison.process(&batch).unwrap().texts(), texts(&expected));
    let batch = [record("a", "forget"), record("a", "names"), record("a", "x")];
    assert_eq!(poison.process(&batch).unwrap().texts(), texts(&[("a", ""), ("a", "1")]));
}

#[test]
fn headers_and_timestamps_go_through() {
    let headers = vec![("h".to_owned(), Some(b"1".to_vec())), ("h".to_owned(), None)];
    let effects = poison().process(&[Input { headers: headers.clone(), ..record("a", "headers") }]).unwrap();
    let [output] = effects.outputs.as_slice() else { panic!("{effects:?}") };
    let mut expected = headers;
    expected.push(("added".to_owned(), None));
    assert_eq!((&output.value, output.timestamp_ms, &output.headers), (&None, 8, &expected));
}

#[test]
fn an_unknown_output_is_named() {
    let declared = Declared { outputs: vec!["one".to_owned(), "two".to_owned()], ..Declared::default() };
    let mut count = driver("count-simple", OperatorConfig { declared, ..config("") });
    let effects = count.process(&[record("a", "x")]).unwrap();
    let [(0, reason)] = effects.rejections.as_slice() else { panic!("{effects:?}") };
    assert!(reason.contains("more than one output") && reason.contains("one, two"), "{reason}");
}

#[test]
fn its_state_has_the_versions_that_are_declared() {
    let open = |reads_versions| {
        let declared = Declared { state_version: 3, reads_versions, ..Declared::default() };
        support::ENGINE.describe(&module("count-simple"), OperatorConfig { declared, ..config("") })
    };
    let (descriptor, _) = open(vec![1, 2]).unwrap();
    let state = descriptor.states.first().unwrap();
    assert_eq!((state.version, state.reads_versions.as_slice()), (3, [1, 2].as_slice()));
    let error = open(vec![3]).unwrap_err();
    assert!(error.to_string().contains("has version 3 and lists it"), "{error}");
    let declared = Declared { outputs: vec!["late".to_owned()], ..Declared::default() };
    let error = support::ENGINE.describe(&module("count-simple"), OperatorConfig { declared, ..config("") });
    assert!(error.is_err_and(|error| error.to_string().contains("`late` is the host's own")));
}

#[test]
fn all_names_at_once_are_given_up_to_a_bound() {
    let mut poison = poison();
    let effects = poison.process(&[record("a", "fill"), record("a", "count-all"), record("a", "x")]).unwrap();
    assert_eq!(effects.texts(), texts(&[("a", "10000"), ("a", "1")]));
    // One name more, `seen`, and there are too many.
    let effects = poison.process(&[record("a", "count-all"), record("a", "count-page")]).unwrap();
    let [(0, reason)] = effects.rejections.as_slice() else { panic!("{effects:?}") };
    assert!(reason.contains("more than 10000 names") && reason.contains("`after`"), "{reason}");
    assert_eq!(effects.texts(), texts(&[("a", "7")]));
}

#[test]
fn an_operator_that_breaks_on_every_record_still_gets_through_all_of_them() {
    let effects = poison().process(&vec![record("a", "trap"); 40]).unwrap();
    assert_eq!(effects.rejections.len(), 40);
    assert!(effects.rejections.iter().all(|(_, reason)| reason.starts_with("gave up: ")), "{:?}", effects.rejections);
}
