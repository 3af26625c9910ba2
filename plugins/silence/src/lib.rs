//! `silence`: tells of keys that have fallen silent.
//!
//! A key whose last record is `after_ms` ago gives one record `{"last_ms": …, "records": …}` of the time at which that is so: when its last record was, and how many there were since the
//! last silence. Time is event time, by the watermark, so that a replay tells the same; with `clock: processing` it is the wall clock.

use millstream_sdk::{
    Context, EventTimer, Fired, OnTimer, Operator, Output, Postcard, ProcessingTimer, Record, Result, Setup,
    Timer, Value, export_operators, stop,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    after_ms: u32,
    #[serde(default)]
    clock: Clock,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Clock {
    #[default]
    Event,
    Processing,
}

/// What is known of a key since its last silence.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Heard {
    last_ms: i64,
    records: u64,
}

#[derive(Debug, Clone, Copy)]
enum Silent {
    Event(EventTimer),
    Processing(ProcessingTimer),
}

struct Silence {
    after_ms: i64,
    heard: Value<Postcard<Heard>>,
    silent: Silent,
    silences: Output,
}

impl Operator for Silence {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { after_ms, clock } = setup.config()?;
        if after_ms == 0 {
            return Err(stop("config: after_ms must be above 0"));
        }
        let timer = Timer::new("silent").doc("set `after_ms` behind the last record of a key");
        Ok(Self {
            after_ms: after_ms.into(),
            heard: setup.value("heard"),
            silent: match clock {
                Clock::Event => Silent::Event(setup.event_timer(timer)),
                Clock::Processing => Silent::Processing(setup.processing_timer(timer)),
            },
            silences: setup.output("silences"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let Postcard(Heard { last_ms, records }) = self.heard.get(ctx)?.unwrap_or(Postcard(Heard { last_ms: i64::MIN, records: 0 }));
        let time_ms = match self.silent {
            Silent::Event(_) => record.timestamp_ms(),
            Silent::Processing(_) => ctx.now_ms(),
        };
        // One that comes out of order does not bring the silence forward.
        let last_ms = last_ms.max(time_ms);
        self.heard.set(ctx, &Postcard(Heard { last_ms, records: records + 1 }));
        match self.silent {
            Silent::Event(timer) => timer.set(ctx, last_ms.saturating_add(self.after_ms)),
            Silent::Processing(timer) => timer.set(ctx, last_ms.saturating_add(self.after_ms)),
        }
        Ok(())
    }
}

impl OnTimer for Silence {
    fn on_timer(&self, _: &Fired, ctx: &mut Context) -> Result<()> {
        let Some(Postcard(heard)) = self.heard.get(ctx)? else { return Ok(()) };
        self.heard.clear(ctx);
        ctx.emit(self.silences, &serde_json::to_vec(&heard)?);
        Ok(())
    }
}

export_operators! { "silence": Silence with OnTimer }

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::Harness;

    #[test]
    fn a_key_that_falls_silent_is_told_of_once() {
        let mut keys = Harness::<Silence>::new(r#"{"after_ms": 1000}"#).with_timers();
        keys.push_at(0, "a", "").push_at(100, "b", "").push_at(900, "a", "").push_at(500, "a", "");
        keys.watermark(1099);
        assert!(keys.outputs("silences").is_empty());
        keys.watermark(1100).watermark(1899);
        assert_eq!(keys.outputs("silences"), [("b", r#"{"last_ms":100,"records":1}"#)]);
        keys.push_at(1899, "b", "").end();
        let silences = keys.outputs("silences");
        assert_eq!(silences.len(), 3);
        assert_eq!(silences[1], ("a", r#"{"last_ms":900,"records":3}"#));
        assert_eq!(silences[1].timestamp_ms, 1900);
        assert_eq!(silences[2], ("b", r#"{"last_ms":1899,"records":1}"#));
        assert!(keys.timers().is_empty());
    }

    #[test]
    fn the_wall_clock_can_decide() {
        let mut keys = Harness::<Silence>::new(r#"{"after_ms": 1000, "clock": "processing"}"#).with_timers();
        keys.now(50).push_at(7_000, "a", "").end().now(1_049);
        assert!(keys.outputs("silences").is_empty());
        keys.now(1_050);
        assert_eq!(keys.outputs("silences"), [("a", r#"{"last_ms":50,"records":1}"#)]);
    }

    #[test]
    fn a_bad_config_is_refused() {
        for (config, why) in [(r#"{"after_ms": 0}"#, "after_ms must be above 0"), ("{}", "after_ms"), (r#"{"after_ms": -1}"#, "after_ms")] {
            let refused = Harness::<Silence>::open(config).err().unwrap_or_default();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
