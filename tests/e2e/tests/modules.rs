//! A lost disk loses no version: modules come back from Kafka.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::{CountJob, CountJobOptions, Kafka, MillstreamOptions, eventually, plugin, variant};

const SOON: Duration = Duration::from_secs(120);

#[test]
fn a_version_that_was_swapped_in_survives_the_loss_of_the_state_directory() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "modules", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    let keys = || (0..1_000).map(|number| format!("key-{}", number % 100));
    job.feed(keys())?;
    job.settle(&mut counts, &run, SOON)?;
    // Larger than two chunks.
    let second = variant(&std::fs::read(plugin("count"))?, 1, 1 << 20);
    job.workplace.write("second.wasm", &second)?;
    // Records for its trial.
    job.feed(keys())?;
    job.workplace.command(&["swap", "count", "second.wasm", "pipeline.yaml"])?.expect_code(0)?;
    job.settle(&mut counts, &run, SOON)?;
    run.kill()?;
    std::fs::remove_dir_all(job.workplace.path().join("state"))?;
    let run = job.start_with(&MillstreamOptions::default())?;
    job.probe_state(&mut counts, &run, SOON)?;
    let status = job.workplace.command(&["status", "pipeline.yaml", "-o", "json"])?.expect_code(0)?;
    let status: serde_json::Value = serde_json::from_str(&status.stdout)?;
    ensure!(status.pointer("/operators/count/generation") == Some(&2.into()), "{status}");
    run.terminate()?;
    run.wait(SOON)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    // Without the topic there is nothing to go on with.
    std::fs::remove_dir_all(job.workplace.path().join("state"))?;
    job.client()?.delete_topic(&format!("{}.modules", job.id))?;
    let refused = eventually("the topic to be gone", SOON, || {
        let exit = job.workplace.command(&["run", "pipeline.yaml"])?;
        Ok(exit.stderr.contains("it is nowhere").then_some(exit))
    })?;
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    ensure!(refused.stderr.contains(&format!("topic `{}.modules`", job.id)), "{}", refused.stderr);
    Ok(())
}
