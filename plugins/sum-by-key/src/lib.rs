//! `sum-by-key`: adds up whole numbers per key and emits the running sum, in decimal, under the key.
//!
//! Without configuration the value is the number, as decimal text. With `pointer` the value is JSON, and the number is at that JSON
//! pointer (RFC 6901). What is no whole number is rejected.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators, reject};
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
        Ok(Self { pointer, sum: setup.value("sum"), sums: setup.output("sums") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let number = self.number(record)?;
        let before = self.sum.get(ctx)?.unwrap_or(0);
        let sum = before.checked_add(number).ok_or_else(|| reject("the sum passes 64 bits"))?;
        self.sum.set(ctx, &sum);
        ctx.emit_display(self.sums, sum);
        Ok(())
    }
}

impl SumByKey {
    fn number(&self, record: &Record) -> Result<i64> {
        let Some(pointer) = &self.pointer else {
            let text = record.text()?.trim();
            return text.parse().map_err(|error| reject(format!("\"{text}\" is no number: {error}")));
        };
        let value: serde_json::Value = record.json()?;
        let found = value.pointer(pointer).ok_or_else(|| reject(format!("nothing at {pointer}")))?;
        found.as_i64().ok_or_else(|| reject(format!("{found} at {pointer} is no whole number of 64 bits")))
    }
}

export_operators! { "sum-by-key": SumByKey }

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::Harness;

    #[test]
    fn text_numbers_are_summed_per_key() {
        let mut sum = Harness::<SumByKey>::new("{}");
        sum.push("a", "2").push("b", "-3").restart().push("a", " 5 ");
        assert_eq!(sum.outputs("sums"), [("a", "2"), ("b", "-3"), ("a", "7")]);
        assert_eq!(sum.state::<i64>("sum", "a"), Some(7));
    }

    #[test]
    fn a_pointer_finds_the_number_in_json() {
        let mut sum = Harness::<SumByKey>::new(r#"{"pointer": "/order/cents"}"#);
        sum.push("a", r#"{"order": {"cents": 250}}"#).push("a", r#"{"order": {"cents": 50}}"#);
        assert_eq!(sum.outputs("sums"), [("a", "250"), ("a", "300")]);
    }

    #[test]
    fn what_is_no_whole_number_is_rejected_and_not_summed() {
        let mut sum = Harness::<SumByKey>::new(r#"{"pointer": "/n"}"#);
        sum.push("a", r#"{"n": 1.5}"#).push("a", "{}").push("a", r#"{"n": 4}"#);
        assert_eq!(
            sum.rejected(),
            [(r#"{"n": 1.5}"#, "1.5 at /n is no whole number of 64 bits"), ("{}", "nothing at /n")]
        );
        assert_eq!(sum.outputs("sums"), [("a", "4")]);
    }

    #[test]
    fn a_sum_that_overflows_is_rejected_and_stays() {
        let mut sum = Harness::<SumByKey>::new("{}");
        sum.push("a", i64::MIN.to_string()).push("a", "-1").push("a", "1");
        assert_eq!(sum.rejected(), [("-1", "the sum passes 64 bits")]);
        assert_eq!(sum.state::<i64>("sum", "a"), Some(i64::MIN + 1));
    }
}
