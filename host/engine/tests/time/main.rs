//! Event time and timers in whole runs, with the engine's own workers and threads, against a model that knows neither batches nor workers nor failures.
//!
//! A seed decides how many partitions, workers and records there are, how far out of order these come, how batches and epochs are cut, and what fails: epochs are lost,
//! processes die. What is put out for a key must be the same whatever that is, because no record is late and no partition idle. `MILLSTREAM_TIME_RUNS` says how many
//! seeds, `MILLSTREAM_TIME_RUN` runs a single one.
#![expect(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod clocked;
mod model;
mod operators;
mod windows;
mod world;

/// Seeds of a run that names no other number.
const RUNS: u64 = 120;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn for_each_seed(test: fn(u64) -> Result<u64, String>) {
    let single = setting("MILLSTREAM_TIME_RUN");
    let count = single.map_or_else(|| setting("MILLSTREAM_TIME_RUNS").unwrap_or(RUNS), |_| 1);
    let first = single.unwrap_or(0);
    let mut rollbacks = 0;
    for seed in first..first + count {
        match test(seed) {
            Ok(of) => rollbacks += of,
            Err(difference) => panic!("MILLSTREAM_TIME_RUN={seed}: {difference}"),
        }
    }
    println!("{count} runs, {rollbacks} epochs lost");
}

#[test]
fn event_timers_do_the_same_whatever_is_cut_shared_lost_and_restarted() {
    for_each_seed(world::run);
}

#[test]
fn windows_on_time_are_put_out_once_each_whatever_is_cut_shared_lost_and_restarted() {
    for_each_seed(windows::run_on_time);
}

#[test]
fn late_records_are_folded_or_put_out_as_late_and_none_is_counted_twice() {
    for_each_seed(windows::run_late);
}

#[test]
fn timers_of_the_wall_clock_fire_once_each_whatever_is_lost() {
    for_each_seed(clocked::run);
}
