//! Operators with states of every kind that do what their records say, for tests of the host.

use millstream_sdk::{
    Broadcast, BroadcastContext, Context, List, Map, OnBroadcast, Operator, Output, Record, Result, Setup, State,
    Value, export_operators, reject,
};
use serde::Deserialize;
use std::time::Duration;

/// What one record does, one after the other. Refused ones do all of it, and then fail.
#[derive(Deserialize)]
struct Deeds {
    deeds: Vec<Deed>,
    refuse: bool,
}

#[derive(Deserialize)]
enum Deed {
    Get(i32),
    Put(i32, String),
    Remove(i32),
    Range(i32, i32, bool),
    Clear,
    Append(String),
    Elements,
    ClearList,
}

/// Does what records say, and emits what it has seen.
struct Doer {
    numbers: Map<i32, String>,
    list: List<String>,
    seen: Output,
}

impl Operator for Doer {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { numbers: setup.map("numbers"), list: setup.list("list"), seen: setup.output("seen") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let Deeds { deeds, refuse } = record.json()?;
        for deed in deeds {
            let seen = match deed {
                Deed::Get(key) => self.numbers.get(ctx, &key)?.unwrap_or_default(),
                Deed::Put(key, value) => {
                    self.numbers.put(ctx, &key, &value);
                    continue;
                }
                Deed::Remove(key) => {
                    self.numbers.remove(ctx, &key);
                    continue;
                }
                Deed::Range(start, end, rev) => {
                    let range = self.numbers.range(ctx, start..end);
                    let range = if rev { range.rev() } else { range };
                    let entries = range.map(|entry| entry.map(|(key, value)| format!("{key}={value}")));
                    entries.collect::<Result<Vec<_>>>()?.join(",")
                }
                Deed::Clear => {
                    self.numbers.clear(ctx);
                    continue;
                }
                Deed::Append(element) => {
                    self.list.append(ctx, &element);
                    continue;
                }
                Deed::Elements => self.list.iter(ctx).collect::<Result<Vec<_>>>()?.join(","),
                Deed::ClearList => {
                    self.list.clear(ctx);
                    continue;
                }
            };
            ctx.emit(self.seen, seen.as_bytes());
        }
        if refuse { Err(reject("as it was told")) } else { Ok(()) }
    }
}

/// Says how often a key came within a time, by states that live by either clock.
struct Lives {
    written: Value<u64>,
    read: Value<u64>,
    entries: Map<u64, ()>,
    counts: Output,
}

impl Operator for Lives {
    fn open(setup: &mut Setup) -> Result<Self> {
        let second = Duration::from_secs(1);
        Ok(Self {
            written: setup.value(State::new("written").event_ttl(second)),
            read: setup.value(State::new("read").processing_ttl(second).refreshed_on_access()),
            entries: setup.map(State::new("entries").event_ttl(second)),
            counts: setup.output("counts"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let written = self.written.get(ctx)?.unwrap_or(0) + 1;
        let read = self.read.get(ctx)?.unwrap_or(0);
        if record.text()? == "write" {
            self.written.set(ctx, &written);
            self.read.set(ctx, &(read + 1));
            self.entries.put(ctx, &written, &());
        }
        let entries = self.entries.iter(ctx).count();
        ctx.emit_display(self.counts, format_args!("{written} {read} {entries}"));
        Ok(())
    }
}

/// Lets pass what a rule names.
struct Rules {
    rules: Broadcast<String, String>,
    passed: Output,
}

impl Operator for Rules {
    fn open(setup: &mut Setup) -> Result<Self> {
        setup.input("records");
        setup.broadcast_input("rules");
        Ok(Self { rules: setup.broadcast("rules"), passed: setup.output("passed") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        if let Some(rule) = self.rules.get(ctx, record.text()?)? {
            let revision = self.rules.revision(ctx);
            ctx.emit_display(self.passed, format_args!("{rule} {revision}"));
        }
        Ok(())
    }
}

impl OnBroadcast for Rules {
    fn on_broadcast(&self, record: &Record, ctx: &mut BroadcastContext) -> Result<()> {
        let name = str::from_utf8(record.key().unwrap_or_default())?;
        match record.value() {
            Some(b"bad") => return Err(reject("a bad rule")),
            Some(b"panic") => panic!("a rule that panics"),
            Some(rule) => self.rules.put(ctx, name, &str::from_utf8(rule)?.to_owned()),
            None => self.rules.remove(ctx, name),
        }
        Ok(())
    }
}

export_operators! { "doer": Doer, "lives": Lives, "rules": Rules with OnBroadcast }
