//! Event time on a real Kafka: timers that fire once through deaths at random times, partitions that are waited for, and topics that end.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::{
    Isolation, Kafka, MillstreamOptions, RandomKills, Record, StoreIdentity, Workplace, check_takeovers, eventually,
    plugin, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 4;
const DEATHS: u32 = 12;
const BEGIN_MS: i64 = 1_700_000_000_000 - 1_700_000_000_000 % MINUTE_MS;
const MINUTE_MS: i64 = 60_000;

/// Records by key and start of the minute.
type Tallies = BTreeMap<(String, i64), u64>;

/// A tally by minutes between two topics.
fn tally(kafka: &Kafka, (input, output): (&str, &str), source: &str) -> Result<Workplace> {
    Workplace::with_pipeline(&format!(
        "id: {input}\nkafka: {{ brokers: \"{}\" }}\n\
         sources:\n  in: {{ topic: {input}, start: earliest, {source} }}\n\
         operators:\n  tally: {{ module: {}, inputs: [in], key_by: key, config: {{ every_ms: {MINUTE_MS} }} }}\n\
         sinks:\n  out: {{ topic: {output}, inputs: [tally] }}\n\
         commit: {{ interval: 100ms }}\nstate: {{ dir: ./state }}\n",
        kafka.bootstrap(),
        plugin("tally").canonicalize()?.display(),
    ))
}

fn count(tallies: &mut Tallies, record: &Record) {
    let start_ms = record.timestamp_ms - record.timestamp_ms.rem_euclid(MINUTE_MS);
    *tallies.entry((record.key_text(), start_ms)).or_default() += 1;
}

/// The same by windows that the host keeps.
fn windows(kafka: &Kafka, (input, output): (&str, &str), source: &str) -> Result<Workplace> {
    Workplace::with_pipeline(&format!(
        "id: {input}\nkafka: {{ brokers: \"{}\" }}\n\
         sources:\n  in: {{ topic: {input}, start: earliest, {source} }}\n\
         operators:\n  tally: {{ module: {}, inputs: [in], key_by: key, window: {{ tumbling: 1m }} }}\n\
         sinks:\n  out: {{ topic: {output}, inputs: [tally, tally.late] }}\n\
         commit: {{ interval: 100ms }}\nstate: {{ dir: ./state }}\n",
        kafka.bootstrap(),
        plugin("window-tally").canonicalize()?.display(),
    ))
}

/// What came out, each tally once.
fn told(kafka: &Kafka, topic: &str) -> Result<Tallies> {
    let mut tallies = Tallies::new();
    for record in kafka.client()?.consume_all(topic, Isolation::Committed)? {
        let told: Value = serde_json::from_str(&record.value_text()).with_context(|| record.value_text())?;
        let number = |field: &str| told.get(field).and_then(Value::as_i64).unwrap_or_default();
        let is_window = told.get("firing").is_some();
        ensure!(record.timestamp_ms == number("start_ms") + MINUTE_MS - i64::from(is_window), "{record:?}");
        let place = (record.key_text(), number("start_ms"));
        let before = tallies.insert(place.clone(), number("records").unsigned_abs());
        ensure!(before.is_none(), "{place:?} was told twice: {before:?}, then {told}");
    }
    Ok(tallies)
}

/// Records whose time goes on, out of order by less than five seconds.
struct Clicks {
    random: ChaCha8Rng,
    time_ms: i64,
    model: Tallies,
}

impl Clicks {
    fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), time_ms: BEGIN_MS, model: Tallies::new() }
    }

    fn some(&mut self, count_of: u32) -> Vec<Record> {
        let mut records = Vec::new();
        for _ in 0..count_of {
            self.time_ms += i64::from(self.random.next_u32() % 50);
            let back_ms = i64::from(self.random.next_u32() % 4_900);
            let key = format!("key-{}", self.random.next_u32() % 40);
            let record = Record::new(key, "x").at(self.time_ms - back_ms);
            count(&mut self.model, &record);
            records.push(record);
        }
        records
    }

    /// One record for each partition, so late that everything before is over.
    fn last(&self) -> impl Iterator<Item = Record> {
        let time_ms = self.time_ms + 10 * MINUTE_MS;
        (0..PARTITIONS).map(move |partition| Record::new("last", "x").at(time_ms).on(partition))
    }
}

/// Clicks, deaths at random times, and each minute is told of once all the same.
fn check_through_deaths(name: &str, pipeline: fn(&Kafka, (&str, &str), &str) -> Result<Workplace>) -> Result<()> {
    let (kafka, seed) = (Kafka::shared()?, seed(name)?);
    let (input, output) = (kafka.topic("clicks", PARTITIONS)?, kafka.topic("tallies", PARTITIONS)?);
    let workplace = pipeline(kafka, (&input, &output), "watermark: { disorder: 5s, idle: never }")?;
    let clicks = RefCell::new(Clicks::new(seed));
    let mut store = StoreIdentity::default();
    let mut lives = 0;
    let start = || {
        store.check(&workplace.path().join("state"))?;
        lives += 1;
        let mut clicks = clicks.borrow_mut();
        kafka.client()?.produce(&input, clicks.some(8_000))?;
        if lives > DEATHS {
            kafka.client()?.produce(&input, clicks.last())?;
        }
        workplace.start(&MillstreamOptions::default())
    };
    let life = (Duration::from_millis(30), Duration::from_millis(900));
    let kills = RandomKills { seed, deaths: DEATHS, life, finish: LONG };
    kills.run(start, || Ok(told(kafka, &output)?.len() >= clicks.borrow().model.len()))?;
    let taken = check_takeovers(&workplace)?;
    ensure!(taken > 6, "only {taken} runs lived long enough to take the pipeline over");
    workplace.command(&["verify", "pipeline.yaml"])?.expect_code(0)?;
    assert_eq!(told(kafka, &output)?, clicks.borrow().model);
    Ok(())
}

#[test]
fn each_minute_is_told_once_whatever_dies() -> Result<()> {
    check_through_deaths("tallies", tally)
}

#[test]
fn each_window_is_told_once_whatever_dies() -> Result<()> {
    check_through_deaths("windows", windows)
}

/// What lies in an open transaction is still to come, however long its partition is silent.
#[test]
fn a_partition_with_an_open_transaction_is_waited_for() -> Result<()> {
    let kafka = Kafka::shared()?;
    let (input, output) = (kafka.topic("held", 2)?, kafka.topic("held-tallies", 1)?);
    let client = kafka.client()?;
    let workplace = tally(kafka, (&input, &output), "watermark: { idle: 1s }")?;
    let mut model = Tallies::new();
    let mut records = |partition: i32, minutes: std::ops::Range<i64>| {
        let at = |minute| Record::new(format!("key-{partition}"), "x").at(BEGIN_MS + minute * MINUTE_MS).on(partition);
        let records: Vec<Record> = minutes.map(at).collect();
        records.iter().for_each(|record| count(&mut model, record));
        records
    };
    let (held, free) = (records(0, 0..3), records(1, 0..5));
    client.begin("held")?;
    client.produce_in("held", &input, held)?;
    client.produce(&input, free)?;
    let run = workplace.start(&MillstreamOptions::default())?;
    let everything = || {
        let status = workplace.command(&["status", "pipeline.yaml"])?;
        Ok((status.code == Some(0)).then_some(()))
    };
    eventually("the pipeline to run", LONG, everything)?;
    // Well beyond the time after which a partition that is read to its end counts as idle.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(told(kafka, &output)?, Tallies::new(), "the transaction was not waited for");
    client.commit("held")?;
    // Both are silent now, and the last minute that has come is not over.
    let last = BEGIN_MS + 4 * MINUTE_MS;
    model.retain(|(_, start_ms), _| *start_ms < last);
    eventually("all that is over", LONG, || Ok((told(kafka, &output)?.len() >= model.len()).then_some(())))?;
    assert_eq!(told(kafka, &output)?, model);
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_topic_that_ends_fires_what_is_left_and_the_run_is_over() -> Result<()> {
    let (kafka, seed) = (Kafka::shared()?, seed("bounded")?);
    let (input, output) = (kafka.topic("bounded", PARTITIONS)?, kafka.topic("bounded-tallies", 2)?);
    let mut clicks = Clicks::new(seed);
    kafka.client()?.produce(&input, clicks.some(20_000))?;
    let workplace = tally(kafka, (&input, &output), "stop: latest, watermark: { disorder: 5s }")?;
    let start = || workplace.start(&MillstreamOptions::default());
    start()?.wait(LONG)?.expect_code(0)?;
    assert_eq!(told(kafka, &output)?, clicks.model, "the last minute as well");
    // Whoever comes later finds it closed.
    let model = clicks.model.clone();
    kafka.client()?.produce(&input, clicks.some(100))?;
    start()?.wait(LONG)?.expect_code(0)?;
    assert_eq!(told(kafka, &output)?, model);
    Ok(())
}

/// A topic that is bounded by time: nothing at or behind it is read.
#[test]
fn a_topic_can_end_at_a_time() -> Result<()> {
    let (kafka, seed) = (Kafka::shared()?, seed("until")?);
    let (input, output) = (kafka.topic("until", 1)?, kafka.topic("until-tallies", 1)?);
    let mut records: Vec<Record> = Clicks::new(seed).some(2_000);
    records.sort_by_key(|record| record.timestamp_ms);
    let end_ms = records.get(1_000).unwrap().timestamp_ms;
    let mut model = Tallies::new();
    records.iter().filter(|record| record.timestamp_ms < end_ms).for_each(|record| count(&mut model, record));
    kafka.client()?.produce(&input, records)?;
    let source = format!("stop: \"timestamp:{end_ms}\"");
    let workplace = tally(kafka, (&input, &output), &source)?;
    workplace.start(&MillstreamOptions::default())?.wait(LONG)?.expect_code(0)?;
    assert_eq!(told(kafka, &output)?, model);
    Ok(())
}
