//! `deduplicate`: lets each id pass once per key, until its time is over.
//!
//! The id of a record is its value, or what is at `pointer` (a JSON pointer as of RFC 6901) in it; a record that is no JSON then, or has nothing there, is rejected. An id is
//! forgotten `ttl_ms` after it was first seen: in event time, by the watermark, or with `clock: processing` by the wall clock. With `refresh: true` every repetition keeps it
//! alive.

use millstream_sdk::{Context, Map, Operator, Output, Record, Result, Setup, State, export_operators, reject, stop};
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    pointer: Option<String>,
    ttl_ms: u64,
    #[serde(default)]
    clock: Clock,
    #[serde(default)]
    refresh: bool,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Clock {
    #[default]
    Event,
    Processing,
}

struct Deduplicate {
    pointer: Option<String>,
    refresh: bool,
    seen: Map<Vec<u8>, ()>,
    first: Output,
}

impl Operator for Deduplicate {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { pointer, ttl_ms, clock, refresh } = setup.config()?;
        if ttl_ms == 0 {
            return Err(stop("config: ttl_ms must be above 0"));
        }
        if pointer.as_ref().is_some_and(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            return Err(stop("config: pointer must be empty or begin with /"));
        }
        let ttl = Duration::from_millis(ttl_ms);
        let seen = State::new("seen").doc("ids that have passed");
        let seen = match clock {
            Clock::Event => seen.event_ttl(ttl),
            Clock::Processing => seen.processing_ttl(ttl),
        };
        Ok(Self { pointer, refresh, seen: setup.map(seen), first: setup.output("first") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let text;
        let id = match &self.pointer {
            None => record.bytes()?,
            Some(pointer) => {
                let value: serde_json::Value = record.json()?;
                let found = value.pointer(pointer);
                text = found.ok_or_else(|| reject(format!("there is nothing at {pointer}")))?.to_string();
                text.as_bytes()
            }
        };
        let is_first = !self.seen.contains(ctx, id);
        if is_first {
            ctx.forward(self.first);
        }
        if is_first || self.refresh {
            self.seen.put(ctx, id, &());
        }
        Ok(())
    }
}

export_operators! { "deduplicate": Deduplicate }

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::{Emitted, Harness};

    fn values(harness: &Harness<Deduplicate>) -> Vec<String> {
        let text = |first: &Emitted| String::from_utf8_lossy(first.value.as_deref().unwrap_or_default()).into_owned();
        harness.outputs("first").iter().map(text).collect()
    }

    #[test]
    fn each_id_passes_once_per_key() {
        let mut orders = Harness::<Deduplicate>::new(r#"{"pointer": "/id", "ttl_ms": 60000}"#);
        orders.push("a", r#"{"id": 1, "n": 1}"#).push("a", r#"{"n": 2, "id": 1}"#).push("b", r#"{"id": 1, "n": 3}"#);
        orders.push("a", r#"{"id": "1", "n": 4}"#).push("a", r#"{"n": 5}"#);
        assert_eq!(values(&orders), [r#"{"id": 1, "n": 1}"#, r#"{"id": 1, "n": 3}"#, r#"{"id": "1", "n": 4}"#]);
        assert_eq!(orders.rejected(), [(r#"{"n": 5}"#, "there is nothing at /id")]);
    }

    #[test]
    fn an_id_is_forgotten_when_its_time_is_over() {
        for (refresh, expected) in [(false, 3), (true, 2)] {
            let config = format!(r#"{{"ttl_ms": 1000, "refresh": {refresh}}}"#);
            let mut words = Harness::<Deduplicate>::new(&config);
            words.watermark(0).push("k", "a").watermark(999).push("k", "a").push("k", "b");
            words.watermark(1000).push("k", "a").restart().push("k", "b");
            assert_eq!(values(&words).len(), expected, "refresh: {refresh}");
        }
    }

    #[test]
    fn the_wall_clock_can_decide() {
        let mut words = Harness::<Deduplicate>::new(r#"{"ttl_ms": 1000, "clock": "processing"}"#);
        words.now(5).push("k", "a").watermark(1_000_000).push("k", "a").now(1005).push("k", "a");
        assert_eq!(values(&words), ["a", "a"]);
    }

    #[test]
    fn a_bad_config_is_refused() {
        for (config, why) in [
            (r#"{"ttl_ms": 0}"#, "ttl_ms must be above 0"),
            (r#"{"ttl_ms": 1, "pointer": "id"}"#, "begin with /"),
            ("{}", "ttl_ms"),
        ] {
            let refused = Harness::<Deduplicate>::open(config).err().unwrap_or_default();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
