//! The third version of `count` that `make demo` offers: it forgets that an auction may have no bid yet. Its trial finds out, and nobody sees a record of it.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators};

struct Count {
    seen: Value<i64>,
    highest: Value<i64>,
    counts: Output,
}

impl Operator for Count {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { seen: setup.value("seen"), highest: setup.value("highest"), counts: setup.output("counts") })
    }

    #[expect(clippy::unwrap_used, reason = "the bug that the demo is about")]
    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let event: serde_json::Value = record.json()?;
        let price = event.pointer("/bid/price").and_then(serde_json::Value::as_i64).unwrap_or(0);
        let seen = self.seen.get(ctx)?.unwrap() + 1;
        let highest = self.highest.get(ctx)?.unwrap().max(price);
        self.seen.set(ctx, &seen);
        self.highest.set(ctx, &highest);
        ctx.emit_display(self.counts, format_args!("{{\"bids\":{seen},\"highest\":{highest}}}"));
        Ok(())
    }
}

export_operators! { "count": Count }
