//! Reminds of every record some time later: sets a timer and fires one per record, for measurements.

use millstream_sdk::{Context, EventTimer, Fired, OnTimer, Operator, Output, Record, Result, Setup, export_operators};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    after_ms: i64,
}

struct Reminders {
    after_ms: i64,
    due: EventTimer,
    out: Output,
}

impl Operator for Reminders {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { after_ms } = setup.config()?;
        Ok(Self { after_ms, due: setup.event_timer("due"), out: setup.output("out") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let time_ms = record.timestamp_ms();
        self.due.set_id(ctx, time_ms.cast_unsigned(), time_ms + self.after_ms);
        Ok(())
    }
}

impl OnTimer for Reminders {
    fn on_timer(&self, _: &Fired, ctx: &mut Context) -> Result<()> {
        ctx.emit(self.out, b"due");
        Ok(())
    }
}

export_operators! { "reminders": Reminders with OnTimer }
