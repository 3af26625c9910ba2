//! What is lost besides the process: the state directory, the broker.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millstream_e2e::{CountJob, CountJobOptions, Kafka, KafkaOptions, MillstreamOptions, Workplace, eventually};

const LONG: Duration = Duration::from_secs(120);

fn keys(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("key-{}", n % 1_000))
}

#[test]
fn a_deleted_state_directory_is_restored_from_the_changelog() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "changelog", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    for _ in 0..3 {
        job.feed(keys(10_000))?;
        let run = job.start()?;
        job.settle(&mut counts, &run, LONG)?;
        run.kill()?;
        std::fs::remove_dir_all(job.workplace.path().join("state"))?;
    }
    let run = job.start()?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}

/// The newest checkpoint below the state directory, wherever exactly it keeps them.
fn newest_checkpoint(workplace: &Workplace) -> Result<String> {
    let exit = workplace.command(&["checkpoint", "list", "pipeline.yaml", "-o", "json"])?.expect_code(0)?;
    let listed: serde_json::Value = serde_json::from_str(&exit.stdout)?;
    let path = listed.as_array().and_then(|list| list.last()).and_then(|newest| newest.get("path"));
    Ok(path.and_then(|path| path.as_str()).context("no checkpoint is listed")?.to_owned())
}

#[test]
fn a_savepoint_and_the_changelog_behind_it_bring_the_state_back() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "savepoint", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(keys(10_000))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    job.workplace.command(&["savepoint", "pipeline.yaml"])?.expect_code(0)?;
    let checkpoint = job.workplace.path().join(newest_checkpoint(&job.workplace)?);
    // Checkpoints of a directory share files, so all of it is kept.
    let kept = job.workplace.path().join("kept");
    copy(checkpoint.parent().context("a checkpoint lies in a directory")?, &kept)?;
    let kept = kept.join(checkpoint.file_name().context("a checkpoint has a name")?);
    // More commits than the checkpoint knows of.
    job.feed(keys(5_000))?;
    job.settle(&mut counts, &run, LONG)?;
    run.kill()?;
    std::fs::remove_dir_all(job.workplace.path().join("state"))?;
    let options = MillstreamOptions {
        more_arguments: vec!["--from-checkpoint".to_owned(), kept.display().to_string()],
        ..MillstreamOptions::default()
    };
    let run = job.start_with(&options)?;
    job.probe_state(&mut counts, &run, LONG)
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_nothing() -> Result<()> {
    let kafka = Kafka::start(&KafkaOptions::default())?;
    let mut job = CountJob::new(&kafka, "broker", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    for _ in 0..3 {
        job.feed(keys(5_000))?;
        // Somewhere in the work.
        eventually("some output", LONG, || Ok((counts.read_on()? + 5_000 > job.records()).then_some(())))?;
        kafka.kill()?;
        kafka.restart()?;
        assert_eq!(run.exited()?, None, "{}", run.log_end());
    }
    job.settle(&mut counts, &run, LONG)?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}
