//! What would hang or fail later is said before anything starts, all of it at once; and what readers cannot see stops a run.

use std::time::Duration;

use anyhow::Result;
use millstream_e2e::{CountJob, CountJobOptions, Kafka, KafkaOptions, Record, eventually};

const LONG: Duration = Duration::from_secs(120);
const CONFIG: i32 = 78;

#[test]
fn run_and_validate_name_everything_that_is_in_the_way() -> Result<()> {
    let properties = vec![("transaction.state.log.replication.factor".to_owned(), "3".to_owned())];
    let kafka = Kafka::start(&KafkaOptions { properties, ..KafkaOptions::default() })?;
    let job = CountJob::new(&kafka, "in-the-way", &CountJobOptions::default())?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    job.workplace.write("pipeline.yaml", yaml.replace(&job.output, "0-0-0"))?;
    let validated = job.workplace.command(&["validate", "pipeline.yaml"])?.expect_code(CONFIG)?;
    for part in [
        format!("2 things are in the way of pipeline `{}`", job.id),
        "`transaction.state.log.replication.factor` is 3".to_owned(),
        "topic `0-0-0`: ".to_owned(),
    ] {
        assert!(validated.stderr.contains(&part), "{part}: {}", validated.stderr);
    }
    let ran = job.start()?.wait(LONG)?.expect_code(CONFIG)?;
    assert!(ran.stderr.ends_with(&validated.stderr), "{} / {}", ran.stderr, validated.stderr);
    // Nothing was made meanwhile.
    assert_eq!(job.client()?.topics()?, [job.input.clone(), job.output.clone()]);
    assert!(!job.workplace.path().join("state").exists());
    Ok(())
}

#[test]
fn a_commit_that_readers_cannot_see_stops_the_pipeline_while_others_flow() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "unseen", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed((0..100).map(|n| format!("key-{n}")))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    // Somebody holds the commits topic open: readers of committed records see nothing behind it.
    let (client, commits) = (job.client()?, format!("{}.commits", job.id));
    let holder = format!("{}-holder", job.id);
    client.begin(&holder)?;
    client.produce_in(&holder, &commits, [Record::new("open", "who is this?")])?;
    let exit = eventually("the end of the run", LONG, || {
        job.feed((0..10).map(|n| format!("key-{n}")))?;
        std::thread::sleep(Duration::from_millis(200));
        run.exited()
    })?;
    let exit = exit.expect_code(1)?;
    assert!(exit.stderr.contains("is not visible to readers"), "{}", exit.stderr);
    // Nothing was lost by it.
    client.abort(&holder)?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}
