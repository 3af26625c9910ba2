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
fn present<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Value>, D::Error> {
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
        let Config {
            pointer,
            equals,
            exists,
        } = setup.config()?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(stop(format!(
                "config: pointer \"{pointer}\" must be empty or begin with /"
            )));
        }
        let test = match (equals, exists) {
            (Some(_), Some(_)) => {
                return Err(stop("config: give either equals or exists, not both"));
            }
            (Some(wanted), None) => Test::Equals(wanted),
            (None, exists) => Test::Exists(exists.unwrap_or(true)),
        };
        Ok(Self {
            pointer,
            test,
            kept: setup.output("kept"),
        })
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
