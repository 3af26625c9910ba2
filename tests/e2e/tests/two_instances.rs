//! Two processes that believe they own the same pipeline.

use std::time::Duration;

use anyhow::Result;
use millstream_e2e::{CountJob, CountJobOptions, Kafka, MillstreamOptions};

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

#[test]
fn a_frozen_elder_that_wakes_up_commits_nothing() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "undead", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(keys(1_000))?;
    let elder = job.start()?;
    job.settle(&mut counts, &elder, LONG)?;
    // Frozen in the middle of work.
    job.feed(keys(20_000))?;
    elder.pause()?;
    let younger = job.start_with(&in_other_directory())?;
    job.settle(&mut counts, &younger, LONG)?;
    // Twenty commits of the younger, at least.
    for _ in 0..20 {
        job.feed(keys(100))?;
        job.settle(&mut counts, &younger, LONG)?;
    }
    elder.resume()?;
    let exit = elder.wait(LONG)?.expect_code(3)?;
    assert!(exit.stderr.contains(&younger.id().to_string()), "{}", exit.stderr);
    // Any record of the elder would be a repetition now.
    job.probe_state(&mut counts, &younger, LONG)?;
    younger.terminate()?;
    younger.wait(LONG)?.expect_code(0)?;
    Ok(())
}
