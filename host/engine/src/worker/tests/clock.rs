//! The clock that calls are shown: that of the poll behind them, wherever and however often they are made.

use super::*;
use crate::fakes::FakeOperator;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicI64;

/// A clock that is so many milliseconds later every time it is asked.
struct Stepping {
    now_ms: AtomicI64,
    by_ms: i64,
}

impl Clock for Stepping {
    fn now_ms(&self) -> i64 {
        self.now_ms.fetch_add(self.by_ms, Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }

    fn pause(&self, _: u64) {}
}

/// What calls have seen: by record, each call's operator, number of rows and clock, in order.
type Seen = Arc<Mutex<BTreeMap<i64, Vec<(bool, usize, i64)>>>>;

/// Forwards, and keeps what it sees; fails if `fails` says so of the rows of the call and whether the operator is keyed.
fn watching(seen: &Seen, fails: fn(usize, bool) -> bool) -> Arc<dyn OperatorFactory> {
    let seen = Arc::clone(seen);
    let descriptor = Descriptor { outputs: vec!["out".to_owned()], ..Descriptor::default() };
    let work = move |call: &mut Call| {
        let (rows, keyed, now_ms) = (call.batch.len(), call.rules.inputs != ["op-0"], call.mark.now_ms);
        for origin in &call.batch.origins {
            let mut seen = seen.lock().unwrap();
            seen.entry(origin.offset).or_default().push((keyed, rows, now_ms));
        }
        if fails(rows, keyed) {
            return Err(CallError::Trap { reason: "too many".to_owned(), backtrace: None });
        }
        let parents: Vec<u32> = (0..rows as u32).collect();
        let output =
            OutputColumns { port: 0, parents: &parents, keys: None, values: None, timestamps_ms: None, headers: None };
        call.emit(output).map_err(CallError::from)
    };
    Arc::new(FakeOperator::new(descriptor, work))
}

/// Runs 300 records of the first worker, 50 a poll, to their end; each poll is a millisecond later.
fn run(plan: &Arc<Plan>, fails: fn(usize, bool) -> bool) -> BTreeMap<i64, Vec<(bool, usize, i64)>> {
    run_by(plan, 1, fails)
}

/// As [`run`], each poll so many milliseconds later.
fn run_by(plan: &Arc<Plan>, by_ms: i64, fails: fn(usize, bool) -> bool) -> BTreeMap<i64, Vec<(bool, usize, i64)>> {
    let seen = Seen::default();
    let clock = Arc::new(Stepping { now_ms: AtomicI64::new(1_000), by_ms });
    let numbers = |worker: u32| Numbers::new(worker, if worker == 0 { 300 } else { 0 }, 50);
    let crew = start_by(plan, clock, numbers, INBOX_BYTES_MAX, &watching(&seen, fails));
    crew.wait_for_end();
    crew.cut(true);
    crew.stop();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 300);
    seen.clone()
}

fn clocks(calls: &[(bool, usize, i64)]) -> BTreeSet<i64> {
    calls.iter().map(|(_, _, now_ms)| *now_ms).collect()
}

#[test]
fn a_batch_that_crosses_the_exchange_shows_the_clock_of_its_sender() {
    let second = Target::Operator { operator: OperatorIndex(1), input: 0 };
    let plan = plan(vec![node(false, 0, second), node(true, 1, Target::Sink(OUT))], 3);
    let seen = run(&plan, |_, _| false);
    let mut polls = BTreeSet::new();
    for (number, calls) in &seen {
        let [(false, _, at_sender), (true, _, at_owner)] = calls[..] else { panic!("{number}: {calls:?}") };
        assert_eq!(at_sender, at_owner, "number {number}");
        polls.insert(at_sender);
    }
    assert_eq!(polls.len(), 6, "one clock for each poll: {polls:?}");
}

#[test]
fn a_piece_that_is_tried_again_shows_the_clock_of_the_whole() {
    let plan = plan(vec![node(false, 0, Target::Sink(OUT))], 1);
    let seen = run(&plan, |rows, _| rows > 5);
    for (number, calls) in &seen {
        assert_eq!(clocks(calls).len(), 1, "number {number}: {calls:?}");
    }
    assert!(seen[&0].len() > 1, "tried once only: {:?}", seen[&0]);
}

#[test]
fn parts_searched_behind_the_exchange_show_the_clock_of_the_sender() {
    let second = Target::Operator { operator: OperatorIndex(1), input: 0 };
    let plan = plan(vec![node(false, 0, second), node(true, 1, Target::Sink(OUT))], 3);
    let seen = run(&plan, |rows, keyed| keyed && rows > 3);
    for (number, calls) in &seen {
        assert_eq!(clocks(calls).len(), 1, "number {number}: {calls:?}");
    }
    assert!(seen.values().any(|calls| calls.len() > 3), "no search");
}

#[test]
fn a_clock_that_goes_back_does_not_for_an_operator() {
    let plan = plan(vec![node(true, 1, Target::Sink(OUT))], 1);
    let seen = run_by(&plan, -7, |_, _| false);
    let all: Vec<_> = seen.values().flatten().map(|(_, _, now_ms)| *now_ms).collect();
    assert_eq!(all, vec![all[0]; 300]);
}
