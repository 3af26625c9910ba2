//! `tally`: counts the records of each key by interval of event time.
//!
//! Intervals are `every_ms` long, from 1970 on. When the watermark comes to the end of one, each key that has records in it gives one record
//! `{"start_ms": …, "records": …}` with the end as its timestamp. What comes later than that is told in a record of its own.

use millstream_sdk::{
    Context, EventTimer, Fired, Map, OnTimer, Operator, Output, Record, Result, Setup, State, Timer, export_operators,
    stop,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    every_ms: u32,
}

#[derive(Debug, Serialize)]
struct Told {
    start_ms: i64,
    records: u64,
}

struct Tally {
    every_ms: i64,
    /// By start of the interval: one that has not ended may have a later one beside it.
    counts: Map<i64, u64>,
    end: EventTimer,
    tallies: Output,
}

impl Operator for Tally {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { every_ms } = setup.config()?;
        if every_ms == 0 {
            return Err(stop("config: every_ms must be above 0"));
        }
        Ok(Self {
            every_ms: every_ms.into(),
            counts: setup.map(State::new("counts").doc("records by start of the interval")),
            end: setup.event_timer(Timer::new("end").doc("of each interval with records; its id is the start")),
            tallies: setup.output("tallies"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let time_ms = record.timestamp_ms();
        let start_ms = time_ms.saturating_sub(time_ms.rem_euclid(self.every_ms));
        let records = self.counts.get(ctx, &start_ms)?.unwrap_or(0) + 1;
        self.counts.put(ctx, &start_ms, &records);
        if records == 1 {
            self.end.set_id(ctx, start_ms.cast_unsigned(), start_ms.saturating_add(self.every_ms));
        }
        Ok(())
    }
}

impl OnTimer for Tally {
    fn on_timer(&self, end: &Fired, ctx: &mut Context) -> Result<()> {
        let start_ms = end.id().cast_signed();
        let Some(records) = self.counts.get(ctx, &start_ms)? else { return Ok(()) };
        self.counts.remove(ctx, &start_ms);
        ctx.emit(self.tallies, &serde_json::to_vec(&Told { start_ms, records })?);
        Ok(())
    }
}

export_operators! { "tally": Tally with OnTimer }

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use millstream_sdk::harness::Harness;

    #[test]
    fn each_interval_is_told_of_once_when_it_is_over() {
        let mut tally = Harness::<Tally>::new(r#"{"every_ms": 1000}"#).with_timers();
        tally.push_at(5, "a", "").push_at(1_000, "a", "").push_at(999, "a", "").push_at(-1, "b", "");
        tally.watermark(-1).restart().watermark(999);
        assert_eq!(tally.outputs("tallies"), [("b", r#"{"start_ms":-1000,"records":1}"#)]);
        tally.watermark(1_000);
        assert_eq!(tally.outputs("tallies").last().map(|told| told.timestamp_ms), Some(1_000));
        assert_eq!(tally.outputs("tallies")[1], ("a", r#"{"start_ms":0,"records":2}"#));
        tally.push_at(7, "a", "late").end();
        let late_and_last = [("a", r#"{"start_ms":0,"records":1}"#), ("a", r#"{"start_ms":1000,"records":1}"#)];
        assert_eq!(tally.outputs("tallies")[2..], late_and_last);
        assert!(tally.timers().is_empty() && tally.entries::<i64, u64>("counts", "a").is_empty());
    }

    #[test]
    fn a_bad_config_is_refused() {
        for (config, why) in [(r#"{"every_ms": 0}"#, "every_ms must be above 0"), ("{}", "every_ms")] {
            let refused = Harness::<Tally>::open(config).err().unwrap_or_default();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
