//! Deaths at random times where an end of the pipeline is no topic: every record counts once all the same, in the order of its key.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use millstream_e2e::{
    Counts, Kafka, MillstreamOptions, RandomKills, Record, StoreIdentity, Workplace, check_takeovers, plugin, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(120);
const KEYS: u32 = 300;

/// Records that come before each life: enough for some of the deaths to fall among them.
const MORE: u32 = 30_000;

type Model = BTreeMap<String, u64>;

fn kills(seed: u64) -> RandomKills {
    let life = (Duration::from_millis(30), Duration::from_millis(900));
    RandomKills { seed, deaths: 15, life, finish: LONG }
}

/// A keyed count between the two ends, as lines of a pipeline file.
fn count_between(id: &str, kafka: Option<&Kafka>, source: &str, sink: &str) -> Result<Workplace> {
    let kafka = kafka.map(|kafka| format!("kafka: {{ brokers: \"{}\" }}\n", kafka.bootstrap())).unwrap_or_default();
    Workplace::with_pipeline(&format!(
        "id: {id}\n{kafka}\
         sources:\n  in: {{ {source} }}\n\
         operators:\n  count: {{ module: {}, inputs: [in], key_by: key, null_key: drop }}\n\
         sinks:\n  out: {{ {sink}, inputs: [count] }}\n\
         commit: {{ interval: 100ms }}\nstate: {{ dir: ./state }}\n",
        plugin("count").canonicalize()?.display(),
    ))
}

const FILE_SOURCE: &str = "file: ./in.jsonl, format: json_lines, key: /k, follow: true";
const FILE_SINK: &str = "file: ./out.jsonl, format: json_lines";

/// A growing input, in a file or a topic, and the model of what has to come of it.
struct Input {
    model: Model,
    records: u64,
    random: ChaCha8Rng,
}

impl Input {
    fn new(seed: u64) -> Self {
        Self { model: Model::new(), records: 0, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    fn keys(&mut self) -> Vec<String> {
        let keys: Vec<String> = (0..MORE).map(|_| format!("key-{}", self.random.next_u32() % KEYS)).collect();
        for key in &keys {
            *self.model.entry(key.clone()).or_default() += 1;
        }
        self.records += u64::from(MORE);
        keys
    }

    fn append(&mut self, path: &Path) -> Result<()> {
        let mut text = String::new();
        for key in self.keys() {
            writeln!(text, "{{\"k\":\"{key}\",\"v\":1}}")?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(file.write_all(text.as_bytes())?)
    }

    fn produce(&mut self, kafka: &Kafka, topic: &str) -> Result<()> {
        let records = self.keys().into_iter().map(|key| Record::new(key, "x"));
        kafka.client()?.produce(topic, records).map(drop)
    }
}

/// The lines of a file so far; none if it is not there yet.
fn lines(path: &Path) -> Result<Vec<String>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(String::from_utf8(std::fs::read(path)?)?.lines().map(str::to_owned).collect())
}

/// The newest count of each key in a file: for each it has to be 1, 2, 3 … in this order.
fn counted(path: &Path) -> Result<Model> {
    let mut counts = Model::new();
    for line in lines(path)? {
        let record: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let text = |field: &str| record.get(field).and_then(Value::as_str).unwrap_or_default();
        let count = counts.entry(text("key").to_owned()).or_default();
        if text("value") != (*count + 1).to_string() {
            bail!("{} goes from {count} to {}", text("key"), text("value"));
        }
        *count += 1;
    }
    Ok(counts)
}

/// Kills the pipeline again and again. `more` gives it something to do before each life, `done` tells whether all has come.
fn survive(
    workplace: &Workplace,
    seed: u64,
    mut more: impl FnMut() -> Result<()>,
    done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let mut store = StoreIdentity::default();
    let start = || {
        store.check(&workplace.path().join("state"))?;
        more()?;
        workplace.start(&MillstreamOptions::default())
    };
    kills(seed).run(start, done)?;
    store.check(&workplace.path().join("state"))?;
    let taken = check_takeovers(workplace)?;
    ensure!(taken > 8, "only {taken} runs lived long enough to take the pipeline over");
    workplace.command(&["verify", "pipeline.yaml"])?.expect_code(0)?;
    Ok(())
}

fn output(workplace: &Workplace) -> PathBuf {
    workplace.path().join("out.jsonl")
}

#[test]
fn from_file_to_file() -> Result<()> {
    let seed = seed("file_to_file")?;
    let workplace = count_between("file-to-file", None, FILE_SOURCE, FILE_SINK)?;
    let input = RefCell::new(Input::new(seed));
    let more = || input.borrow_mut().append(&workplace.path().join("in.jsonl"));
    let done = || Ok(lines(&output(&workplace))?.len() as u64 >= input.borrow().records);
    survive(&workplace, seed, more, done)?;
    assert_eq!(counted(&output(&workplace))?, input.borrow().model);
    Ok(())
}

#[test]
fn from_file_to_topic() -> Result<()> {
    let (kafka, seed) = (Kafka::shared()?, seed("file_to_topic")?);
    let topic = kafka.topic("file-to-topic", 4)?;
    let workplace = count_between(&topic, Some(kafka), FILE_SOURCE, &format!("topic: {topic}"))?;
    let input = RefCell::new(Input::new(seed));
    let mut counts = Counts::new(kafka.client()?, &topic);
    let more = || input.borrow_mut().append(&workplace.path().join("in.jsonl"));
    survive(&workplace, seed, more, || Ok(counts.read_on()? >= input.borrow().records))?;
    counts.read_on()?;
    assert_eq!(counts.by_key(), &input.borrow().model);
    Ok(())
}

#[test]
fn from_topic_to_file() -> Result<()> {
    let (kafka, seed) = (Kafka::shared()?, seed("topic_to_file")?);
    let topic = kafka.topic("topic-to-file", 4)?;
    let source = format!("topic: {topic}, start: earliest");
    let workplace = count_between(&topic, Some(kafka), &source, FILE_SINK)?;
    let input = RefCell::new(Input::new(seed));
    let more = || input.borrow_mut().produce(kafka, &topic);
    let done = || Ok(lines(&output(&workplace))?.len() as u64 >= input.borrow().records);
    survive(&workplace, seed, more, done)?;
    assert_eq!(counted(&output(&workplace))?, input.borrow().model);
    Ok(())
}

/// Events of the auction house, keyed by auction; persons have no auction and are dropped.
#[test]
fn from_the_generator_to_topic() -> Result<()> {
    let (kafka, seed) = (Kafka::shared()?, seed("nexmark_to_topic")?);
    let topic = kafka.topic("nexmark-to-topic", 4)?;
    let events = format!("seed: {}, events: 150000, partitions: 3, key: auction", seed % 1_000);
    let model = nexmark_model(&events)?;
    let source = format!("nexmark: {{ {events}, rate: 30000 }}");
    let workplace = count_between(&topic, Some(kafka), &source, &format!("topic: {topic}"))?;
    let mut counts = Counts::new(kafka.client()?, &topic);
    let expected: u64 = model.values().sum();
    survive(&workplace, seed, || Ok(()), || Ok(counts.read_on()? >= expected))?;
    counts.read_on()?;
    ensure!(counts.by_key() == &model, "{} of {expected} came", counts.records());
    Ok(())
}

/// Key → events, from a run that nobody disturbs and that writes them to a file.
fn nexmark_model(events: &str) -> Result<Model> {
    let workplace = Workplace::with_pipeline(&format!(
        "id: events\nsources:\n  in: {{ nexmark: {{ {events} }} }}\n\
         sinks:\n  out: {{ file: ./out.jsonl, format: json_lines, inputs: [in] }}\n"
    ))?;
    workplace.start(&MillstreamOptions::default())?.wait(LONG)?.expect_code(0)?;
    let mut model = Model::new();
    for line in lines(&output(&workplace))? {
        let record: Value = serde_json::from_str(&line)?;
        if let Some(key) = record.get("key").unwrap().as_str() {
            *model.entry(key.to_owned()).or_default() += 1;
        }
    }
    Ok(model)
}
