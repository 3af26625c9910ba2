//! `visits`, the second version: its state `visits`, version 2, is the count and the time of the last record (16 bytes, big endian), migrated from version 1. Emits
//! `2:<count>`.
//!
//! `reject`, `trap`, `bomb` and `loop` in the configuration list counts that it cannot migrate, in that way.

use millstream_sdk::{
    Codec, Context, Migrate, OldValue, Operator, Output, Record, Result, Setup, State, Value, export_operators, reject,
};
use serde::Deserialize;
use std::hint::black_box;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    reject: Vec<u64>,
    trap: Vec<u64>,
    bomb: Vec<u64>,
    r#loop: Vec<u64>,
}

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
        let (count, last_ms) = bytes.split_at_checked(8).ok_or_else(|| reject("a visit has 16 bytes"))?;
        Ok(Self { count: u64::decode(count)?, last_ms: i64::decode(last_ms)? })
    }
}

struct Visits {
    config: Config,
    visits: Value<Seen>,
    counts: Output,
}

impl Operator for Visits {
    fn open(setup: &mut Setup) -> Result<Self> {
        let config = setup.config()?;
        let state = State::new("visits").version(2).migrates(1);
        Ok(Self { config, visits: setup.value(state), counts: setup.output("counts") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let seen = self.visits.get(ctx)?;
        let count = seen.as_ref().map_or(0, |seen| seen.count) + 1;
        let last_ms = seen.map_or(i64::MIN, |seen| seen.last_ms).max(record.timestamp_ms());
        self.visits.set(ctx, &Seen { count, last_ms });
        ctx.emit_display(self.counts, format_args!("2:{count}"));
        Ok(())
    }
}

impl Migrate for Visits {
    fn migrate(&self, value: &mut OldValue) -> Result<()> {
        value.rewrite(self.visits, 1, |count: u64| {
            let Config { reject: rejected, trap, bomb, r#loop: looping } = &self.config;
            if rejected.contains(&count) {
                return Err(reject(format!("{count} is rejected on purpose")));
            }
            assert!(!trap.contains(&count), "{count} traps on purpose");
            if bomb.contains(&count) {
                allocate();
            }
            while looping.contains(&black_box(count)) {
                black_box(());
            }
            Ok(Seen { count, last_ms: 0 })
        })
    }
}

fn allocate() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
}

export_operators! { "visits": Visits with Migrate }
