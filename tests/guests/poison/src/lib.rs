//! `poison`: does what the value says.
//!
//! | value | what happens |
//! |---|---|
//! | `trap` | panics, with a message |
//! | `loop` | never returns |
//! | `bomb` | allocates without end |
//! | `recurse` | overflows its stack |
//! | `reject` | rejects the record, after a write and an emit that must not show |
//! | `oversize` | emits a value of 2 MiB |
//! | `flood` | emits without end |
//! | `hoard` | puts 1 MiB into state `hoard` |
//! | `stop` | asks the host to stop |
//! | else | counts the key in state `seen` and forwards the record |

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, Value, export_operators, reject, stop};
use std::hint::black_box;

struct Poison {
    seen: Value<u64>,
    hoard: Value<Vec<u8>>,
    out: Output,
}

impl Operator for Poison {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { seen: setup.value("seen"), hoard: setup.value("hoard"), out: setup.output("out") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        match record.value() {
            Some(b"trap") => panic!("poisoned on purpose"),
            Some(b"loop") => spin(),
            Some(b"bomb") => allocate(),
            Some(b"recurse") => drop(black_box(recurse(1))),
            Some(b"reject") => {
                self.seen.set(ctx, &u64::MAX);
                ctx.emit(self.out, b"must not show");
                return Err(reject("rejected on purpose"));
            }
            Some(b"oversize") => ctx.emit(self.out, &vec![b'x'; 2 << 20]),
            Some(b"flood") => loop {
                ctx.emit(self.out, &[b'x'; 1024]);
            },
            Some(b"hoard") => self.hoard.set(ctx, &vec![1; 1 << 20]),
            Some(b"stop") => return Err(stop("stopped on purpose")),
            _ => {
                let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
                self.seen.set(ctx, &seen);
                ctx.forward(self.out);
            }
        }
        Ok(())
    }
}

fn spin() {
    loop {
        black_box(());
    }
}

fn allocate() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "what it is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 128]);
    black_box(recurse(black_box(depth + 1)) + frame[7])
}

export_operators! { "poison": Poison }
