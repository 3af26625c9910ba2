//! `window-tally`: counts the records of each key in each window, whatever windows the pipeline file says.
//!
//! A window that fires gives one record `{"start_ms": …, "end_ms": …, "records": …, "firing": "on-time"}` with its last moment as the timestamp; `firing` is `early` for one that goes on, and
//! `late` for one that fired before and has got more records since: `records` are all of them then.

use millstream_sdk::{
    Context, Firing, OnWindow, Operator, Output, Record, Result, Setup, State, Value, Window, export_operators,
};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Told {
    start_ms: i64,
    end_ms: i64,
    records: u64,
    firing: &'static str,
}

struct WindowTally {
    count: Value<u64>,
    tallies: Output,
}

impl Operator for WindowTally {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { count: setup.value(State::new("count").doc("records so far")), tallies: setup.output("tallies") })
    }

    fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
        let before = self.count.get(ctx)?.unwrap_or(0);
        self.count.set(ctx, &(before + 1));
        Ok(())
    }
}

impl OnWindow for WindowTally {
    fn on_window(&self, window: &Window, ctx: &mut Context) -> Result<()> {
        let told = Told {
            start_ms: window.start_ms(),
            end_ms: window.end_ms(),
            records: self.count.get(ctx)?.unwrap_or(0),
            firing: match window.firing() {
                Firing::Early => "early",
                Firing::OnTime => "on-time",
                Firing::Late => "late",
            },
        };
        ctx.emit(self.tallies, &serde_json::to_vec(&told)?);
        Ok(())
    }
}

export_operators! { "window-tally": WindowTally with OnWindow }
