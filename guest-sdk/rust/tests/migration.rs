//! Operators that migrate state, under the harness.
#![expect(clippy::unwrap_used, reason = "tests")]

use millstream_sdk::harness::Harness;
use millstream_sdk::{
    Context, Migrate, OldValue, Operator, Output, Postcard, Record, Result, Setup, State, Value, export_operators,
    reject, stop,
};
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Version 1: a bare number.
struct One {
    seen: Value<u64>,
    counts: Output,
}

impl Operator for One {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { seen: setup.value("seen"), counts: setup.output("counts") })
    }
    fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
        let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
        self.seen.set(ctx, &seen);
        ctx.emit_display(self.counts, seen);
        Ok(())
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    count: u64,
    last: Option<String>,
}

/// Version 2: the number, and the last value.
struct Two {
    seen: Value<Postcard<Seen>>,
    counts: Output,
}

impl Operator for Two {
    fn open(setup: &mut Setup) -> Result<Self> {
        let versions = State::new("seen").version(2).migrates(1);
        Ok(Self { seen: setup.value(versions), counts: setup.output("counts") })
    }
    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let count = self.seen.get(ctx)?.map_or(0, |seen| seen.0.count) + 1;
        self.seen.set(ctx, &Postcard(Seen { count, last: Some(record.text()?.to_owned()) }));
        ctx.emit_display(self.counts, count);
        Ok(())
    }
}

impl Migrate for Two {
    fn migrate(&self, value: &mut OldValue) -> Result<()> {
        value.rewrite(self.seen, 1, |count: u64| match count {
            0 => Ok(None),
            13 => Err(reject("13 is no count")),
            666 => Err(stop("666 stops")),
            count => Ok(Some(Postcard(Seen { count, last: None }))),
        })
    }
}

export_operators! { "one": One, "two": Two with Migrate }

fn two() -> Harness<Two> {
    Harness::migrating("{}")
}

/// What a test that goes wrong says.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).err().unwrap();
    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into())).unwrap()
}

#[test]
fn a_swap_takes_state_along_and_migrates_it() {
    let mut old = Harness::<One>::new("{}");
    old.push("ann", "a").push("ann", "b").push("bob", "c");
    let mut new = old.swap(two());
    new.push("ann", "d").restart().push("ann", "e").push("carl", "f");
    assert_eq!(new.outputs("counts"), [("ann", "3"), ("ann", "4"), ("carl", "1")]);
    let of = |key: &str| new.state::<Postcard<Seen>>("seen", key).map(|Postcard(seen)| seen);
    assert_eq!(of("ann"), Some(Seen { count: 4, last: Some("e".into()) }));
    assert_eq!(of("bob"), Some(Seen { count: 1, last: None }), "migrated though no record came");
}

#[test]
fn a_value_can_be_removed_or_refused() {
    let mut new = two();
    new.stored("seen", 1, "gone", &0_u64).stored("seen", 1, "bad", &13_u64).stored("seen", 1, "good", &1_u64);
    new.push("bad", "x").push("gone", "y").push("bad", "z").push("good", "");
    assert_eq!(new.outputs("counts"), [("gone", "1"), ("good", "2")]);
    let reason = "a value of state \"seen\", version 1, cannot be migrated: 13 is no count";
    assert_eq!(new.rejected(), [("x", reason), ("z", reason)]);
}

#[test]
fn a_migration_can_stop_the_pipeline() {
    let mut new = two();
    new.stored("seen", 1, "worst", &666_u64).push("ann", "").push("worst", "");
    assert_eq!(new.stopped(), Some("666 stops"));
}

#[test]
fn bytes_that_are_no_old_value_are_refused() {
    let mut new = two();
    new.stored("seen", 1, "ann", &7_u8).push("ann", "x");
    assert!(new.rejected().first().unwrap().reason.contains("a stored u64 has 1 bytes"));
}

#[test]
fn state_that_nobody_can_read_is_refused() {
    let text = panic_of(|| {
        Harness::<One>::new("{}").stored("seen", 2, "ann", &1_u64);
    });
    assert!(text.contains("holds version 2, which the operator neither reads nor migrates"), "{text}");
    let text = panic_of(|| {
        Harness::<Two>::new("{}").stored("seen", 1, "ann", &1_u64);
    });
    assert!(text.contains("`Harness::migrating`"), "{text}");
}

/// Declares what `DECLARES` says and rewrites what `REWRITES` says, if that is not 0.
struct Careless<const DECLARES: u32, const REWRITES: u32>(Value<u64>);

impl<const DECLARES: u32, const REWRITES: u32> Operator for Careless<DECLARES, REWRITES> {
    fn open(setup: &mut Setup) -> Result<Self> {
        let state = State::new("seen").version(9);
        Ok(Self(setup.value(if DECLARES == 0 { state } else { state.migrates(DECLARES) })))
    }
    fn process(&self, _: &Record, _: &mut Context) -> Result<()> {
        Ok(())
    }
}

impl<const DECLARES: u32, const REWRITES: u32> Migrate for Careless<DECLARES, REWRITES> {
    fn migrate(&self, value: &mut OldValue) -> Result<()> {
        if REWRITES == 0 { Ok(()) } else { value.rewrite(self.0, REWRITES, |old: u64| Ok(old)) }
    }
}

#[test]
fn what_is_declared_and_what_is_rewritten_have_to_agree() {
    let forgotten = panic_of(|| Harness::<Careless<1, 0>>::migrating("{}"));
    assert!(
        forgotten.contains("says that it migrates version 1, and `Migrate` has no `rewrite` for it"),
        "{forgotten}"
    );
    let undeclared = panic_of(|| Harness::<Careless<0, 1>>::migrating("{}"));
    assert!(undeclared.contains("which does not say so: `State::new(\"seen\").migrates(1)`"), "{undeclared}");
    let mut agreed = Harness::<Careless<1, 1>>::migrating("{}");
    agreed.stored("seen", 1, "ann", &5_u64);
    assert_eq!(agreed.state::<u64>("seen", "ann"), Some(5));
}
