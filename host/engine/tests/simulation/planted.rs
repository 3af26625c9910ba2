//! Bugs of swaps. What a swap does wrong is no port that does not do as it is told: they are planted in the engine (its `planted.rs` says what each leaves out), each in a
//! process of its own, which has to fail.

use std::process::Command;

/// Where the `fail` crate reads them from.
pub(crate) const BUGS: &str = "FAILPOINTS";

/// Whole runs within which each has to show.
const RUNS_PER_BUG: u64 = 300;

const OF_SWAPS: [&str; 10] = [
    "write_trials",
    "switch_early",
    "switch_unapplied",
    "keep_cache",
    "name_old_version",
    "settle_early",
    "keep_new_version",
    "keep_instances",
    "keep_overlays",
    "share_verdicts",
];

#[test]
fn every_bug_planted_in_a_swap_is_caught() {
    let mut missed = Vec::new();
    for bug in OF_SWAPS {
        let mut whole_runs = Command::new(std::env::current_exe().expect("the path of this binary"));
        whole_runs.args(["--exact", "whole_runs_in_which_versions_come_and_go_keep_them_too"]);
        whole_runs.env(BUGS, format!("{bug}=return")).env("RUST_BACKTRACE", "0");
        whole_runs.env("MILLSTREAM_SIMULATION_RUNS", RUNS_PER_BUG.to_string()).env_remove("MILLSTREAM_SIMULATION_RUN");
        let ended = whole_runs.output().expect("this binary runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned() + &String::from_utf8_lossy(&ended.stdout);
        // A violation it must be, and not that the process could not go on.
        match said.lines().find(|line| line.starts_with("MILLSTREAM_SIMULATION_RUN=")) {
            Some(violation) if !ended.status.success() => println!("{bug}: {violation:.300}"),
            _ => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught within {RUNS_PER_BUG} whole runs: {missed:?}");
}
