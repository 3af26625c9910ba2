//! `visits`, as `visits-1` but for one thing: a record with the value `differ` counts twice.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators};

struct Visits {
    visits: Value<u64>,
    counts: Output,
}

impl Operator for Visits {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { visits: setup.value("visits"), counts: setup.output("counts") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let more = if record.value() == Some(b"differ") { 2 } else { 1 };
        let count = self.visits.get(ctx)?.unwrap_or(0) + more;
        self.visits.set(ctx, &count);
        ctx.emit_display(self.counts, format_args!("1:{count}"));
        Ok(())
    }
}

export_operators! { "visits": Visits }
