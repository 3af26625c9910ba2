//! Whatever Kafka forgets after a while, nothing of it is needed.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use millstream_e2e::{
    Bug, CountJob, CountJobOptions, Isolation, Kafka, KafkaOptions, Millstream, MillstreamOptions, Record, eventually,
    guest,
};

const LONG: Duration = Duration::from_secs(180);

/// A broker that forgets everything it may.
fn forgetful_broker() -> Result<Kafka> {
    let properties = [
        ("offsets.retention.minutes", "1"),
        ("offsets.retention.check.interval.ms", "5000"),
        ("transactional.id.expiration.ms", "10000"),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "2000"),
        ("producer.id.expiration.ms", "5000"),
        ("producer.id.expiration.check.interval.ms", "1000"),
        ("log.cleaner.backoff.ms", "500"),
    ];
    let properties = properties.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    Kafka::start(&KafkaOptions { properties, ..KafkaOptions::default() })
}

/// One key, one partition: the other three stay silent.
fn one(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|_| "one".to_owned())
}

fn wait_until_forgotten(job: &CountJob<'_>, run: Option<&Millstream>) -> Result<()> {
    eventually("the broker to forget the transactional id and the group", LONG, || {
        if let Some(run) = run {
            ensure!(run.exited()?.is_none(), "{}", run.log_end());
        }
        let known = job.client()?.transactions()?;
        let forgotten = !known.iter().any(|transaction| transaction.id.starts_with(job.id.as_str()));
        let offsets = job.client()?.group_offsets(&job.id, &job.input)?;
        std::thread::sleep(Duration::from_millis(200));
        Ok((forgotten && offsets.is_empty()).then_some(()))
    })
}

#[test]
fn ids_producers_and_offsets_expire_under_a_run_and_between_two() -> Result<()> {
    let kafka = forgetful_broker()?;
    let mut job = CountJob::new(&kafka, "expires", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(one(100))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    wait_until_forgotten(&job, Some(&run))?;
    job.feed(one(100))?;
    job.settle(&mut counts, &run, LONG)?;
    run.kill()?;
    wait_until_forgotten(&job, None)?;
    let run = job.start()?;
    job.feed(one(100))?;
    job.settle(&mut counts, &run, LONG)?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}

#[test]
fn group_offsets_that_somebody_resets_move_nothing() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "resets", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(one(100))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    let to_the_beginning: BTreeMap<i32, i64> = (0..4).map(|partition| (partition, 0)).collect();
    // Under a run nobody looks at them, and they are soon overwritten.
    job.client()?.set_group_offsets(&job.id, &job.input, &to_the_beginning)?;
    job.feed(one(100))?;
    job.settle(&mut counts, &run, LONG)?;
    eventually("the mirror", LONG, || {
        let offsets = job.client()?.group_offsets(&job.id, &job.input)?;
        Ok((offsets.values().sum::<i64>() == 200).then_some(()))
    })?;
    run.kill()?;
    // Before a start they are a question.
    job.client()?.set_group_offsets(&job.id, &job.input, &to_the_beginning)?;
    job.feed(one(100))?;
    let refused = job.start()?.wait(LONG)?;
    ensure!(refused.code != Some(0) && refused.stderr.contains("--ignore-group-offsets"), "{}", refused.stderr);
    let more_arguments = vec!["--ignore-group-offsets".to_owned()];
    let run = job.start_with(&MillstreamOptions { more_arguments, ..MillstreamOptions::default() })?;
    job.settle(&mut counts, &run, LONG)?;
    job.probe_state(&mut counts, &run, LONG)
}

/// The newest count of a key, once its output has so many records.
fn count_of(job: &CountJob<'_>, key: &str, records: usize, run: &Millstream) -> Result<String> {
    eventually(&format!("{records} counts of {key}"), LONG, || {
        ensure!(run.exited()?.is_none(), "{}", run.log_end());
        let output = job.client()?.consume_all(&job.output, Isolation::Committed)?;
        let mut own: Vec<_> = output.iter().filter(|record| record.key_text() == key).collect();
        own.sort_by_key(|record| record.offset);
        Ok(own.last().filter(|_| own.len() >= records).map(|record| record.value_text()))
    })
}

fn send(job: &CountJob<'_>, key: &str, value: &str) -> Result<()> {
    job.client()?.produce(&job.input, [Record::new(key, value)]).map(drop)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A state that was removed, and the changelog has forgotten that it was: a copy of the store from before still has it.
fn old_copy(bug: Option<Bug>) -> Result<()> {
    let kafka = forgetful_broker()?;
    let options = CountJobOptions { module: guest("forgetful"), ..CountJobOptions::default() };
    let job = CountJob::new(&kafka, "old-copy", &options)?;
    let (state, kept) = (job.workplace.path().join("state"), job.workplace.path().join("kept"));
    let run = job.start()?;
    for _ in 0..5 {
        send(&job, "gone", "x")?;
    }
    ensure!(count_of(&job, "gone", 5, &run)? == "5", "a count is wrong");
    run.kill()?;
    copy(&state, &kept)?;

    let changelog = format!("{}.changelog.0", job.id);
    let soon = [
        ("delete.retention.ms", "1000"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1000"),
    ];
    job.client()?.alter_topic(&changelog, &soon)?;
    let run = job.start()?;
    send(&job, "gone", "forget")?;
    // Segments are closed by what comes behind, and only closed ones are cleaned.
    eventually("the changelog to forget the removal", LONG, || {
        ensure!(run.exited()?.is_none(), "{}", run.log_end());
        let others = (0..100).map(|n| Record::new(format!("other-{n}"), "x"));
        job.client()?.produce(&job.input, others)?;
        std::thread::sleep(Duration::from_millis(300));
        let cells = job.client()?.consume_all(&changelog, Isolation::Uncommitted)?;
        let is_known = cells.iter().any(|cell| cell.key.as_ref().unwrap().windows(4).any(|part| part == b"gone"));
        Ok((!is_known && !cells.is_empty()).then_some(()))
    })?;
    run.kill()?;

    // From the newest store.
    let run = job.start_with(&MillstreamOptions { bug, ..MillstreamOptions::default() })?;
    send(&job, "last", "x")?;
    ensure!(count_of(&job, "last", 1, &run)? == "1", "a count is wrong");
    run.kill()?;
    // From the copy.
    std::fs::remove_dir_all(&state)?;
    copy(&kept, &state)?;
    let run = job.start_with(&MillstreamOptions { bug, ..MillstreamOptions::default() })?;
    send(&job, "gone", "x")?;
    let count = count_of(&job, "gone", 6, &run)?;
    if count != "1" {
        bail!("a state that was removed is back: the count is {count}");
    }
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}

#[test]
fn an_old_copy_of_the_store_is_no_base_once_removals_are_forgotten() -> Result<()> {
    old_copy(None)
}

#[test]
fn whoever_takes_any_store_for_a_base_brings_removed_state_back() -> Result<()> {
    let why = format!("{:#}", old_copy(Some(Bug::AnyBase)).unwrap_err());
    assert!(why.contains("a state that was removed is back: the count is 6"), "{why}");
    Ok(())
}
