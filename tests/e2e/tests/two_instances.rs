//! Two processes that believe they own the same pipeline.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use millstream_e2e::{
    Bug, Commits, CountJob, CountJobOptions, CrashPoint, Isolation, Kafka, MillstreamOptions, eventually,
};

const LONG: Duration = Duration::from_secs(120);

fn keys(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("key-{}", n % 100))
}

fn in_other_directory() -> MillstreamOptions {
    MillstreamOptions {
        more_arguments: vec!["--state-dir".to_owned(), "./other".to_owned()],
        ..MillstreamOptions::default()
    }
}

#[test]
fn a_second_process_in_the_same_directory_refuses_and_the_first_never_notices() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "same", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(keys(1_000))?;
    let first = job.start()?;
    job.settle(&mut counts, &first, LONG)?;
    for _ in 0..3 {
        let second = job.start()?.wait(LONG)?;
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        let pid = format!("already running as process {}", first.id());
        assert!(second.stderr.contains(&pid), "{}", second.stderr);
        job.feed(keys(1_000))?;
        job.settle(&mut counts, &first, LONG)?;
    }
    first.terminate()?;
    let exit = first.wait(LONG)?.expect_code(0)?;
    assert!(!exit.stderr.contains("fenced"), "{}", exit.stderr);
    Ok(())
}

#[test]
fn an_elder_that_is_taken_over_from_another_directory_exits_3_and_names_the_younger() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "elder", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(keys(1_000))?;
    let elder = job.start()?;
    job.settle(&mut counts, &elder, LONG)?;
    let younger = job.start_with(&in_other_directory())?;
    job.feed(keys(1_000))?;
    let exit = elder.wait(LONG)?.expect_code(3)?;
    assert!(exit.stderr.contains("fenced by"), "{}", exit.stderr);
    assert!(exit.stderr.contains(&younger.id().to_string()), "{}", exit.stderr);
    job.probe_state(&mut counts, &younger, LONG)
}

/// Commits that the younger makes while the elder is frozen.
const COMMITS: usize = 20;

/// The elder is frozen between its commit record and the end of its transaction; a younger takes over and commits; the elder wakes up.
fn undead(bug: Option<Bug>) -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "undead", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let crash = Some(CrashPoint::new("before_end_txn")?.at_pass(5).freezing());
    let elder = job.start_with(&MillstreamOptions { crash, bug, ..MillstreamOptions::default() })?;
    eventually("the elder to freeze", LONG, || {
        job.feed(keys(500))?;
        std::thread::sleep(Duration::from_millis(50));
        Ok(elder.is_frozen()?.then_some(()))
    })?;
    // Where the elder's directory is, nothing happens at all.
    let refused = job.start()?.wait(LONG)?.expect_code(1)?;
    ensure!(refused.stderr.contains(&format!("already running as process {}", elder.id())), "{}", refused.stderr);

    let younger = job.start_with(&in_other_directory())?;
    let incarnation = eventually("many commits of the younger", LONG, || {
        job.feed(keys(100))?;
        job.settle(&mut counts, &younger, LONG)?;
        let commits = Commits::read(job.client()?, &job.id, Isolation::Committed)?.commits;
        let newest = commits.last().map(|(_, commit)| commit.token.incarnation);
        let own = commits.iter().filter(|(_, commit)| Some(commit.token.incarnation) == newest).count();
        Ok(newest.filter(|_| own >= COMMITS))
    })?;
    elder.resume()?;
    let exit = elder.wait(LONG)?.expect_code(3)?;
    ensure!(exit.stderr.contains(&younger.id().to_string()), "{}", exit.stderr);
    // Any record of the elder would be a repetition now.
    job.probe_state(&mut counts, &younger, LONG)?;
    let commits = Commits::read(job.client()?, &job.id, Isolation::Committed)?.commits;
    let last_of_the_elder = commits.iter().rposition(|(_, commit)| commit.token.incarnation != incarnation);
    ensure!(last_of_the_elder.is_none_or(|at| at + COMMITS < commits.len()), "the elder has committed again");
    younger.terminate()?;
    younger.wait(LONG)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_frozen_elder_that_wakes_up_commits_nothing() -> Result<()> {
    undead(None)
}

#[test]
fn an_elder_that_does_not_look_who_came_is_caught() -> Result<()> {
    let Err(error) = undead(Some(Bug::IgnoreYounger)) else { bail!("nothing was noticed of the bug") };
    let why = format!("{error:#}");
    ensure!(why.contains("not 3"), "{why}");
    Ok(())
}

/// In its own directory nobody can take the pipeline from a process, however long that is frozen.
#[test]
fn a_frozen_process_that_nobody_took_over_goes_on() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "nap", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let crash = Some(CrashPoint::new("before_end_txn")?.at_pass(2).freezing());
    let run = job.start_with(&MillstreamOptions { crash, ..MillstreamOptions::default() })?;
    eventually("the process to freeze", LONG, || {
        job.feed(keys(500))?;
        std::thread::sleep(Duration::from_millis(50));
        Ok(run.is_frozen()?.then_some(()))
    })?;
    for _ in 0..3 {
        job.start()?.wait(LONG)?.expect_code(1)?;
    }
    run.resume()?;
    job.settle(&mut counts, &run, LONG)?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    Ok(())
}
