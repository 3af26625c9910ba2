//! Configurations against the JSON Schema that an operator's author wrote.
//!
//! A schema comes out of a module and is not to be trusted: nothing it refers to is fetched, its patterns run in linear time, and one that unfolds into
//! more than can be checked in no time is refused, since two references at each of thirty levels are a thousand million checks.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use std::collections::HashMap;

/// Longest schema, in bytes.
const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// Parts of a schema with every reference written out.
const PARTS_MAX: usize = 100_000;

/// Levels of a schema with every reference written out.
const LEVELS_MAX: usize = 256;

/// A setting that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The fields, or positions, that lead to it.
    pub(crate) setting: Vec<String>,
    /// What is wrong with it. Does not repeat the value: it may be a secret.
    pub(crate) reason: String,
}

/// Why a configuration is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The schema, not the configuration, is at fault.
    Schema(String),
    /// The configuration is.
    Config(Violation),
}

/// Whether a text is a schema that configurations can be checked against.
pub(crate) fn check_schema(schema: &str) -> Result<(), String> {
    validator(schema).map(drop)
}

/// Checks a configuration.
pub(crate) fn check(schema: &str, config: &str) -> Result<(), Refusal> {
    let config: Value = serde_json::from_str(config).map_err(|error| {
        Refusal::Config(Violation { setting: Vec::new(), reason: format!("it is no JSON: {error}") })
    })?;
    match validator(schema).map_err(Refusal::Schema)?.validate(&config) {
        Ok(()) => Ok(()),
        Err(error) => Err(Refusal::Config(violation(&error))),
    }
}

fn validator(schema: &str) -> Result<Validator, String> {
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(format!("its schema has {} bytes, {SCHEMA_BYTES_MAX} are the limit", schema.len()));
    }
    let schema: Value = serde_json::from_str(schema).map_err(|error| format!("its schema is no JSON: {error}"))?;
    Unfolding { root: &schema, known: HashMap::new() }.of(&schema, 0).map_err(|what| format!("its schema {what}"))?;
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|error| format!("its schema is no JSON Schema: {error} (at `{}`)", error.instance_path()))
}

/// Parts and levels of something with every reference in it written out; a reference back to where it is in counts once.
#[derive(Debug, Clone, Copy)]
struct Size {
    parts: usize,
    levels: usize,
}

struct Unfolding<'a> {
    root: &'a Value,
    /// By address; nothing yet for what is being looked at.
    known: HashMap<*const Value, Option<Size>>,
}

impl<'a> Unfolding<'a> {
    fn of(&mut self, part: &'a Value, depth: usize) -> Result<Size, String> {
        let size = match self.known.get(&std::ptr::from_ref(part)) {
            Some(known) => known.unwrap_or(Size { parts: 1, levels: 1 }),
            None => {
                self.known.insert(part, None);
                let size = self.look(part, depth)?;
                self.known.insert(part, Some(size));
                size
            }
        };
        match (size.parts > PARTS_MAX, depth + size.levels > LEVELS_MAX) {
            (true, _) => Err(format!("has more than {PARTS_MAX} parts with all references written out")),
            (_, true) => Err(format!("has more than {LEVELS_MAX} levels with all references written out")),
            _ => Ok(size),
        }
    }

    fn look(&mut self, part: &'a Value, depth: usize) -> Result<Size, String> {
        let mut size = Size { parts: 1, levels: 1 };
        if depth >= LEVELS_MAX {
            return Ok(size);
        }
        let within: Vec<&'a Value> = match part {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) => {
                let targets = fields.iter().filter(|(name, _)| name.ends_with("Ref") || *name == "$ref");
                let targets = targets.map(|(name, target)| self.target(name, target)).collect::<Result<Vec<_>, _>>()?;
                fields.values().chain(targets).collect()
            }
            _ => Vec::new(),
        };
        for part in within {
            let inner = self.of(part, depth + 1)?;
            size.parts = size.parts.saturating_add(inner.parts);
            size.levels = size.levels.max(inner.levels + 1);
        }
        Ok(size)
    }

    fn target(&self, name: &str, target: &Value) -> Result<&'a Value, String> {
        let pointer = target.as_str().filter(|_| name == "$ref").and_then(|text| text.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).ok_or_else(|| {
            format!(
                "has a `{name}` to {target}: only a `$ref` to a place in it (`#/…`) is followed, and it has to be there"
            )
        })
    }
}

/// The setting at fault is the innermost that is known: what is missing, or should not be there, is named as if it were.
fn violation(error: &jsonschema::ValidationError<'_>) -> Violation {
    let mut setting: Vec<String> = error.instance_path().iter().map(|segment| segment.to_string()).collect();
    let named = match error.kind() {
        ValidationErrorKind::Required { property } => property.as_str(),
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected.first().map(String::as_str),
        _ => None,
    };
    setting.extend(named.map(str::to_owned));
    Violation { setting, reason: error.masked_with("the value").to_string() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SCHEMA: &str = r#"{
        "type": "object",
        "properties": {
            "format": {"enum": ["text", "be64"]},
            "limits": {"type": "object", "properties": {"rows": {"type": "integer", "minimum": 1}}}
        },
        "required": ["format"],
        "additionalProperties": false
    }"#;

    fn fault(config: &str) -> (String, String) {
        match check(SCHEMA, config).unwrap_err() {
            Refusal::Config(violation) => (violation.setting.join("."), violation.reason),
            Refusal::Schema(reason) => (String::new(), reason),
        }
    }

    #[test]
    fn the_setting_at_fault_is_named_wherever_it_is() {
        assert_eq!(check(SCHEMA, r#"{"format": "text", "limits": {"rows": 3}}"#), Ok(()));
        let (setting, reason) = fault(r#"{"format": "hunter2"}"#);
        assert_eq!(setting, "format");
        assert!(reason.contains("\"text\"") && !reason.contains("hunter2"), "{reason}");
        assert_eq!(fault(r#"{"format": "text", "limits": {"rows": "3"}}"#).0, "limits.rows");
        let (setting, reason) = fault("{}");
        assert!(setting == "format" && reason.contains("required"), "{setting}: {reason}");
        assert_eq!(fault(r#"{"format": "text", "fromat": 1}"#).0, "fromat");
    }

    #[test]
    fn what_is_no_schema_is_told_so() {
        for (schema, expected) in [
            ("{", "no JSON"),
            (r#"{"type": 7}"#, "no JSON Schema"),
            (r#"{"pattern": "(?=a)b"}"#, "no JSON Schema"),
            (r##"{"$ref": "#/nowhere"}"##, "it has to be there"),
            (r#"{"$ref": "http://localhost:1/schema.json"}"#, "only a `$ref` to a place in it"),
            (r##"{"$dynamicRef": "#x"}"##, "only a `$ref` to a place in it"),
        ] {
            let reason = check_schema(schema).unwrap_err();
            assert!(reason.contains(expected), "{schema}: {reason}");
        }
    }

    /// `levels` definitions, each of which refers to the next one as often as `references` says.
    fn chain(levels: usize, references: usize) -> String {
        let level = |at: usize| {
            let reference = format!(r##"{{"$ref": "#/$defs/a{}"}}"##, at + 1);
            format!(r#""a{at}": {{"anyOf": [{}]}}"#, vec![reference; references].join(", "))
        };
        let all: Vec<String> = (0..levels).map(level).collect();
        format!(r##"{{"$defs": {{{}, "a{levels}": {{"type": "integer"}}}}, "$ref": "#/$defs/a0"}}"##, all.join(", "))
    }

    #[test]
    fn a_schema_that_would_take_for_ever_is_refused_and_one_in_a_circle_is_not() {
        assert_eq!(check(&chain(10, 2), "7"), Ok(()));
        assert!(check_schema(&chain(60, 2)).is_err_and(|reason| reason.contains("100000 parts")));
        assert!(check_schema(&chain(2_000, 1)).is_err_and(|reason| reason.contains("256 levels")));
        assert_eq!(check(r##"{"$ref": "#"}"##, "{}"), Ok(()));
        let tree =
            r##"{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "additionalProperties": false}"##;
        assert_eq!(check(tree, r#"{"left": {"right": {}}}"#), Ok(()));
        assert!(check(tree, r#"{"left": {"rihgt": {}}}"#).is_err());
    }
}
