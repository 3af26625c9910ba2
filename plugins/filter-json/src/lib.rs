//! `filter-json`: keeps the records whose value is JSON with something in a place.
//!
//! `pointer` names the place (a JSON pointer as of RFC 6901, such as `/order/status`). With `equals` a record is kept if that is
//! what is there; otherwise `exists` (by default true) says whether something, `null` included, has to be there or must not be. What
//! is kept goes on unchanged; a value that is no JSON, and a tombstone, are rejected.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, export_operators, stop};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    pointer: String,
    #[serde(default, deserialize_with = "present")]
    equals: Option<Value>,
    exists: Option<bool>,
}

/// Tells `equals: null` from no `equals`.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

enum Test {
    Equals(Value),
    Exists(bool),
}

struct FilterJson {
    pointer: String,
    test: Test,
    kept: Output,
}

impl Operator for FilterJson {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { pointer, equals, exists } = setup.config()?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(stop(format!("config: pointer \"{pointer}\" must be empty or begin with /")));
        }
        let test = match (equals, exists) {
            (Some(_), Some(_)) => {
                return Err(stop("config: give either equals or exists, not both"));
            }
            (Some(wanted), None) => Test::Equals(wanted),
            (None, exists) => Test::Exists(exists.unwrap_or(true)),
        };
        Ok(Self { pointer, test, kept: setup.output("kept") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let value: Value = record.json()?;
        let found = value.pointer(&self.pointer);
        let keep = match &self.test {
            Test::Equals(wanted) => found == Some(wanted),
            Test::Exists(wanted) => found.is_some() == *wanted,
        };
        if keep {
            ctx.forward(self.kept);
        }
        Ok(())
    }
}

export_operators! { "filter-json": FilterJson }

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::{Harness, Message};

    fn kept(config: &str, values: &[&str]) -> Vec<String> {
        let mut filter = Harness::<FilterJson>::new(config);
        for value in values {
            filter.push("k", value);
        }
        assert!(filter.rejected().is_empty());
        let values = filter.outputs("kept").iter().filter_map(|kept| kept.value.as_deref());
        values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn equals_compares_what_is_at_the_pointer() {
        let config = r#"{"pointer": "/order/status", "equals": "paid"}"#;
        let paid = r#"{ "order": {"status": "paid"} }"#;
        assert_eq!(kept(config, &[paid, r#"{"order": {"status": "open"}}"#, "{}", "7"]), [paid]);
    }

    #[test]
    fn null_is_something_and_can_be_asked_for() {
        let values = [r#"{"a": null}"#, r#"{"a": 1}"#, "{}"];
        assert_eq!(kept(r#"{"pointer": "/a", "equals": null}"#, &values), [r#"{"a": null}"#]);
        assert_eq!(kept(r#"{"pointer": "/a"}"#, &values), [r#"{"a": null}"#, r#"{"a": 1}"#]);
        assert_eq!(kept(r#"{"pointer": "/a", "exists": false}"#, &values), ["{}"]);
    }

    #[test]
    fn an_empty_pointer_is_the_whole_value() {
        assert_eq!(kept(r#"{"pointer": "", "equals": [1, 2]}"#, &["[1,2]", "[2]"]), ["[1,2]"]);
    }

    #[test]
    fn what_is_no_json_is_rejected_with_the_place() {
        let mut filter = Harness::<FilterJson>::new(r#"{"pointer": "/a"}"#);
        filter.push("k", r#"{"a": "#).push_message(Message::tombstone("k")).push("k", r#"{"a": 1}"#);
        let reasons: Vec<_> = filter.rejected().iter().map(|rejected| rejected.reason.as_str()).collect();
        assert_eq!(reasons, ["EOF while parsing a value at line 1 column 6", "the record has no value"]);
        assert_eq!(filter.outputs("kept"), [("k", r#"{"a": 1}"#)]);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let refusal = |config| Harness::<FilterJson>::open(config).err().unwrap_or_default();
        assert!(refusal("{}").contains("`pointer`"));
        assert!(refusal(r#"{"pointer": "a"}"#).contains("begin with /"));
        assert!(refusal(r#"{"pointer": "/a", "equals": 1, "exists": true}"#).contains("not both"));
        assert!(refusal(r#"{"pointer": "/a", "equal": 1}"#).contains("`equal`"));
    }
}
