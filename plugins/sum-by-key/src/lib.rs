//! `sum-by-key`: adds up whole numbers per key and emits the running sum, in decimal, under the key.
//!
//! Without configuration the value is the number, as decimal text. With `pointer` the value is JSON, and the number is at that JSON
//! pointer (RFC 6901). What is no whole number is rejected.

use millstream_sdk::{
    Context, Operator, Output, Record, Result, Setup, Value, export_operators, reject,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    pointer: Option<String>,
}

struct SumByKey {
    pointer: Option<String>,
    sum: Value<i64>,
    sums: Output,
}

impl Operator for SumByKey {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { pointer } = setup.config()?;
        Ok(Self {
            pointer,
            sum: setup.value("sum"),
            sums: setup.output("sums"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let number = self.number(record)?;
        let before = self.sum.get(ctx)?.unwrap_or(0);
        let sum = before
            .checked_add(number)
            .ok_or_else(|| reject("the sum passes 64 bits"))?;
        self.sum.set(ctx, &sum);
        ctx.emit_display(self.sums, sum);
        Ok(())
    }
}

impl SumByKey {
    fn number(&self, record: &Record) -> Result<i64> {
        let Some(pointer) = &self.pointer else {
            let text = record.text()?.trim();
            return text
                .parse()
                .map_err(|error| reject(format!("\"{text}\" is no number: {error}")));
        };
        let value: serde_json::Value = record.json()?;
        let found = value
            .pointer(pointer)
            .ok_or_else(|| reject(format!("nothing at {pointer}")))?;
        found.as_i64().ok_or_else(|| {
            reject(format!(
                "{found} at {pointer} is no whole number of 64 bits"
            ))
        })
    }
}

export_operators! { "sum-by-key": SumByKey }
