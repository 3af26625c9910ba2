//! `count`: emits how many records of a key there were so far, under that key.
//!
//! `format: text` (the default) writes the count in decimal, `format: be64` as a big-endian signed 64-bit number, which Kafka's own
//! `LongDeserializer` reads.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// How the count is written.
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// In decimal.
    #[default]
    Text,
    /// As a big-endian signed 64-bit number.
    Be64,
}

struct Count {
    format: Format,
    seen: Value<i64>,
    counts: Output,
}

impl Operator for Count {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { format } = setup.config()?;
        Ok(Self { format, seen: setup.value("seen"), counts: setup.output("counts") })
    }

    fn config_schema() -> Option<String> {
        millstream_sdk::schema::<Config>()
    }

    fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
        let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
        self.seen.set(ctx, &seen);
        match self.format {
            Format::Text => ctx.emit_display(self.counts, seen),
            Format::Be64 => ctx.emit(self.counts, &seen.to_be_bytes()),
        }
        Ok(())
    }
}

export_operators! { "count": Count }

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::{Harness, Message};

    #[test]
    fn each_key_has_its_own_count() {
        let mut count = Harness::<Count>::new("{}");
        count.push("ann", "x").push("bob", "y").push("ann", "z").push("ann", "");
        let expected = [("ann", "1"), ("bob", "1"), ("ann", "2"), ("ann", "3")];
        assert_eq!(count.outputs("counts"), expected);
        assert_eq!(count.state::<i64>("seen", "ann"), Some(3));
        assert_eq!(count.state::<i64>("seen", "carl"), None);
    }

    #[test]
    fn counts_survive_a_restart() {
        let mut count = Harness::<Count>::new("{}");
        count.push("ann", "").restart().push("ann", "").restart().push("ann", "");
        assert_eq!(count.outputs("counts"), [("ann", "1"), ("ann", "2"), ("ann", "3")]);
    }

    #[test]
    fn counts_are_big_endian_if_asked_for() {
        let mut count = Harness::<Count>::new(r#"{"format": "be64"}"#);
        count.push("ann", "").push("ann", "");
        let counts: Vec<_> = count.outputs("counts").iter().map(|count| count.value.clone()).collect();
        assert_eq!(counts, [Some(1_i64.to_be_bytes().to_vec()), Some(2_i64.to_be_bytes().to_vec())]);
    }

    #[test]
    fn tombstones_count_and_null_keys_are_rejected() {
        let mut count = Harness::<Count>::new("{}");
        count.push_message(Message::tombstone("ann")).push_message(Message::unkeyed("x"));
        assert_eq!(count.outputs("counts"), [("ann", "1")]);
        assert_eq!(count.rejected(), [("x", "the record has no key")]);
    }

    #[test]
    fn an_unknown_format_is_refused() {
        let error = Harness::<Count>::open(r#"{"format": "roman"}"#).err();
        assert!(error.is_some_and(|error| error.contains("roman")));
    }
}
