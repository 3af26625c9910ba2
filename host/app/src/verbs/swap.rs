use crate::api::{Asked, Body};
use crate::cli::{Format, Promote, Reading, Rollback, Swap, SwapRules};
use crate::config::time_ms;
use crate::error::{Failure, Outcome};
use comfy_table::Table;
use millstream_model::ids::Digest;
use serde_json::{Value, json};
use std::path::Path;

/// `millstream swap`.
pub(crate) fn swap(arguments: &Swap) -> Outcome<()> {
    let Swap { operator, module, reading, .. } = arguments;
    let body = body(module)?;
    if arguments.check {
        let path = format!("/operators/{operator}/swap/check{}", query(&[allow(arguments)]));
        let report = super::asked(reading, Asked::post(&path, body))?;
        return show(reading, &report, show_report);
    }
    if arguments.shadow {
        let path = format!("/operators/{operator}/shadow{}", query(&[allow(arguments)]));
        let shadow = super::asked(reading, Asked::post(&path, body))?;
        return show(reading, &shadow, |shadow| {
            anstream::println!("{} follows; `status` shows what came of it", text(shadow, "/digest"));
        });
    }
    let rules = [vec![allow(arguments)], rules(&arguments.rules)?].concat();
    let path = format!("/operators/{operator}/swap{}", query(&rules));
    let switched = super::asked(reading, Asked::post(&path, body))?;
    show(reading, &switched, show_switched)
}

/// `millstream promote`.
pub(crate) fn promote(arguments: &Promote) -> Outcome<()> {
    let path = format!("/operators/{}/shadow/promote{}", arguments.operator, query(&rules(&arguments.rules)?));
    let switched = super::asked(&arguments.reading, Asked::post(&path, Body::None))?;
    show(&arguments.reading, &switched, show_switched)
}

/// `millstream discard`.
pub(crate) fn discard(arguments: &Rollback) -> Outcome<()> {
    let path = format!("/operators/{}/shadow", arguments.operator);
    let shadow = super::asked(&arguments.reading, Asked::delete(&path))?;
    show(&arguments.reading, &shadow, |shadow| show_shadow("discarded", shadow))
}

/// What came of a shadow.
pub(super) fn show_shadow(what: &str, shadow: &Value) {
    anstream::println!(
        "{what}: shadow {}: {} records; outputs {} equal, {} changed, {} only of what runs, {} only of the shadow; {} records it failed on",
        text(shadow, "/digest"),
        text(shadow, "/records"),
        text(shadow, "/equal"),
        text(shadow, "/changed"),
        text(shadow, "/only_old"),
        text(shadow, "/only_new"),
        text(shadow, "/failed")
    );
    let over = text(shadow, "/over");
    if !over.is_empty() {
        anstream::println!("{what}: the shadow is over: {over}");
    }
    if shadow.pointer("/first/source").is_some() {
        let record = |pointer: &str| match shadow.pointer(pointer) {
            Some(Value::Null) | None => "nothing".to_owned(),
            Some(record) => format!("{} = {}", text(record, "/key"), text(record, "/value")),
        };
        let failure = text(shadow, "/first/failure");
        let how = if failure.is_empty() {
            format!("{} instead of {}", record("/first/new"), record("/first/old"))
        } else {
            failure
        };
        anstream::println!(
            "{what}: first at source `{}`, partition {}, offset {}: {how}",
            text(shadow, "/first/source"),
            text(shadow, "/first/partition"),
            text(shadow, "/first/offset")
        );
    }
}

/// `millstream rollback`.
pub(crate) fn rollback(arguments: &Rollback) -> Outcome<()> {
    let path = format!("/operators/{}/rollback", arguments.operator);
    let switched = super::asked(&arguments.reading, Asked::post(&path, Body::None))?;
    show(&arguments.reading, &switched, show_switched)
}

/// A file is sent as it is, anything else by its name.
fn body(module: &str) -> Outcome<Body> {
    let is_name = Digest::parse(module).is_some() || (module.contains('@') && !module.contains('/'));
    if is_name && !Path::new(module).is_file() {
        return Ok(Body::Json(json!({ "module": module })));
    }
    let bytes = std::fs::read(module);
    bytes.map(Body::Module).map_err(|cause| Failure::config(format!("module `{module}` cannot be read: {cause}")))
}

type Parameter = (&'static str, Option<String>);

fn allow(arguments: &Swap) -> Parameter {
    ("allow", (!arguments.allow.is_empty()).then(|| arguments.allow.join(",")))
}

fn rules(arguments: &SwapRules) -> Outcome<Vec<Parameter>> {
    let time = |flag: &str, given: &Option<String>| {
        let ms = given.as_deref().map(time_ms).transpose();
        ms.map(|ms| ms.map(|ms| ms.to_string())).map_err(|text| Failure::config(format!("{flag}: {text}")))
    };
    Ok(vec![
        ("trial_records", arguments.trial_records.map(|number| number.to_string())),
        ("trial_time_ms", time("--trial-time", &arguments.trial_time)?),
        ("max_reject_ratio", arguments.max_reject_ratio.map(|number| number.to_string())),
        ("output_ratio", arguments.output_ratio.clone()),
        ("min_sample", arguments.min_sample.map(|number| number.to_string())),
        ("probation_records", arguments.probation_records.map(|number| number.to_string())),
        ("probation_time_ms", time("--probation-time", &arguments.probation_time)?),
        ("max_failures", arguments.max_failures.map(|number| number.to_string())),
    ])
}

/// The query of a request; empty without parameters.
fn query(parameters: &[Parameter]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_ref()?))));
    let given: Vec<String> = given.collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// Percent-encoding of everything that is not unreserved (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn show(reading: &Reading, answer: &Value, people: fn(&Value)) -> Outcome<()> {
    if reading.output == Format::Json {
        return super::print_json(answer);
    }
    people(answer);
    Ok(())
}

fn text(answer: &Value, pointer: &str) -> String {
    match answer.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(value) => value.to_string(),
    }
}

fn list<'a>(answer: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    answer.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn show_switched(answer: &Value) {
    let is_proven = answer.pointer("/is_proven").and_then(Value::as_bool).unwrap_or_default();
    let proof = if is_proven {
        format!("after a trial of {} records", text(answer, "/trial_records"))
    } else {
        "unproven: no record came while it was tried".to_owned()
    };
    anstream::println!(
        "{} runs generation {} ({}), {proof}",
        text(answer, "/operator"),
        text(answer, "/generation"),
        text(answer, "/digest")
    );
    show_notes(answer, "");
}

fn show_notes(answer: &Value, below: &str) {
    for note in list(answer, &format!("{below}/notes")).filter_map(Value::as_str) {
        anstream::println!("note: {note}");
    }
    for misfit in list(answer, &format!("{below}/no_return")) {
        anstream::println!(
            "no return: {} {}: {}",
            text(misfit, "/what"),
            text(misfit, "/reason"),
            text(misfit, "/advice")
        );
    }
}

fn show_report(answer: &Value) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.add_row(["operator".to_owned(), text(answer, "/operator")]);
    table.add_row(["module".to_owned(), format!("{}, {} bytes", text(answer, "/digest"), text(answer, "/bytes"))]);
    for state in list(answer, "/plan/states") {
        let from: Vec<String> = list(state, "/from").map(Value::to_string).collect();
        let from = if from.is_empty() { String::new() } else { format!(" from {}", from.join(", ")) };
        let what = format!("{} (version {}{from})", text(state, "/verdict"), text(state, "/version"));
        table.add_row([format!("state {}", text(state, "/name")), what]);
    }
    for capability in list(answer, "/capabilities") {
        let is_allowed = capability.pointer("/is_allowed").and_then(Value::as_bool).unwrap_or_default();
        let what = if is_allowed { "allowed" } else { "has to be allowed: --allow" };
        table.add_row([format!("imports {}", text(capability, "/interface")), what.to_owned()]);
    }
    for sample in list(answer, "/samples") {
        let what = format!("{} tried, {} rejected", text(sample, "/tried"), text(sample, "/rejected"));
        let problem = list(sample, "/problems").filter_map(Value::as_str).next();
        let what = problem.map_or_else(|| what.clone(), |problem| format!("{what}: {problem}"));
        table.add_row([format!("migrates {} from {}", text(sample, "/state"), text(sample, "/from")), what]);
    }
    anstream::println!("{table}");
    show_notes(answer, "/plan");
    anstream::println!("it could be tried; nothing was changed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_was_given_and_nothing_else() {
        assert_eq!(query(&[("a", None)]), "");
        assert_eq!(
            query(&[("a", None), ("b", Some("wasi:x/y,z".to_owned())), ("c", Some("0.5..2".to_owned()))]),
            "?b=wasi%3Ax%2Fy%2Cz&c=0.5..2"
        );
    }

    #[test]
    fn a_name_is_sent_as_a_name_and_a_file_as_it_is() {
        assert!(matches!(body("count@1.0.0"), Ok(Body::Json(_))));
        assert!(matches!(body(&format!("sha256:{}", "ab".repeat(32))), Ok(Body::Json(_))));
        assert!(matches!(body(file!().rsplit('/').next().unwrap_or_default()), Err(failure) if failure.code == 78));
    }
}
