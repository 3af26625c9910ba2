//! The harness tested by itself, against a real broker.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic_in_result_fn, reason = "tests")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use millstream_e2e::{Isolation, Kafka, KafkaOptions, Positions, Process, Record, Scratch, Signal, eventually};

const SOON: Duration = Duration::from_secs(60);

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = Record> {
    range.map(|n| {
        let partition = i32::try_from(n % 4).unwrap();
        Record::new(format!("k{n}"), format!("value {n}")).on(partition).at(i64::from(n) + 1)
    })
}

fn values(records: &[Record]) -> Vec<String> {
    let mut values: Vec<_> = records.iter().map(Record::value_text).collect();
    values.sort();
    values
}

#[test]
fn records_come_back_as_they_were_written() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = kafka.topic("roundtrip", 4)?;
    let client = kafka.client()?;
    let written = vec![
        Record::new("key", "value").on(1).at(1_000),
        Record::new("", "").on(1).at(0),
        Record::keyless("no key").on(1).at(3_000),
        Record::tombstone("gone").on(1).at(2_000),
        Record::new("h", "v").on(1).at(4_000).header("a", "1").header("b", vec![0, 255]).header("a", "2"),
        Record {
            headers: vec![("null".to_owned(), None)],
            ..Record::new(vec![0xff, 0xfe], vec![0x80]).on(1).at(5_000)
        },
    ];
    assert_eq!(client.produce(&topic, written.clone())?, 6);
    let read = client.consume_all(&topic, Isolation::Committed)?;
    let expected: Vec<_> = written.into_iter().zip(0..).map(|(record, offset)| Record { offset, ..record }).collect();
    assert_eq!(read, expected);
    Ok(())
}

#[test]
fn a_hundred_thousand_records_are_visible_only_once_committed() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = kafka.topic("transactions", 4)?;
    let client = kafka.client()?;
    client.begin(&topic)?;
    assert_eq!(client.produce_in(&topic, &topic, numbered(0..100_000))?, 100_000);
    assert_eq!(client.consume_all(&topic, Isolation::Uncommitted)?.len(), 100_000);
    assert_eq!(client.consume_all(&topic, Isolation::Committed)?.len(), 0);
    let state = |id: &str| -> Result<Option<String>> {
        let known = client.transactions()?;
        Ok(known.into_iter().find(|transaction| transaction.id == id).map(|transaction| transaction.state))
    };
    assert_eq!(state(&topic)?.as_deref(), Some("Ongoing"));
    client.commit(&topic)?;
    // The coordinator answers before the markers are on every partition.
    let read = client.consume_at_least(&topic, Isolation::Committed, 100_000, SOON)?;
    assert_eq!(values(&read), values(&numbered(0..100_000).collect::<Vec<_>>()));

    client.begin(&topic)?;
    client.produce_in(&topic, &topic, numbered(0..1_000))?;
    client.abort(&topic)?;
    eventually("the abort markers", SOON, || {
        let stable = client.offsets(&topic, Isolation::Committed)?.last;
        Ok((stable == client.offsets(&topic, Isolation::Uncommitted)?.last).then_some(()))
    })?;
    assert_eq!(client.consume_all(&topic, Isolation::Uncommitted)?.len(), 101_000);
    assert_eq!(client.consume_all(&topic, Isolation::Committed)?.len(), 100_000);
    Ok(())
}

#[test]
fn a_newer_owner_of_a_transactional_id_fences_the_older() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = kafka.topic("fence", 1)?;
    let older = kafka.client()?;
    let newer = millstream_e2e::OutsideClient::start(kafka.bootstrap())?;
    older.begin(&topic)?;
    older.produce_in(&topic, &topic, [Record::new("k", "older")])?;
    newer.begin(&topic)?;
    newer.produce_in(&topic, &topic, [Record::new("k", "newer")])?;
    newer.commit(&topic)?;
    let error = older.commit(&topic).unwrap_err().to_string();
    assert!(error.contains("InvalidProducerEpoch") || error.contains("ProducerFenced"), "{error}");
    let read = older.consume_at_least(&topic, Isolation::Committed, 1, SOON)?;
    assert_eq!(values(&read), ["newer"]);
    Ok(())
}

#[test]
fn reading_goes_on_where_it_stopped() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = kafka.topic("follow", 2)?;
    let client = kafka.client()?;
    client.produce(&topic, [Record::new("a", "1").on(0), Record::new("b", "2").on(1)])?;
    let (first, next) = client.consume_from(&topic, Isolation::Committed, &Positions::new(), 2, SOON)?;
    assert_eq!(values(&first), ["1", "2"]);
    assert_eq!(next, BTreeMap::from([(0, 1), (1, 1)]));
    client.produce(&topic, [Record::new("c", "3").on(1)])?;
    let (second, next) = client.consume_from(&topic, Isolation::Committed, &next, 1, SOON)?;
    assert_eq!(values(&second), ["3"]);
    assert_eq!(next, BTreeMap::from([(0, 1), (1, 2)]));
    Ok(())
}

#[test]
fn topics_can_be_changed_cut_and_deleted() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = kafka.topic("admin", 1)?;
    let client = kafka.client()?;
    client.add_partitions(&topic, 3)?;
    client.alter_topic(&topic, &[("max.message.bytes", "2000")])?;
    let described = client.describe_topic(&topic)?;
    assert_eq!(described.partitions, 3);
    assert_eq!(described.configs["max.message.bytes"].as_deref(), Some("2000"));
    assert!(client.produce(&topic, [Record::new("k", vec![b'x'; 3_000])]).is_err());
    client.produce(&topic, (0..5).map(|n| Record::new("k", format!("{n}")).on(0)))?;
    client.delete_records(&topic, &BTreeMap::from([(0, 3)]))?;
    assert_eq!(client.offsets(&topic, Isolation::Uncommitted)?.first[&0], 3);
    assert_eq!(values(&client.consume_all(&topic, Isolation::Uncommitted)?), ["3", "4"]);
    client.set_group_offsets(&topic, &topic, &BTreeMap::from([(0, 4)]))?;
    assert_eq!(client.group_offsets(&topic, &topic)?, BTreeMap::from([(0, 4)]));
    client.delete_topic(&topic)?;
    assert!(!client.topics()?.contains(&topic));
    Ok(())
}

#[test]
fn a_private_broker_comes_back_with_its_data_after_kill_stop_and_pause() -> Result<()> {
    let options =
        KafkaOptions { properties: vec![("num.partitions".to_owned(), "2".to_owned())], ..KafkaOptions::default() };
    let kafka = Kafka::start(&options)?;
    let topic = kafka.topic("restart", 1)?;
    let client = kafka.client()?;
    client.produce(&topic, [Record::new("k", "before the kill")])?;
    kafka.kill()?;
    kafka.restart()?;
    client.produce(&topic, [Record::new("k", "before the stop")])?;
    kafka.stop()?;
    kafka.restart()?;
    kafka.pause()?;
    kafka.resume()?;
    let read = client.consume_at_least(&topic, Isolation::Committed, 2, SOON)?;
    assert_eq!(values(&read), ["before the kill", "before the stop"]);
    Ok(())
}

#[test]
fn a_shared_broker_cannot_be_stopped() -> Result<()> {
    assert!(Kafka::at("127.0.0.1:1").stop().is_err());
    Ok(())
}

#[test]
fn a_child_is_frozen_and_ended_by_signals() -> Result<()> {
    let mut command = Command::new("sleep");
    command.arg("1000");
    let mut child = Process::spawn("sleep", command)?;
    let state = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    child.signal(Signal::Stop)?;
    eventually("the child to freeze", SOON, || Ok(state(child.id()).contains(") T ").then_some(())))?;
    child.signal(Signal::Continue)?;
    child.signal(Signal::Terminate)?;
    assert!(!child.wait(SOON)?.success());
    child.signal(Signal::Kill)
}

#[test]
fn a_child_and_its_directory_do_not_outlive_a_killed_test_process() -> Result<()> {
    if let Some(report) = std::env::var_os("HARNESS_VICTIM") {
        // This is the test process that is going to be killed.
        let mut command = Command::new("sleep");
        command.arg("1000");
        let child = Process::spawn("sleep", command)?;
        let scratch = Scratch::new("victim")?;
        std::fs::write(scratch.path().join("data"), "data")?;
        std::fs::write(&report, format!("{} {}\n", child.id(), scratch.path().display()))?;
        std::thread::sleep(Duration::from_secs(1_000));
    }
    let scratch = Scratch::new("report")?;
    let report = scratch.path().join("report");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "a_child_and_its_directory_do_not_outlive_a_killed_test_process"]);
    command.env("HARNESS_VICTIM", &report).env_remove("MILLSTREAM_KEEP");
    let mut victim = Process::spawn("the victim", command)?;
    let line = eventually("the report of the victim", SOON, || {
        let text = std::fs::read_to_string(&report).unwrap_or_default();
        Ok(text.ends_with('\n').then(|| text.trim().to_owned()))
    })?;
    let (child, directory) = line.split_once(' ').unwrap();
    assert!(std::fs::exists(directory)?);
    victim.kill()?;
    eventually("the victim's child to die", SOON, || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        Ok((stat.is_empty() || stat.contains(") Z ")).then_some(()))
    })?;
    eventually("the victim's directory to go", SOON, || Ok((!std::fs::exists(directory)?).then_some(())))
}

/// Prints what it measured; nothing is asserted about time.
#[test]
fn large_topics_are_read_and_written() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = kafka.topic("large", 4)?;
    let client = kafka.client()?;
    let count = 500_000;
    let begun = Instant::now();
    client.produce(&topic, numbered(0..count))?;
    let written = begun.elapsed();
    let read = client.consume_all(&topic, Isolation::Committed)?;
    eprintln!("{count} records written in {written:?}, read in {:?}", begun.elapsed() - written);
    assert_eq!(read.len(), usize::try_from(count)?);
    Ok(())
}
