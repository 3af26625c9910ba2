//! The commit protocol, run from seeds against a log, stores and files that fail in every way they can: processes die at any step, requests are lost, late or
//! carried out without an answer, elders wake up, transactions run out of time, directories vanish or grow old. After every run the
//! invariants of the protocol are checked against a model of the pipeline that knows no failures.
//!
//! Whole runs, with the engine's own workers and threads, go through the same world; there a seed decides the failures, not what thread is when where.
//!
//! `MILLSTREAM_SIMULATION_SEEDS` says how many seeds, `MILLSTREAM_SIMULATION_SEED` runs a single one.
#![expect(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::disallowed_methods, reason = "tests")]

mod check;
mod fate;
mod history;
mod model;
mod mutant_disks;
mod mutants;
mod notes;
mod planted;
mod ports;
mod process;
mod scenario;
mod seen;
mod spy;
mod swapping;
mod versions;
mod whole;
mod world;

use mutants::Mutant;
use notes::Notes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use world::World;

/// Seeds of a run that names no other number.
const SEEDS: u64 = 100_000;

/// The same for whole runs, which take time.
const RUNS: u64 = 300;

/// Within so many seeds each planted bug has to show.
const SEEDS_PER_MUTANT: u64 = 20_000;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs seeds on all processors until one fails; tells it, and what happened in the others.
fn run(first: u64, count: u64, mutant: Option<Mutant>) -> (Option<(u64, String)>, Notes) {
    let next = AtomicU64::new(first);
    let found = Mutex::new((None::<(u64, String)>, Notes::default()));
    let work = || {
        let mut notes = Notes::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                break;
            }
            match World::run(seed, mutant) {
                Ok(of) => notes.add(&of),
                Err(violation) => {
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    if found.0.as_ref().is_none_or(|(before, _)| seed < *before) {
                        found.0 = Some((seed, violation));
                    }
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                }
            }
        }
        found.lock().unwrap_or_else(PoisonError::into_inner).1.add(&notes);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_seed_keeps_the_invariants() {
    let single = setting("MILLSTREAM_SIMULATION_SEED");
    let count = single.map_or_else(|| setting("MILLSTREAM_SIMULATION_SEEDS").unwrap_or(SEEDS), |_| 1);
    let (violation, notes) = run(single.unwrap_or(0), count, None);
    if let Some((seed, violation)) = violation {
        panic!("MILLSTREAM_SIMULATION_SEED={seed}: {violation}");
    }
    println!("{count} seeds: {notes:?}");
    if count >= 10_000 {
        let rarest = notes.rarest();
        assert!(rarest.1 >= count / 1_000, "`{}` happened only {} times: the simulation misses it", rarest.0, rarest.1);
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        match run(0, SEEDS_PER_MUTANT, Some(mutant)).0 {
            Some((seed, violation)) => println!("{mutant:?}: seed {seed}: {violation}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not caught within {SEEDS_PER_MUTANT} seeds: {missed:?}");
}

fn run_whole(has_swaps: bool) {
    // Bugs are planted in a process of their own only.
    let _planted = std::env::var_os(planted::BUGS).map(|_| fail::FailScenario::setup());
    let single = setting("MILLSTREAM_SIMULATION_RUN");
    let count = single.map_or_else(|| setting("MILLSTREAM_SIMULATION_RUNS").unwrap_or(RUNS), |_| 1);
    let first = single.unwrap_or(0);
    let mut notes = Notes::default();
    for seed in first..first + count {
        match whole::run(seed, has_swaps) {
            Ok(of) => notes.add(&of),
            Err(violation) => panic!("MILLSTREAM_SIMULATION_RUN={seed}: {violation}"),
        }
    }
    println!("{count} runs: {notes:?}");
}

#[test]
fn whole_runs_with_their_threads_keep_the_invariants() {
    run_whole(false);
}

#[test]
fn whole_runs_in_which_versions_come_and_go_keep_them_too() {
    run_whole(true);
}
