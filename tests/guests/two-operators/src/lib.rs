//! `two-operators`: a catalog of two. `route` is not keyed and takes configuration; `latest` is keyed, has a state with versions, and
//! uses all the rest of the SDK: keys, headers, timestamps, tombstones, clocks, log lines and metrics.

use millstream_sdk::{
    Context, Counter, Field, Gauge, Histogram, Input, Operator, Outgoing, Output, Port, Record, Result, Setup, State,
    Value, export_operators, info,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Records whose value begins with this go to `matched`, others to `other`.
    prefix: String,
}

struct Route {
    prefix: String,
    matched: Output,
    other: Output,
}

impl Operator for Route {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { prefix } = setup.config()?;
        let matched = setup.output(Port::new("matched").doc("values with the prefix"));
        Ok(Self { prefix, matched, other: setup.output("other") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let matches = record.bytes()?.starts_with(self.prefix.as_bytes());
        ctx.forward(if matches { self.matched } else { self.other });
        Ok(())
    }
}

/// Emits the value a key had before, a second later, with the clocks in headers. A tombstone from either input clears it.
struct Latest {
    right: Input,
    latest: Value<Vec<u8>>,
    before: Output,
    records: Counter,
    last_ms: Gauge,
    sizes: Histogram,
}

impl Operator for Latest {
    fn open(setup: &mut Setup) -> Result<Self> {
        setup.input("left");
        Ok(Self {
            right: setup.input("right"),
            latest: setup.value(State::new("latest").version(2).reads(1)),
            before: setup.output("before"),
            records: setup.counter("records"),
            last_ms: setup.gauge("last_ms"),
            sizes: setup.histogram("sizes"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        ctx.count(self.records, 1);
        ctx.gauge(self.last_ms, record.timestamp_ms() as f64);
        let before = self.latest.get(ctx)?;
        match record.value() {
            None => self.latest.clear(ctx),
            Some(value) => {
                ctx.observe(self.sizes, value.len() as f64);
                self.latest.set(ctx, &value.to_vec());
            }
        }
        if record.input() == self.right {
            info!(ctx, "from the right, key {:?}", record.key());
        }
        let watermark = ctx.watermark_ms().map(|time_ms| time_ms.to_string());
        let now = ctx.now_ms().to_string();
        let mut headers: Vec<_> = record.headers().collect();
        headers.push(("watermark", watermark.as_deref().map(str::as_bytes)));
        headers.push(("now", Some(now.as_bytes())));
        ctx.emit_record(
            self.before,
            &Outgoing {
                value: Field::Set(before.as_deref()),
                timestamp_ms: Some(record.timestamp_ms() + 1000),
                headers: Some(&headers),
                ..Outgoing::default()
            },
        );
        Ok(())
    }
}

export_operators! { "route": Route, "latest": Latest }
