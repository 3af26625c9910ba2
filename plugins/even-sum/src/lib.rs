//! `even-sum`: keeps even numbers, groups them by key and sums them. Two operators in one component.
//!
//! `keep-even` needs no key and forwards the records whose value is an even number in decimal; `sum` adds the numbers of each key and
//! emits the running sum. Between them the pipeline groups by key. A value that is no number is rejected.

use millstream_sdk::{
    Context, Operator, Output, Record, Result, Setup, Value, export_operators, reject,
};

struct KeepEven {
    even: Output,
}

impl Operator for KeepEven {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self {
            even: setup.output("even"),
        })
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
        Ok(Self {
            sum: setup.value("sum"),
            sums: setup.output("sums"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let before = self.sum.get(ctx)?.unwrap_or(0);
        let sum = before
            .checked_add(number(record)?)
            .ok_or_else(|| reject("the sum passes 64 bits"))?;
        self.sum.set(ctx, &sum);
        ctx.emit_display(self.sums, sum);
        Ok(())
    }
}

fn number(record: &Record) -> Result<i64> {
    let text = record.text()?.trim();
    text.parse()
        .map_err(|error| reject(format!("\"{text}\" is no number: {error}")))
}

export_operators! { "keep-even": KeepEven, "sum": Sum }
