//! `visits`, a second version that migrates nothing: it writes what `visits-2` writes and reads the bare number of `visits-1` as it is. Emits `r:<count>`.

use millstream_sdk::{Codec, Context, Operator, Output, Record, Result, Setup, State, Value, export_operators, reject};

struct Seen {
    count: u64,
    last_ms: i64,
}

impl Codec for Seen {
    fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
        self.count.encode(to)?;
        self.last_ms.encode(to)
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.split_at_checked(8) {
            Some((count, [])) => Ok(Self { count: u64::decode(count)?, last_ms: 0 }),
            Some((count, last_ms)) => Ok(Self { count: u64::decode(count)?, last_ms: i64::decode(last_ms)? }),
            None => Err(reject("a visit has 8 or 16 bytes")),
        }
    }
}

struct Visits {
    visits: Value<Seen>,
    counts: Output,
}

impl Operator for Visits {
    fn open(setup: &mut Setup) -> Result<Self> {
        let state = State::new("visits").version(2).reads(1);
        Ok(Self { visits: setup.value(state), counts: setup.output("counts") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let seen = self.visits.get(ctx)?;
        let count = seen.as_ref().map_or(0, |seen| seen.count) + 1;
        let last_ms = seen.map_or(i64::MIN, |seen| seen.last_ms).max(record.timestamp_ms());
        self.visits.set(ctx, &Seen { count, last_ms });
        ctx.emit_display(self.counts, format_args!("r:{count}"));
        Ok(())
    }
}

export_operators! { "visits": Visits }
