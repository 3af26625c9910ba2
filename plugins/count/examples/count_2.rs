//! The second version of `count` that `make demo` swaps in: it goes on with the counts of the first one, and learns the highest bid of each auction beside them.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators};

struct Count {
    /// As in the first version: same name, same bytes.
    seen: Value<i64>,
    /// New, so it begins empty.
    highest: Value<i64>,
    counts: Output,
}

impl Operator for Count {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { seen: setup.value("seen"), highest: setup.value("highest"), counts: setup.output("counts") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let event: serde_json::Value = record.json()?;
        let price = event.pointer("/bid/price").and_then(serde_json::Value::as_i64).unwrap_or(0);
        let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
        let highest = self.highest.get(ctx)?.unwrap_or(0).max(price);
        self.seen.set(ctx, &seen);
        self.highest.set(ctx, &highest);
        ctx.emit_display(self.counts, format_args!("{{\"bids\":{seen},\"highest\":{highest}}}"));
        Ok(())
    }
}

export_operators! { "count": Count }
