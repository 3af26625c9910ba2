//! `visits`, a bad version: goes on with the state of `visits-1` and emits `b:<count>`, but a record with the value `trap`, `loop` or `bomb` has it fail in that way, and one with the value
//! `thrice` is emitted three times.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators};
use std::hint::black_box;

struct Visits {
    visits: Value<u64>,
    counts: Output,
}

impl Operator for Visits {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { visits: setup.value("visits"), counts: setup.output("counts") })
    }

    #[expect(clippy::panic, reason = "on purpose")]
    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let count = self.visits.get(ctx)?.unwrap_or(0) + 1;
        self.visits.set(ctx, &count);
        let times = match record.value() {
            Some(b"trap") => panic!("a record has it trap"),
            Some(b"loop") => loop {
                black_box(());
            },
            Some(b"bomb") => allocate(),
            Some(b"thrice") => 3,
            _ => 1,
        };
        for _ in 0..times {
            ctx.emit_display(self.counts, format_args!("b:{count}"));
        }
        Ok(())
    }
}

fn allocate() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
}

export_operators! { "visits": Visits }
