//! `millstream reset` begins a new history, and nothing of the old one gets into it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use millstream_e2e::{CountJob, CountJobOptions, Exit, Isolation, Kafka, eventually};

const LONG: Duration = Duration::from_secs(120);

/// A job with one partition that has counted each of 20 keys ten times, and stopped.
fn stopped(name: &str) -> Result<CountJob<'static>> {
    let options = CountJobOptions { partitions: 1, ..CountJobOptions::default() };
    let mut job = CountJob::new(Kafka::shared()?, name, &options)?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    job.feed((0..200).map(|n| format!("key-{}", n % 20)))?;
    job.settle(&mut counts, &run, LONG)?;
    run.terminate()?;
    assert_eq!(run.wait(LONG)?.code, Some(0));
    drop(run);
    Ok(job)
}

fn reset(job: &CountJob<'_>, more: &[&str]) -> Result<Exit> {
    job.workplace.command(&[&["reset", "pipeline.yaml", "--yes", &job.id], more].concat())
}

/// Runs the job until its output has that many records, and gives the values behind the first 200.
fn run_on(job: &CountJob<'_>, records: usize) -> Result<Vec<String>> {
    let run = job.start()?;
    let output = eventually("the output", LONG, || {
        let output = job.client()?.consume_all(&job.output, Isolation::Committed)?;
        Ok((output.len() >= records).then_some(output))
    })?;
    run.terminate()?;
    assert_eq!(run.wait(LONG)?.code, Some(0), "{}", run.log_end());
    assert_eq!(output.len(), records);
    let verified = job.verify()?;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let value = |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
    Ok(output.into_iter().skip(200).map(|record| value(record.value)).collect())
}

#[test]
fn it_wants_the_id_and_changes_nothing_without_it() -> Result<()> {
    let mut job = stopped("unsure")?;
    let asked = job.workplace.command(&["reset", "pipeline.yaml"])?;
    assert_eq!(asked.code, Some(78), "{}", asked.stderr);
    assert!(asked.stderr.contains(&format!("--yes {}", job.id)), "{}", asked.stderr);
    let mut counts = job.counts()?;
    let run = job.start()?;
    job.probe_state(&mut counts, &run, LONG)
}

#[test]
fn counts_and_positions_begin_anew_and_the_old_topics_stay() -> Result<()> {
    let job = stopped("anew")?;
    for round in 1..3 {
        let done = reset(&job, &[])?;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let again = run_on(&job, 200 * (round + 1))?;
        assert_eq!(again.iter().filter(|count| *count == "1").count(), 20 * round);
        assert_eq!(again.iter().filter(|count| *count == "11").count(), 0);
    }
    let topics = job.client()?.topics()?;
    for number in 0..3 {
        assert!(topics.contains(&format!("{}.changelog.{number}", job.id)), "{topics:?}");
    }
    // The new history restores from its own changelog.
    std::fs::remove_dir_all(job.workplace.path().join("state"))?;
    let mut job = job;
    job.feed(["key-0".to_owned()])?;
    assert_eq!(run_on(&job, 601)?.last().unwrap(), "11");
    Ok(())
}

#[test]
fn it_begins_where_somebody_put_the_group_if_asked_to() -> Result<()> {
    let job = stopped("moved-reset")?;
    job.client()?.set_group_offsets(&job.id, &job.input, &BTreeMap::from([(0, 180)]))?;
    let done = reset(&job, &["--to-group-offsets"])?;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(run_on(&job, 220)?, vec!["1"; 20]);
    Ok(())
}

#[test]
fn whoever_still_runs_the_old_history_is_fenced() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "elder", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    job.feed((0..200).map(|n| format!("key-{}", n % 20)))?;
    job.settle(&mut counts, &run, LONG)?;
    let here = reset(&job, &[])?;
    assert!(here.stderr.contains("already running"), "{}", here.stderr);
    let elsewhere = reset(&job, &["--state-dir", "./other"])?;
    assert_eq!(elsewhere.code, Some(0), "{}", elsewhere.stderr);
    job.feed(["key-0".to_owned()])?;
    let exit = run.wait(LONG)?;
    assert_eq!(exit.code, Some(3), "{}", exit.stderr);
    Ok(())
}
