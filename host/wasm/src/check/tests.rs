#![expect(clippy::unwrap_used, reason = "tests")]

use super::contract::{Contract, is_compatible, is_wasi};
use super::{Checked, World, compare};
use wit_parser::{Resolve, SourceMap};

/// What is said of a component of the world `subject`, with `interfaces` in the package `package`.
fn checked(package: &str, interfaces: &str, world: &str) -> Result<Checked, Vec<String>> {
    let mut map = SourceMap::default();
    map.push_str("subject.wit", format!("package {package};\n{interfaces}\nworld subject {{ {world} }}"));
    let mut resolve = Resolve::default();
    let package = resolve.push_group(map.parse().map_err(|(map, error)| error.render(&map)).unwrap()).unwrap();
    let world = resolve.select_world(&[package], Some("subject")).unwrap();
    compare(&resolve, world, &Contract::new().unwrap())
}

const OPERATOR: &str = "
    interface types {
        type row = u32;
        record bytes-column { ends: list<u32>, bytes: list<u8>, absent: list<u32> }
        record batch { input: u32, key-rows: list<u32>, timestamps-ms: list<s64>, values: bytes-column }
        record rejection { row: row, reason: string }
        variant failure { reject(list<rejection>), retry(string), stop(string) }
    }";

fn problems(result: Result<Checked, Vec<String>>) -> String {
    result.unwrap_err().join("\n")
}

const HANDLER: &str = "interface handler {
    process: func(key: option<list<u8>>, value: option<list<u8>>, timestamp-ms: s64) -> result<_, string>;
}";

#[test]
fn an_operator_of_the_simple_world_passes() {
    let checked = checked("millstream:record-operator@0.1.0", HANDLER, "export handler;").unwrap();
    assert_eq!(checked.world, World::RecordOperator);
    assert_eq!(checked.exports.values().next().unwrap(), &["process"]);
}

#[test]
fn a_later_patch_version_passes() {
    assert!(checked("millstream:record-operator@0.1.7", HANDLER, "export handler;").is_ok());
}

#[test]
fn another_version_of_the_contract_is_named() {
    let text = problems(checked("millstream:record-operator@0.2.0", HANDLER, "export handler;"));
    assert!(text.contains("but `millstream:record-operator/handler@0.2.0`"), "{text}");
    let state = "interface state { get: func(name: string) -> option<list<u8>>; }";
    let text = problems(checked(
        "millstream:record-operator@0.2.0",
        &format!("{HANDLER}{state}"),
        "import state; export handler;",
    ));
    let expected =
        "it imports `millstream:record-operator/state@0.2.0`, the host offers `millstream:record-operator/state@0.1.0`";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_world_of_another_kind_is_told_apart() {
    let text = problems(checked("other:kind@1.0.0", "", "export greet: func(name: string) -> string;"));
    assert_eq!(
        text,
        "it exports neither `millstream:operator/operator@0.1.0` nor `millstream:record-operator/handler@0.1.0`, but `greet`"
    );
}

#[test]
fn an_unknown_import_is_named() {
    let world = "import wasi:http/types@0.2.0; export handler;";
    let http = "package wasi:http@0.2.0 { interface types { x: func(); } }";
    let text = problems(checked("millstream:record-operator@0.1.0", &format!("{HANDLER}{http}"), world));
    assert_eq!(text, "it imports `wasi:http/types@0.2.0`, which the host does not offer");
    let text = problems(checked("millstream:record-operator@0.1.0", HANDLER, "import log-it: func(); export handler;"));
    assert_eq!(text, "it imports a function `log-it`, which the host does not offer");
}

#[test]
fn an_unknown_function_of_a_known_import_is_named() {
    let state = "interface state { get: func(name: string) -> option<list<u8>>; add: func(name: string, delta: s64); }";
    let text = problems(checked(
        "millstream:record-operator@0.1.0",
        &format!("{HANDLER}{state}"),
        "import state; export handler;",
    ));
    assert_eq!(
        text,
        "it imports `add` of `millstream:record-operator/state@0.1.0`, which this host does not have: it was built for a newer one"
    );
}

#[test]
fn a_wrong_signature_is_named_down_to_the_type() {
    let cases = [
        (
            "process: func(key: list<u8>, value: option<list<u8>>, timestamp-ms: s64) -> result<_, string>;",
            "parameter `key` is `list<u8>`, the contract has `option<list<u8>>`",
        ),
        (
            "process: func(key: option<list<u32>>, value: option<list<u8>>, timestamp-ms: s64) -> result<_, string>;",
            "an element of the option of parameter `key` is `u32`, the contract has `u8`",
        ),
        (
            "process: func(key: option<list<u8>>, value: option<list<u8>>) -> result<_, string>;",
            "its parameters are `key`, `value`, the contract has `key`, `value`, `timestamp-ms`",
        ),
        (
            "process: func(key: option<list<u8>>, value: option<list<u8>>, timestamp-ms: s64);",
            "the result is missing, the contract has `result<_, string>`",
        ),
        (
            "process: func(key: option<list<u8>>, value: option<list<u8>>, timestamp-ms: s64) -> result<u8, string>;",
            "ok of the result is `u8`, the contract has none",
        ),
    ];
    for (function, expected) in cases {
        let handler = format!("interface handler {{ {function} }}");
        let text = problems(checked("millstream:record-operator@0.1.0", &handler, "export handler;"));
        let whole = format!(
            "its export `millstream:record-operator/handler@0.1.0` has `process` with another signature: {expected}"
        );
        assert_eq!(text, whole);
    }
}

#[test]
fn missing_functions_and_fields_of_the_columnar_world_are_named() {
    let operator =
        "interface operator { use types.{batch, failure}; process: func(batch: batch) -> result<_, failure>; }";
    let interfaces = format!("{}{operator}", OPERATOR.replace("timestamps-ms: list<s64>, ", ""));
    let text = problems(checked("millstream:operator@0.1.0", &interfaces, "export operator;"));
    for expected in [
        "its export `millstream:operator/operator@0.1.0` lacks the function `catalog`",
        "its export `millstream:operator/operator@0.1.0` lacks the function `open`",
        "parameter `batch` has the field `values` where the contract has `timestamps-ms`",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_optional_export_is_checked_like_others() {
    let subject = |migrate: &str| {
        let operator =
            "interface operator { use types.{batch, failure}; process: func(batch: batch) -> result<_, failure>; }";
        let migration = format!("interface migration {{ use types.{{bytes-column, failure}}; {migrate} }}");
        let interfaces = format!("{OPERATOR}{operator}{migration}");
        problems(checked("millstream:operator@0.1.3", &interfaces, "export operator; export migration;"))
    };
    let right = "migrate: func(state: u32, from-version: u32, values: bytes-column) -> result<bytes-column, failure>;";
    assert!(!subject(right).contains("migration"), "{}", subject(right));
    let text = subject("migrate: func(state: u32, values: bytes-column) -> result<bytes-column, failure>;");
    let expected = "its export `millstream:operator/migration@0.1.3` has `migrate` with another signature: its parameters are `state`, `values`, \
                    the contract has `state`, `from-version`, `values`";
    assert!(text.contains(expected), "{text}");
    let text = subject("downgrade: func();");
    assert!(text.contains("its export `millstream:operator/migration@0.1.3` lacks the function `migrate`"), "{text}");
}

#[test]
fn a_changed_case_is_named() {
    let interfaces = OPERATOR.replace("retry(string)", "again(string)");
    let operator =
        "interface operator { use types.{batch, failure}; process: func(batch: batch) -> result<_, failure>; }";
    let text = problems(checked("millstream:operator@0.1.0", &format!("{interfaces}{operator}"), "export operator;"));
    assert!(text.contains("the error of the result has the case `again` where the contract has `retry`"), "{text}");
}

#[test]
fn versions_serve_each_other_within_a_track() {
    assert!(is_compatible("a:b/c@0.1.0", "a:b/c@0.1.9"));
    assert!(is_compatible("a:b/c@1.2.0", "a:b/c@1.9.0"));
    for other in ["a:b/c@0.2.0", "a:b/c@1.1.0", "a:b/d@0.1.0", "a:b/c"] {
        assert!(!is_compatible("a:b/c@0.1.0", other), "{other}");
    }
}

#[test]
fn only_known_packages_of_wasi_are_offered() {
    assert!(is_wasi("wasi:cli/environment@0.2.6"));
    for name in ["wasi:http/types@0.2.0", "wasi:cli/environment@0.3.0", "wasix:cli/environment@0.2.0", "wasi:cli"] {
        assert!(!is_wasi(name), "{name}");
    }
}
