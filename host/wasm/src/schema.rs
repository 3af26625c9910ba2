//! Configurations against the JSON Schema that an operator's author wrote.
//!
//! A schema comes out of a module and is not to be trusted: nothing it refers to is fetched, its patterns run in linear time, and one that unfolds into
//! more than can be checked in no time is refused, since two references at each of thirty levels are a thousand million checks.

use boon::{Compiler, ErrorKind, InstanceToken, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde_json::Value;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    compiled(schema).map(drop)
}

/// Checks a configuration.
pub(crate) fn check(schema: &str, config: &str) -> Result<(), Refusal> {
    let config: Value = serde_json::from_str(config).map_err(|error| {
        Refusal::Config(Violation { setting: Vec::new(), reason: format!("it is no JSON: {error}") })
    })?;
    let (schemas, index) = compiled(schema).map_err(Refusal::Schema)?;
    match schemas.validate(&config, index) {
        Ok(()) => Ok(()),
        Err(error) => Err(Refusal::Config(violation(&error))),
    }
}

/// What the schema is called where its parts refer to each other.
const URL: &str = "schema:///config";

fn compiled(schema: &str) -> Result<(Schemas, SchemaIndex), String> {
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(format!("its schema has {} bytes, {SCHEMA_BYTES_MAX} are the limit", schema.len()));
    }
    let schema: Value = serde_json::from_str(schema).map_err(|error| format!("its schema is no JSON: {error}"))?;
    Unfolding { root: &schema, known: HashMap::new() }.of(&schema, 0).map_err(|what| format!("its schema {what}"))?;
    let compile = || {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.use_loader(Box::new(Nowhere));
        compiler.add_resource(URL, schema).map_err(Box::new)?;
        compiler.compile(URL, &mut schemas).map(|index| (schemas, index)).map_err(Box::new)
    };
    // What comes out of a module must not take the process along, should the library not expect it.
    match catch_unwind(AssertUnwindSafe(compile)) {
        Ok(compiled) => compiled.map_err(|error| format!("its schema is no JSON Schema: {error:#}")),
        Err(_) => Err("its schema cannot be read".to_owned()),
    }
}

/// Loads nothing: a schema stands alone.
struct Nowhere;

impl UrlLoader for Nowhere {
    fn load(&self, url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err(format!("`{url}` is outside of the schema, and nothing is fetched").into())
    }
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

/// The first setting at fault. What is missing, or should not be there, is named as if it were.
fn violation(error: &ValidationError<'_, '_>) -> Violation {
    let error = innermost(error);
    let mut setting: Vec<String> = error
        .instance_location
        .tokens
        .iter()
        .map(|token| match token {
            InstanceToken::Prop(name) => name.to_string(),
            InstanceToken::Item(position) => position.to_string(),
        })
        .collect();
    match &error.kind {
        ErrorKind::Required { want } => setting.extend(want.first().map(|name| (*name).to_owned())),
        ErrorKind::AdditionalProperties { got } => setting.extend(got.first().map(|name| name.to_string())),
        _ => {}
    }
    Violation { setting, reason: reason(error) }
}

/// Goes down as long as there is one way only.
fn innermost<'e, 's, 'v>(error: &'e ValidationError<'s, 'v>) -> &'e ValidationError<'s, 'v> {
    match (&error.kind, error.causes.first()) {
        (ErrorKind::AnyOf | ErrorKind::OneOf(_), _) | (_, None) => error,
        (_, Some(cause)) => innermost(cause),
    }
}

/// What is wrong, without the value itself.
fn reason(error: &ValidationError<'_, '_>) -> String {
    match &error.kind {
        ErrorKind::Required { .. } => "it is required".to_owned(),
        ErrorKind::AdditionalProperties { .. } => "there is no such setting".to_owned(),
        ErrorKind::Format { want, .. } => format!("it is no valid {want}"),
        ErrorKind::Pattern { want, .. } => format!("it does not match the pattern {want}"),
        ErrorKind::Minimum { want, .. } => format!("it must be at least {want}"),
        ErrorKind::ExclusiveMinimum { want, .. } => format!("it must be above {want}"),
        ErrorKind::Maximum { want, .. } => format!("it must be at most {want}"),
        ErrorKind::ExclusiveMaximum { want, .. } => format!("it must be below {want}"),
        ErrorKind::MultipleOf { want, .. } => format!("it must be a multiple of {want}"),
        ErrorKind::AnyOf | ErrorKind::OneOf(None) => match choices(error) {
            Some(choices) => format!("it must be one of {choices}"),
            None => "it has none of the forms it can have".to_owned(),
        },
        kind => kind.to_string(),
    }
}

/// The values to choose from, if that is what the alternatives are.
fn choices(error: &ValidationError<'_, '_>) -> Option<String> {
    let choice = |cause| match &innermost(cause).kind {
        ErrorKind::Const { want } => Some(want.to_string()),
        ErrorKind::Enum { want } => Some(want.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")),
        _ => None,
    };
    error.causes.iter().map(choice).collect::<Option<Vec<_>>>().map(|choices| choices.join(", "))
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
    fn the_setting_at_fault_is_named_wherever_it_is_and_its_value_is_not() {
        assert_eq!(check(SCHEMA, r#"{"format": "text", "limits": {"rows": 3}}"#), Ok(()));
        let faults = [
            (r#"{"format": "hunter2"}"#, "format", "value must be one of 'text', 'be64'"),
            (r#"{"format": "text", "limits": {"rows": "3"}}"#, "limits.rows", "want integer, but got string"),
            (r#"{"format": "text", "limits": {"rows": -77}}"#, "limits.rows", "it must be at least 1"),
            ("{}", "format", "it is required"),
            (r#"{"format": "text", "fromat": 1}"#, "fromat", "there is no such setting"),
            ("{", "", "it is no JSON: EOF while parsing an object at line 1 column 1"),
        ];
        for (config, setting, reason) in faults {
            assert_eq!(fault(config), (setting.to_owned(), reason.to_owned()), "{config}");
        }
    }

    #[test]
    fn alternatives_that_are_values_are_listed() {
        let schema = r#"{"properties": {"a": {"oneOf": [{"const": "x"}, {"enum": ["y", 3]}]}, "b": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}"#;
        let reason = |config| match check(schema, config).unwrap_err() {
            Refusal::Config(Violation { reason, .. }) => reason,
            Refusal::Schema(reason) => reason,
        };
        assert_eq!(reason(r#"{"a": "z"}"#), r#"it must be one of "x", "y", 3"#);
        assert_eq!(reason(r#"{"b": 7}"#), "it has none of the forms it can have");
    }

    #[test]
    fn what_is_no_schema_is_told_so() {
        for (schema, expected) in [
            ("{", "no JSON"),
            (r#"{"type": 7}"#, "no JSON Schema"),
            (r#"{"pattern": "(?=a)b"}"#, "no JSON Schema"),
            (r#"{"$schema": "file:///etc/passwd"}"#, "nothing is fetched"),
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
        assert!(check(r##"{"$ref": "#"}"##, "{}").is_err());
        let tree =
            r##"{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "additionalProperties": false}"##;
        assert_eq!(check(tree, r#"{"left": {"right": {}}}"#), Ok(()));
        assert!(check(tree, r#"{"left": {"rihgt": {}}}"#).is_err());
    }
}
