//! How long a worker processes nothing because of a swap: at the switch, and at the end of the trial. Fakes on both sides, so that it is the engine's own time; making and dropping
//! instances of a guest happens on other threads.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/swap/pipeline.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod pipeline;

use millstream_engine::call::Call;
use millstream_engine::fakes::FakeOperator;
use millstream_engine::ports::OperatorFactory;
use millstream_engine::swap::{ProbationRules, TrialRules};
use millstream_model::ids::Digest;
use pipeline::{Pipeline, Settings, Version, state};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

const SWAPS: u32 = 500;
const WORKERS: u32 = 2;
const TRIAL_RECORDS: u64 = 1_000;

/// When a worker was in a call, of which version.
#[derive(Clone, Copy)]
struct Span {
    version: u32,
    from: Instant,
    to: Instant,
}

type Spans = Arc<Mutex<BTreeMap<u64, Vec<Span>>>>;

fn main() {
    for (name, has_state, alternates) in [
        ("no state", false, false),
        ("the same state, kept in memory", true, false),
        ("another version of the state, begun from the store", true, true),
    ] {
        measure(name, has_state, alternates);
    }
}

fn measure(name: &str, has_state: bool, alternates: bool) {
    let spans = Spans::default();
    let version = |number: u32| {
        let written = if alternates { 1 + number % 2 } else { 1 };
        let states = if has_state { vec![state("seen", written, &[1, 2])] } else { Vec::new() };
        timed(&Version { states, ..Version::new("a") }, number, &spans)
    };
    let settings = Settings { workers: WORKERS, interval_ms: 50, ..Settings::default() };
    let first =
        Version { states: if has_state { vec![state("seen", 1, &[1, 2])] } else { Vec::new() }, ..Version::new("a") };
    let pipeline = Pipeline::start_with(&first, version(0), &settings);
    pipeline.feed(i64::MAX / 4);
    for number in 1..=SWAPS {
        let rules = TrialRules { records: TRIAL_RECORDS, ..TrialRules::default() };
        let answer = pipeline.ask_for(version(number), rules, ProbationRules::default());
        answer.wait().unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let spans = std::mem::take(&mut *spans.lock().unwrap());
    let (mut at_switch, mut at_verdict) = (Vec::new(), Vec::new());
    for spans in spans.values() {
        let mut given = 0;
        for pair in spans.windows(2) {
            let pause = pair[1].from.duration_since(pair[0].to);
            if pair[0].version == pair[1].version {
                // Within a version the longest pause is that for the verdict.
                given = given.max(pause.as_nanos());
            } else {
                at_switch.push(pause.as_nanos());
                at_verdict.push(std::mem::take(&mut given));
            }
        }
    }
    println!("{name}: {SWAPS} swaps, {WORKERS} workers");
    show("  at the switch", at_switch);
    show("  the longest one within a version (the verdict, as a rule)", at_verdict);
}

fn show(what: &str, mut pauses: Vec<u128>) {
    pauses.sort_unstable();
    let at = |share: usize| pauses[(pauses.len() - 1) * share / 1_000] / 1_000;
    println!("{what}: p50 {} us, p99 {} us, longest {} us", at(500), at(990), at(1_000));
}

/// A version that takes note of its calls.
fn timed(version: &Version, number: u32, spans: &Spans) -> Arc<dyn OperatorFactory> {
    let (inner, spans) = (version.clone(), Arc::clone(spans));
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    let descriptor = version.factory().descriptor().clone();
    let work = move |call: &mut Call| {
        let from = Instant::now();
        let worked = inner.work(call);
        let span = Span { version: number, from, to: Instant::now() };
        spans.lock().unwrap().entry(thread()).or_default().push(span);
        worked
    };
    Arc::new(FakeOperator::new(descriptor, work).of_module(Digest(digest)))
}

fn thread() -> u64 {
    let id: ThreadId = std::thread::current().id();
    format!("{id:?}").chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}
