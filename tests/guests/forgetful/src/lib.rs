//! `forgetful`: counts the records of each key; the value `forget` removes the count.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators};

struct Forgetful {
    seen: Value<u64>,
    counts: Output,
}

impl Operator for Forgetful {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { seen: setup.value("seen"), counts: setup.output("counts") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        if record.value() == Some(b"forget") {
            self.seen.clear(ctx);
            return Ok(());
        }
        let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
        self.seen.set(ctx, &seen);
        ctx.emit_display(self.counts, seen);
        Ok(())
    }
}

export_operators! { "forgetful": Forgetful }
