//! Operators with timers, under the harness.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use millstream_sdk::harness::{Harness, Pending};
use millstream_sdk::{
    Context, EventTimer, Fired, OnTimer, Operator, Output, ProcessingTimer, Record, Result, Setup, Timer, Value,
    export_operators, reject, stop,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does what the value of a record says, word by word; and what the timers tell.
struct Alarm {
    event: EventTimer,
    other: EventTimer,
    clock: ProcessingTimer,
    fired: Value<u64>,
    out: Output,
}

impl Operator for Alarm {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self {
            event: setup.event_timer(Timer::new("event").doc("wakes up")),
            other: setup.event_timer("other"),
            clock: setup.processing_timer("clock"),
            fired: setup.value("fired"),
            out: setup.output("out"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        for word in record.text()?.split(' ') {
            match word.split('=').collect::<Vec<_>>()[..] {
                ["event", at] => self.event.set(ctx, at.parse()?),
                ["other", at] => self.other.set(ctx, at.parse()?),
                ["clock", at] => self.clock.set(ctx, at.parse()?),
                ["each", at] => self.event.set_id(ctx, at.parse()?, at.parse()?),
                ["cancel"] => self.event.cancel(ctx),
                ["cancel", id] => self.event.cancel_id(ctx, id.parse()?),
                _ => return Err(reject("no such word")),
            }
        }
        Ok(())
    }
}

impl OnTimer for Alarm {
    fn on_timer(&self, timer: &Fired, ctx: &mut Context) -> Result<()> {
        let fired = self.fired.get(ctx)?.unwrap_or(0) + 1;
        self.fired.set(ctx, &fired);
        let name = if timer.is(self.event) {
            "event"
        } else if timer.is(self.other) {
            "other"
        } else {
            "clock"
        };
        ctx.emit_display(self.out, format_args!("{name} {} at {}, {fired}", timer.id(), timer.time_ms()));
        match timer.time_ms() {
            13 => return Err(reject("an unlucky time")),
            14 => ctx.forward(self.out),
            // One that is due at once, and the other one is gone.
            20 => {
                self.event.set(ctx, 21);
                self.other.cancel(ctx);
            }
            66 if timer.key() == b"for ever" => self.event.set(ctx, 66),
            99 => return Err(stop("the last one")),
            _ => {}
        }
        Ok(())
    }
}

export_operators! { "alarm": Alarm with OnTimer }

fn alarm() -> Harness<Alarm> {
    Harness::new("{}").with_timers()
}

fn values(harness: &Harness<Alarm>) -> Vec<String> {
    harness.outputs("out").iter().map(|emitted| String::from_utf8(emitted.value.clone().unwrap()).unwrap()).collect()
}

#[test]
fn a_timer_fires_once_when_the_watermark_comes_to_its_time() {
    let mut harness = alarm();
    harness.push("ann", "event=10").watermark(9);
    assert!(harness.outputs("out").is_empty());
    harness.watermark(10).watermark(11);
    assert_eq!(harness.outputs("out"), [("ann", "event 0 at 10, 1")]);
    assert_eq!(harness.outputs("out").first().unwrap().timestamp_ms, 10);
    assert_eq!(harness.state::<u64>("fired", "ann"), Some(1));
    assert!(harness.timers().is_empty());
}

#[test]
fn setting_it_again_moves_it_and_cancelling_removes_it() {
    let mut harness = alarm();
    harness.push("ann", "event=10").push("ann", "event=30").push("bob", "event=10").push("bob", "cancel");
    harness.push("cid", "each=5 each=6 each=7 cancel=6").push("ann", "cancel=1");
    let pending = |time_ms, id, key: &str| Pending { time_ms, timer: "event".to_owned(), id, key: key.into() };
    assert_eq!(harness.timers(), [pending(5, 5, "cid"), pending(7, 7, "cid"), pending(30, 0, "ann")]);
    harness.watermark(29);
    assert_eq!(values(&harness), ["event 5 at 5, 1", "event 7 at 7, 2"]);
    harness.end();
    assert_eq!(values(&harness).last().unwrap(), "event 0 at 30, 1");
}

#[test]
fn what_a_timer_does_is_done_before_the_next_one_of_its_key() {
    let mut harness = alarm();
    harness.push("ann", "event=20 other=30").push("bob", "other=20 event=20").watermark(50);
    let of = |key: &str| {
        let own = harness.outputs("out").iter().filter(|emitted| emitted.key.as_deref() == Some(key.as_bytes()));
        own.map(|emitted| String::from_utf8(emitted.value.clone().unwrap()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("ann"), ["event 0 at 20, 1", "event 0 at 21, 2"], "the other one was cancelled in time");
    assert_eq!(of("bob"), ["event 0 at 20, 1", "event 0 at 21, 2"], "those of one time in the order of timers");
}

#[test]
fn one_whose_time_has_passed_fires_when_time_moves_next() {
    let mut harness = alarm();
    harness.watermark(100).push("ann", "event=5");
    assert!(harness.outputs("out").is_empty());
    harness.watermark(101);
    assert_eq!(values(&harness), ["event 0 at 5, 1"]);
}

#[test]
fn each_clock_has_its_own_timers() {
    let mut harness = alarm();
    harness.push("ann", "event=10 clock=10").now(50);
    assert_eq!(values(&harness), ["clock 0 at 10, 1"]);
    harness.watermark(10).push("ann", "clock=60").end();
    assert_eq!(values(&harness), ["clock 0 at 10, 1", "event 0 at 10, 2"]);
    assert_eq!(harness.timers().len(), 1, "the wall clock has no end");
}

#[test]
fn a_record_that_is_refused_sets_nothing_and_a_timer_that_is_refused_is_gone() {
    let mut harness = alarm();
    harness.push("ann", "event=10 nonsense").push("bob", "event=13").push("cid", "event=14").end();
    assert!(harness.outputs("out").is_empty());
    assert_eq!(harness.state::<u64>("fired", "bob"), None);
    let rejected = harness.rejected();
    assert_eq!(rejected[0].timer, None);
    let timer = rejected[1].timer.as_ref().unwrap();
    assert_eq!(
        (timer.key.as_slice(), timer.time_ms, rejected[1].reason.as_str()),
        (&b"bob"[..], 13, "an unlucky time")
    );
    assert!(rejected[2].reason.contains("no value to forward"), "{}", rejected[2].reason);
    assert!(harness.timers().is_empty());
}

#[test]
fn pending_timers_outlive_the_instance_and_reach_the_next_version() {
    let mut harness = alarm();
    harness.push("ann", "event=10 clock=20").restart();
    let mut new = harness.swap(alarm());
    new.watermark(10).now(20);
    assert_eq!(values(&new), ["event 0 at 10, 1", "clock 0 at 20, 2"]);
}

/// Has lost its timers.
struct Deaf;

impl Operator for Deaf {
    fn open(setup: &mut Setup) -> Result<Self> {
        setup.value::<u64>("fired");
        Ok(Self)
    }
    fn process(&self, _: &Record, _: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn complaint(of: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(of)).unwrap_err();
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn mistakes_are_told() {
    let lost = complaint(|| {
        let mut harness = alarm();
        harness.push("ann", "event=10");
        let _ = harness.swap(Harness::<Deaf>::new("{}"));
    });
    assert!(lost.contains("\"event\" is pending"), "{lost}");
    let unheard = complaint(|| {
        let mut harness = Harness::<Alarm>::new("{}");
        harness.push("ann", "event=10").end().rejected();
    });
    assert!(unheard.contains("`Harness::with_timers`"), "{unheard}");
    let endless = complaint(|| {
        let mut harness = alarm();
        harness.push("for ever", "event=66").end().rejected();
    });
    assert!(endless.contains("times in a row"), "{endless}");
}

#[test]
fn a_timer_can_stop_the_pipeline() {
    let mut harness = alarm();
    harness.push("ann", "event=99").end().push("ann", "event=1").end();
    assert_eq!(harness.stopped(), Some("the last one"));
}

/// Keeps in itself what ought to be in state: it shows.
struct Forgetful {
    at: EventTimer,
    out: Output,
    seen: std::cell::Cell<u64>,
}

impl Operator for Forgetful {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { at: setup.event_timer("at"), out: setup.output("out"), seen: std::cell::Cell::default() })
    }
    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        self.at.set(ctx, record.timestamp_ms());
        Ok(())
    }
}

impl OnTimer for Forgetful {
    fn on_timer(&self, _: &Fired, ctx: &mut Context) -> Result<()> {
        self.seen.set(self.seen.get() + 1);
        ctx.emit_display(self.out, self.seen.get());
        Ok(())
    }
}

#[test]
fn timers_are_cut_restarted_and_repeated_like_records() {
    let told = complaint(|| {
        let mut harness = Harness::<Forgetful>::new("{}").with_timers();
        for number in 0..40 {
            harness.push_at(number, format!("key {number}"), "");
        }
        harness.end().outputs("out");
    });
    assert!(told.contains("depend on how batches are cut"), "{told}");
}
