//! The main job: topic → keyed count → topic, read by clients that are not ours.
//!
//! `MILLSTREAM_E2E_MAIN_RECORDS` is the number of records, 2 000 000 by default.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use millstream_e2e::{
    CountJob, CountJobOptions, Isolation, Kafka, MillstreamOptions, Record, eventually, plugin, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const LONG: Duration = Duration::from_secs(300);

fn records() -> Result<u32> {
    match std::env::var("MILLSTREAM_E2E_MAIN_RECORDS") {
        Ok(text) => text.parse().with_context(|| format!("MILLSTREAM_E2E_MAIN_RECORDS is {text:?}, not a number")),
        Err(_) => Ok(2_000_000),
    }
}

/// What `kcat` reads of a topic, `read_committed`: keys and values in the order of each partition.
fn kcat(kafka: &Kafka, topic: &str) -> Result<Vec<(String, String)>> {
    let mut command = Command::new("kcat");
    command.args(["-C", "-e", "-q", "-o", "beginning", "-f", "%k %s\\n", "-X", "isolation.level=read_committed"]);
    command.args(["-b", kafka.bootstrap(), "-t", topic]).stdin(Stdio::null());
    let output = command.output().context("kcat does not start: make setup")?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

#[test]
fn a_keyed_count_over_four_partitions_equals_the_model() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut random = ChaCha8Rng::seed_from_u64(seed("main_job")?);
    let mut job = CountJob::new(kafka, "main", &CountJobOptions::default())?;
    let count = records()?;
    job.feed((0..count).map(|_| format!("key-{}", random.next_u32() % 10_000)))?;
    let begun = Instant::now();
    let run = job.start()?;
    let mut counts = job.counts()?;
    job.settle(&mut counts, &run, LONG)?;
    eprintln!("{count} records in {:?}, start included", begun.elapsed());
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;

    // Once more with another client, of which no line is ours.
    let mut model: BTreeMap<String, u64> = BTreeMap::new();
    for (key, value) in kcat(kafka, &job.output)? {
        let last = model.entry(key).or_default();
        assert_eq!(value, (*last + 1).to_string());
        *last += 1;
    }
    assert_eq!(&model, job.model());
    Ok(())
}

#[test]
fn a_word_count_of_two_operators_counts_every_word() -> Result<()> {
    let kafka = Kafka::shared()?;
    let (lines, words) = (kafka.topic("lines", 3)?, kafka.topic("words", 2)?);
    let workplace = millstream_e2e::Workplace::with_pipeline(&format!(
        "id: {lines}\n\
         kafka: {{ brokers: \"{}\" }}\n\
         sources:\n  lines: {{ topic: {lines}, start: earliest }}\n\
         operators:\n  split: {{ module: {}, inputs: [lines] }}\n  count: {{ module: {}, inputs: [split], key_by: key }}\n\
         sinks:\n  counts: {{ topic: {words}, inputs: [count] }}\n",
        kafka.bootstrap(),
        plugin("split").canonicalize()?.display(),
        plugin("count").canonicalize()?.display(),
    ))?;
    let text = ["to be or not to be", "that is the question", "to be"];
    kafka.client()?.produce(&lines, text.iter().map(|line| Record::keyless(*line)))?;
    let run = workplace.start(&MillstreamOptions::default())?;
    let read = kafka.client()?.consume_at_least(&words, Isolation::Committed, 12, LONG)?;
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    for record in &read {
        newest.insert(record.key_text(), record.value_text());
    }
    let model = [
        ("be", "3"),
        ("is", "1"),
        ("not", "1"),
        ("or", "1"),
        ("question", "1"),
        ("that", "1"),
        ("the", "1"),
        ("to", "3"),
    ];
    assert_eq!(newest, model.iter().map(|&(word, count)| (word.to_owned(), count.to_owned())).collect());
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    Ok(())
}

#[test]
fn headers_timestamps_null_keys_and_tombstones_pass_unchanged() -> Result<()> {
    let kafka = Kafka::shared()?;
    let (from, to) = (kafka.topic("pass-in", 1)?, kafka.topic("pass-out", 1)?);
    let workplace = millstream_e2e::Workplace::with_pipeline(&format!(
        "id: {from}\n\
         kafka: {{ brokers: \"{}\" }}\n\
         sources:\n  in: {{ topic: {from}, start: earliest }}\n\
         operators:\n  same: {{ module: {}, inputs: [in] }}\n\
         sinks:\n  out: {{ topic: {to}, inputs: [same] }}\n",
        kafka.bootstrap(),
        millstream_e2e::guest("identity").canonicalize()?.display(),
    ))?;
    let written = vec![
        Record::new("key", "value").on(0).at(1_000),
        Record::new("", "").on(0).at(1),
        Record::keyless("no key").on(0).at(3_000),
        Record::tombstone("gone").on(0).at(2_000),
        Record::new("h", "v").on(0).at(4_000).header("a", "1").header("b", vec![0, 255]).header("a", "2"),
        Record {
            headers: vec![("null".to_owned(), None)],
            ..Record::new(vec![0xff, 0xfe], vec![0x80]).on(0).at(5_000)
        },
    ];
    kafka.client()?.produce(&from, written.clone())?;
    let run = workplace.start(&MillstreamOptions::default())?;
    let read = kafka.client()?.consume_at_least(&to, Isolation::Committed, written.len(), LONG)?;
    let without_offsets: Vec<_> = read.into_iter().map(|record| Record { offset: -1, ..record }).collect();
    assert_eq!(without_offsets, written);
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    Ok(())
}

#[test]
fn sigterm_drains_commits_and_exits_0_and_the_next_run_goes_on_there() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut job = CountJob::new(kafka, "sigterm", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    for round in 0..3 {
        job.feed((0..5_000).map(|n| format!("{}", n % 100)))?;
        let run = job.start()?;
        // In the middle of the work; what it has taken in by then it has to finish.
        eventually("some output", LONG, || Ok((counts.read_on()? > round * 5_000).then_some(())))?;
        run.terminate()?;
        run.wait(LONG)?.expect_code(0)?;
    }
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    job.probe_state(&mut counts, &run, LONG)?;
    // The mirror, for tools that show the lag of a group.
    let group = eventually("the group's offsets", LONG, || {
        let offsets = kafka.client()?.group_offsets(&job.id, &job.input)?;
        Ok((offsets.values().sum::<i64>() == i64::try_from(job.records()).unwrap()).then_some(offsets))
    })?;
    assert_eq!(group.len(), 4);
    Ok(())
}

#[test]
fn three_workers_share_partitions_and_keys_and_survive_a_kill() -> Result<()> {
    let options = CountJobOptions { more: "workers: 3\n".to_owned(), ..CountJobOptions::default() };
    let mut job = CountJob::new(Kafka::shared()?, "workers", &options)?;
    let mut counts = job.counts()?;
    job.feed((0..20_000).map(|n| format!("key-{}", n % 999)))?;
    let run = job.start()?;
    eventually("some output", LONG, || Ok((counts.read_on()? > 1_000).then_some(())))?;
    run.kill()?;
    job.feed((0..20_000).map(|n| format!("key-{}", n % 777)))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    assert_eq!(run.wait(LONG)?.code, Some(0));
    let verified = job.verify()?;
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    Ok(())
}
