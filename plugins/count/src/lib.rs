//! `count`: emits how many records of a key there were so far, under that key.
//!
//! `format: text` (the default) writes the count in decimal, `format: be64` as a big-endian signed 64-bit number, which Kafka's own
//! `LongDeserializer` reads.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Text,
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
        Ok(Self {
            format,
            seen: setup.value("seen"),
            counts: setup.output("counts"),
        })
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
