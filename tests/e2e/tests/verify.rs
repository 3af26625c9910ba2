//! `millstream verify` proves that nothing is missing or doubled, and notices when somebody made it so by hand.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use millstream_e2e::{CountJob, CountJobOptions, Isolation, Kafka, Record, eventually};

const LONG: Duration = Duration::from_secs(120);

/// A job that ran for several commits and stopped in good order.
fn finished(name: &str) -> Result<CountJob<'static>> {
    let options = CountJobOptions { partitions: 1, ..CountJobOptions::default() };
    let mut job = CountJob::new(Kafka::shared()?, name, &options)?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    for _ in 0..5 {
        job.feed((0..200).map(|n| format!("key-{}", n % 20)))?;
        job.settle(&mut counts, &run, LONG)?;
    }
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    drop(run);
    job.verify()?.expect_code(0)?;
    Ok(job)
}

#[track_caller]
fn assert_refused(job: &CountJob<'_>, topic: &str) -> Result<()> {
    let verified = job.verify()?;
    let said = format!("{}{}", verified.stdout, verified.stderr);
    assert_eq!(verified.code, Some(1), "{said}");
    assert!(said.contains(topic), "it does not name {topic}:\n{said}");
    Ok(())
}

/// A copy of the last record of a topic, to be written again.
fn last_record(job: &CountJob<'_>, topic: &str) -> Result<Record> {
    let mut records = job.client()?.consume_all(topic, Isolation::Committed)?;
    records.sort_by_key(|record| record.offset);
    Ok(records.pop().unwrap())
}

#[test]
fn an_output_that_is_doubled_is_noticed() -> Result<()> {
    let job = finished("doubled")?;
    let copy = last_record(&job, &job.output)?;
    job.client()?.produce(&job.output, [copy])?;
    assert_refused(&job, &job.output)
}

#[test]
fn an_output_that_is_removed_is_noticed() -> Result<()> {
    let job = finished("removed")?;
    job.client()?.delete_records(&job.output, &BTreeMap::from([(0, 5)]))?;
    assert_refused(&job, &job.output)
}

#[test]
fn a_commit_record_that_is_doubled_is_noticed() -> Result<()> {
    let job = finished("twice")?;
    let commits = format!("{}.commits", job.id);
    let mut records = job.client()?.consume_all(&commits, Isolation::Committed)?;
    records.retain(|record| record.key_text() == "commit");
    records.sort_by_key(|record| record.offset);
    let middle = records[records.len() / 2].clone();
    job.client()?.produce(&commits, [middle])?;
    assert_refused(&job, &commits)
}

#[test]
fn a_commit_record_that_is_removed_is_noticed() -> Result<()> {
    let job = finished("gone")?;
    let commits = format!("{}.commits", job.id);
    let mut records = job.client()?.consume_all(&commits, Isolation::Committed)?;
    records.retain(|record| record.key_text() == "commit");
    records.sort_by_key(|record| record.offset);
    // The newest one, and with it everything before: nothing but the store remembers them.
    let newest = records.pop().unwrap();
    // Brokers delete records by hand only where time may do it, too.
    job.client()?.alter_topic(&commits, &[("cleanup.policy", "compact,delete")])?;
    eventually("the records to be deleted", LONG, || {
        let deleted = job.client()?.delete_records(&commits, &BTreeMap::from([(0, newest.offset + 1)]));
        Ok(deleted.ok())
    })?;
    job.client()?.alter_topic(&commits, &[("cleanup.policy", "compact")])?;
    assert_refused(&job, &commits)
}

#[test]
fn a_commit_record_that_is_overwritten_by_nothing_is_noticed() -> Result<()> {
    let job = finished("tombstone")?;
    let commits = format!("{}.commits", job.id);
    job.client()?.produce(&commits, [Record { value: None, ..last_record(&job, &commits)? }])?;
    assert_refused(&job, &commits)
}

#[test]
fn a_cell_that_is_changed_in_the_changelog_is_noticed() -> Result<()> {
    let job = finished("cell")?;
    let changelog = format!("{}.changelog.0", job.id);
    let copy = last_record(&job, &changelog)?;
    job.client()?.produce(&changelog, [Record { value: Some(b"\x01wrong".to_vec()), ..copy }])?;
    assert_refused(&job, &changelog)
}

#[test]
fn a_running_pipeline_is_left_alone() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "alone", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    job.feed((0..200).map(|n| format!("key-{}", n % 20)))?;
    job.settle(&mut counts, &run, LONG)?;
    let verified = job.verify()?;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.contains("is running as process"), "{}", verified.stdout);
    job.probe_state(&mut counts, &run, LONG)
}
