//! `even-sum`: keeps even numbers, groups them by key and sums them. Two operators in one component.
//!
//! `keep-even` needs no key and forwards the records whose value is an even number in decimal; `sum` adds the numbers of each key and
//! emits the running sum. Between them the pipeline groups by key. A value that is no number is rejected.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators, reject};

struct KeepEven {
    even: Output,
}

impl Operator for KeepEven {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { even: setup.output("even") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        if number(record)? % 2 == 0 {
            ctx.forward(self.even);
        }
        Ok(())
    }
}

struct Sum {
    sum: Value<i64>,
    sums: Output,
}

impl Operator for Sum {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { sum: setup.value("sum"), sums: setup.output("sums") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let before = self.sum.get(ctx)?.unwrap_or(0);
        let sum = before.checked_add(number(record)?).ok_or_else(|| reject("the sum passes 64 bits"))?;
        self.sum.set(ctx, &sum);
        ctx.emit_display(self.sums, sum);
        Ok(())
    }
}

fn number(record: &Record) -> Result<i64> {
    let text = record.text()?.trim();
    text.parse().map_err(|error| reject(format!("\"{text}\" is no number: {error}")))
}

export_operators! { "keep-even": KeepEven, "sum": Sum }

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::Harness;

    #[test]
    fn even_numbers_are_summed_per_key() {
        let mut keep = Harness::<KeepEven>::new("{}");
        keep.push("a", "2").push("b", "3").push("a", " 4\n").push("b", "-6").push("a", "0").push("b", "7");
        let even = keep.outputs("even");
        assert_eq!(even, [("a", "2"), ("a", " 4\n"), ("b", "-6"), ("a", "0")]);

        let mut sum = Harness::<Sum>::new("{}");
        for record in even {
            sum.push_message(record);
        }
        assert_eq!(sum.outputs("sums"), [("a", "2"), ("a", "6"), ("b", "-6"), ("a", "6")]);
        assert_eq!(sum.state::<i64>("sum", "a"), Some(6));
    }

    #[test]
    fn what_is_no_number_is_rejected() {
        let mut keep = Harness::<KeepEven>::new("{}");
        keep.push("a", "two").push("a", "2");
        assert_eq!(keep.rejected(), [("two", "\"two\" is no number: invalid digit found in string")]);
        assert_eq!(keep.outputs("even"), [("a", "2")]);
    }

    #[test]
    fn a_sum_that_overflows_is_rejected_and_stays() {
        let mut sum = Harness::<Sum>::new("{}");
        sum.push("a", i64::MAX.to_string()).push("a", "2").push("a", "-2");
        assert_eq!(sum.rejected(), [("2", "the sum passes 64 bits")]);
        assert_eq!(sum.state::<i64>("sum", "a"), Some(i64::MAX - 2));
    }
}
