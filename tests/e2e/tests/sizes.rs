//! A record that a topic does not take is a failure of that record, never of the epoch: whichever topic it is, and whenever its limit was lowered.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use anyhow::Result;
use millstream_e2e::{
    CountJob, CountJobOptions, Exit, Isolation, Kafka, Millstream, MillstreamOptions, OutsideClient, Record, Workplace,
    guest,
};

const LONG: Duration = Duration::from_secs(120);

fn header(record: &Record, name: &str) -> Option<String> {
    let (_, value) = record.headers.iter().find(|(known, _)| known == name)?;
    Some(String::from_utf8(value.clone().unwrap_or_default()).unwrap())
}

/// From topic to topic, through `operators`, with dead letters.
struct Job {
    workplace: Workplace,
    input: String,
    output: String,
    dead: String,
}

impl Job {
    fn new(name: &str, operators: &str, last: &str) -> Result<Self> {
        let kafka = Kafka::shared()?;
        let topic = |part: &str| kafka.topic(&format!("{name}-{part}"), 1);
        let (input, output, dead) = (topic("in")?, topic("out")?, topic("dead")?);
        let workplace = Workplace::with_pipeline(&format!(
            "id: {input}\n\
             kafka: {{ brokers: \"{}\" }}\n\
             sources:\n  in: {{ topic: {input}, start: earliest }}\n\
             {operators}\
             sinks:\n  out: {{ topic: {output}, inputs: [{last}] }}\n\
             dead_letters: {{ topic: {dead} }}\n\
             commit: {{ interval: 100ms }}\n",
            kafka.bootstrap(),
        ))?;
        Ok(Self { workplace, input, output, dead })
    }

    fn client(&self) -> Result<&'static OutsideClient> {
        Kafka::shared()?.client()
    }

    fn feed(&self, values: impl IntoIterator<Item = usize>) -> Result<()> {
        let records = values.into_iter().enumerate().map(|(n, bytes)| Record::new(format!("{n}"), vec![b'x'; bytes]));
        self.client()?.produce(&self.input, records).map(drop)
    }

    fn read(&self, topic: &str, count: usize) -> Result<Vec<Record>> {
        self.client()?.consume_at_least(topic, Isolation::Committed, count, LONG)
    }

    /// Epochs that began and were not committed.
    fn lost(&self) -> Result<usize> {
        let commits = self.client()?.consume_all(&format!("{}.commits", self.input), Isolation::Uncommitted)?;
        let count = |key: &str| commits.iter().filter(|record| record.key_text() == key).count();
        Ok(count("begin") - count("commit"))
    }
}

fn end(run: &Millstream) -> Result<Exit> {
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)
}

/// An operator that passes on what it gets.
fn forward() -> Result<String> {
    let module = guest("poison").canonicalize()?;
    Ok(format!("operators:\n  pass: {{ module: {}, inputs: [in], key_by: key }}\n", module.display()))
}

#[test]
fn a_limit_lowered_while_the_pipeline_runs_costs_the_records_that_do_not_fit_any_more() -> Result<()> {
    let job = Job::new("lowered", &forward()?, "pass")?;
    job.feed([5_000; 20])?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    job.read(&job.output, 20)?;
    job.client()?.alter_topic(&job.output, &[("max.message.bytes", "2000")])?;
    for round in 1..=3 {
        job.feed([10, 5_000, 10])?;
        let (passed, dead) = (job.read(&job.output, 20 + 2 * round)?, job.read(&job.dead, round)?);
        assert_eq!((passed.len(), dead.len()), (20 + 2 * round, round));
        let reason = header(dead.last().unwrap(), "millstream-reason").unwrap();
        assert!(reason.contains("takes 1488 (the topic's `max.message.bytes`)"), "{reason}");
        assert_eq!(run.exited()?, None, "{}", run.log_end());
    }
    // The first large record was not known to be too large; no other one costs an epoch.
    assert_eq!(job.lost()?, 1);
    end(&run)?;
    Ok(())
}

#[test]
fn no_batch_is_larger_than_a_topic_takes_however_many_small_records_there_are() -> Result<()> {
    let job = Job::new("batches", &forward()?, "pass")?;
    job.client()?.alter_topic(&job.output, &[("max.message.bytes", "20000")])?;
    job.feed(vec![500; 20_000])?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    assert_eq!(job.read(&job.output, 20_000)?.len(), 20_000);
    end(&run)?;
    assert_eq!((job.lost()?, job.client()?.consume_all(&job.dead, Isolation::Committed)?.len()), (0, 0));
    Ok(())
}

#[test]
fn what_goes_from_source_to_sink_is_measured_too() -> Result<()> {
    let job = Job::new("straight", "", "in")?;
    job.client()?.alter_topic(&job.output, &[("max.message.bytes", "20000")])?;
    job.feed([100, 30_000, 100])?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    assert_eq!((job.read(&job.output, 2)?.len(), job.read(&job.dead, 1)?.len()), (2, 1));
    let dead = job.read(&job.dead, 1)?.remove(0);
    assert_eq!(header(&dead, "millstream-source").as_deref(), Some("in"));
    assert_eq!(header(&dead, "millstream-topic").as_deref(), Some(job.input.as_str()));
    assert_eq!((header(&dead, "millstream-operator"), dead.value.unwrap().len()), (None, 30_000));
    end(&run)?;
    assert_eq!(job.lost()?, 0);
    // Without dead letters the pipeline stops, says where and why, and goes on once that is put right.
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    let without: String =
        yaml.lines().filter(|line| !line.starts_with("dead_letters")).map(|line| format!("{line}\n")).collect();
    job.workplace.write("pipeline.yaml", without)?;
    job.feed([100, 30_000, 100])?;
    let exit = job.workplace.start(&MillstreamOptions::default())?.wait(LONG)?.expect_code(1)?;
    for part in ["source `in`, partition 0, offset 4", "sink `out` takes 19488", "raise that, or name `dead_letters`"] {
        assert!(exit.stderr.contains(part), "{part}: {}", exit.stderr);
    }
    job.client()?.alter_topic(&job.output, &[("max.message.bytes", "100000")])?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    assert_eq!(job.read(&job.output, 5)?.len(), 5);
    end(&run)?;
    Ok(())
}

#[test]
fn state_that_the_changelog_does_not_take_is_a_failure_of_its_record() -> Result<()> {
    let dead = Kafka::shared()?.topic("state-dead", 1)?;
    let options =
        CountJobOptions { more: format!("dead_letters: {{ topic: {dead} }}\n"), ..CountJobOptions::default() };
    let mut job = CountJob::new(Kafka::shared()?, "state", &options)?;
    let mut counts = job.counts()?;
    job.feed(["short".to_owned()])?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    end(&run)?;
    let changelog = format!("{}.changelog.0", job.id);
    job.client()?.alter_topic(&changelog, &[("max.message.bytes", "600")])?;
    let run = job.start()?;
    job.client()?.produce(&job.input, [Record::new("k".repeat(200), "v")])?;
    let letter = job.client()?.consume_at_least(&dead, Isolation::Committed, 1, LONG)?.remove(0);
    let reason = header(&letter, "millstream-reason").unwrap();
    assert!(reason.contains("with its keys, the changelog takes 88"), "{reason}");
    job.probe_state(&mut counts, &run, LONG)?;
    end(&run)?;
    Ok(())
}

#[test]
fn a_dead_letter_topic_that_takes_no_letter_is_refused_at_the_start_and_stops_a_run() -> Result<()> {
    let job = Job::new("tiny", &forward()?, "pass")?;
    job.feed([10])?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    job.read(&job.output, 1)?;
    job.client()?.alter_topic(&job.dead, &[("max.message.bytes", "600")])?;
    // Known to the run after the first epoch that is lost by it; the second time no letter is small enough. Nothing makes the key smaller than the topic
    // takes: what the broker measures is compressed.
    let key: String = (1..60_u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    job.client()?.produce(&job.input, [Record::new(key, "reject")])?;
    let exit = run.wait(LONG)?.expect_code(1)?;
    for part in ["`dead_letters` takes records of 88 bytes", "It was refused because: rejected on purpose"] {
        assert!(exit.stderr.contains(part), "{part}: {}", exit.stderr);
    }
    let exit = job.workplace.start(&MillstreamOptions::default())?.wait(LONG)?.expect_code(78)?;
    assert!(exit.stderr.contains("it takes records of 88 bytes, and 2048 are needed"), "{}", exit.stderr);
    // Nothing was lost.
    job.client()?.alter_topic(&job.dead, &[("max.message.bytes", "1000000")])?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    let letter = job.read(&job.dead, 1)?.remove(0);
    assert_eq!(header(&letter, "millstream-offset").as_deref(), Some("1"));
    end(&run)?;
    Ok(())
}

#[test]
fn a_letter_carries_what_the_guest_said_last() -> Result<()> {
    let job = Job::new("said", &forward()?, "pass")?;
    job.client()?.produce(&job.input, [Record::new("k", "trap")])?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    let letter = job.read(&job.dead, 1)?.remove(0);
    let reason = header(&letter, "millstream-reason").unwrap();
    assert!(reason.contains("poisoned on purpose"), "{reason}");
    end(&run)?;
    Ok(())
}
