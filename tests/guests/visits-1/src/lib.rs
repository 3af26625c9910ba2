//! `visits`, the first version: counts the records of a key in a bare number (state `visits`, version 1: 8 bytes, big endian) and emits `1:<count>`.
//!
//! `reads: [2]` in the configuration lets it read what `visits-2` wrote, so that there is a way back: the count comes first in either.

use millstream_sdk::{Codec, Context, Operator, Output, Record, Result, Setup, State, Value, export_operators, reject};
use serde::Deserialize;

/// What the three versions may be configured with; each takes what it knows.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    reads: Vec<u32>,
}

struct Count(u64);

impl Codec for Count {
    fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
        self.0.encode(to)
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        let (count, _) = bytes.split_first_chunk().ok_or_else(|| reject("a count has 8 bytes"))?;
        Ok(Self(u64::from_be_bytes(*count)))
    }
}

struct Visits {
    visits: Value<Count>,
    counts: Output,
}

impl Operator for Visits {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { reads } = setup.config()?;
        let state = reads.into_iter().fold(State::new("visits"), State::reads);
        Ok(Self { visits: setup.value(state), counts: setup.output("counts") })
    }

    fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
        let count = self.visits.get(ctx)?.map_or(0, |visits| visits.0) + 1;
        self.visits.set(ctx, &Count(count));
        ctx.emit_display(self.counts, format_args!("1:{count}"));
        Ok(())
    }
}

export_operators! { "visits": Visits }
