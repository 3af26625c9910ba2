//! State of every kind through deaths and a lost directory, and what `millstream state` shows of it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::{
    Isolation, Kafka, Millstream, MillstreamOptions, RandomKills, Record, Workplace, eventually, guest, plugin, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(180);
const KEYS: u64 = 20;
const WORDS: u64 = 12;

/// Topics, pipeline, and what has to come out.
struct Job {
    kafka: &'static Kafka,
    workplace: Workplace,
    topics: BTreeMap<&'static str, String>,
    random: ChaCha8Rng,
    expected: Expected,
}

/// Records by sink and key, and counts by key and word.
#[derive(Default)]
struct Expected {
    sinks: BTreeMap<&'static str, BTreeMap<String, Vec<String>>>,
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    lists: BTreeMap<String, Vec<String>>,
}

impl Job {
    fn new(seed: u64) -> Result<Self> {
        let kafka = Kafka::shared()?;
        let mut topics = BTreeMap::new();
        for (name, partitions) in
            [("words", 4), ("rules", 2), ("deeds", 3), ("first", 2), ("top", 2), ("passed", 2), ("seen", 2)]
        {
            topics.insert(name, kafka.topic(&format!("state-{name}"), partitions)?);
        }
        let topic = |name: &str| topics.get(name).cloned().unwrap_or_default();
        let module = |path: std::path::PathBuf| {
            let found =
                path.canonicalize().with_context(|| format!("{} is missing: make plugins guests", path.display()));
            found.map(|path| path.display().to_string())
        };
        let (deduplicate, top, kinds) =
            (module(plugin("deduplicate"))?, module(plugin("top-n"))?, module(guest("kinds"))?);
        let sources = ["words", "rules", "deeds"].map(|name| format!("  {name}: {{ topic: {} }}\n", topic(name)));
        let sinks = [("first", "once"), ("top", "top"), ("passed", "rules"), ("seen", "doer")];
        let sinks = sinks.map(|(name, of)| format!("  {name}: {{ topic: {}, inputs: [{of}] }}\n", topic(name)));
        let yaml = format!(
            "id: {id}\n\
             kafka: {{ brokers: \"{brokers}\" }}\n\
             sources:\n{sources}\
             operators:\n\
             \x20 once: {{ module: {deduplicate}, inputs: [words], key_by: key, config: {{ ttl_ms: 86400000, clock: processing }} }}\n\
             \x20 top: {{ module: {top}, inputs: [words], key_by: key, config: {{ n: 3 }} }}\n\
             \x20 rules: {{ module: {kinds}, operator: rules, inputs: [words, rules] }}\n\
             \x20 doer: {{ module: {kinds}, operator: doer, inputs: [deeds], key_by: key }}\n\
             sinks:\n{sinks}\
             workers: 3\n\
             commit: {{ interval: 100ms }}\n\
             state: {{ dir: ./state }}\n",
            id = topic("words"),
            brokers = kafka.bootstrap(),
            sources = sources.concat(),
            sinks = sinks.concat(),
        );
        let workplace = Workplace::with_pipeline(&yaml)?;
        Ok(Self { kafka, workplace, topics, random: ChaCha8Rng::seed_from_u64(seed), expected: Expected::default() })
    }

    fn produce(&self, topic: &str, records: Vec<Record>) -> Result<()> {
        self.kafka.client()?.produce(&self.topics[topic], records).map(drop)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    /// Words, each of which passes the first time, counts, and passes the rules.
    fn feed_words(&mut self, count: usize) -> Result<()> {
        let mut words = Vec::new();
        for _ in 0..count {
            let (key, word) = (format!("key-{}", self.below(KEYS)), format!("word-{}", self.below(WORDS)));
            words.push(Record::new(key.clone(), word.clone()));
            let counts = self.expected.counts.entry(key.clone()).or_default();
            let before = top(counts);
            let count = counts.entry(word.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.expected.sinks.entry("first").or_default().entry(key.clone()).or_default().push(word.clone());
            }
            let after = top(counts);
            if before != after {
                self.expected.sinks.entry("top").or_default().entry(key.clone()).or_default().push(after);
            }
            if word == "word-1" || word == "word-2" {
                let passed = self.expected.sinks.entry("passed").or_default();
                passed.entry(key).or_default().push(format!("rule of {word}"));
            }
        }
        self.produce("words", words)
    }

    /// Records that append to a list, read it, and now and then empty it.
    fn feed_deeds(&mut self, count: usize) -> Result<()> {
        let mut records = Vec::new();
        for n in 0..count {
            let key = format!("key-{}", self.below(KEYS));
            let list = self.expected.lists.entry(key.clone()).or_default();
            let mut deeds = vec![json!({ "Append": format!("e{n}") })];
            list.push(format!("e{n}"));
            if self.random.next_u64().is_multiple_of(4) {
                deeds.push(json!("Elements"));
                self.expected.sinks.entry("seen").or_default().entry(key.clone()).or_default().push(list.join(","));
            }
            if self.random.next_u64().is_multiple_of(16) {
                deeds.push(json!("ClearList"));
                list.clear();
            }
            records.push(Record::new(key, json!({ "deeds": deeds, "refuse": false }).to_string()));
        }
        self.produce("deeds", records)
    }

    /// What has come, by key.
    fn arrived(&self, sink: &str) -> Result<BTreeMap<String, Vec<String>>> {
        let mut records = self.kafka.client()?.consume_all(&self.topics[sink], Isolation::Committed)?;
        records.sort_by_key(|record| (record.partition, record.offset));
        let mut arrived: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in records.iter().filter(|record| record.key_text() != "probe") {
            let value = record.value_text();
            // A rule is followed by the revision, which every instance counts for itself.
            let value = if sink == "passed" { value.rsplit_once(' ').unwrap().0.to_owned() } else { value };
            arrived.entry(record.key_text()).or_default().push(value);
        }
        Ok(arrived)
    }

    /// Whether as many records have come as have to.
    fn is_done(&self) -> Result<bool> {
        for (sink, expected) in &self.expected.sinks {
            let count = |by_key: &BTreeMap<String, Vec<String>>| by_key.values().map(Vec::len).sum::<usize>();
            if count(&self.arrived(sink)?) < count(expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check(&self) -> Result<()> {
        for (sink, expected) in &self.expected.sinks {
            assert_eq!(&self.arrived(sink)?, expected, "{sink}");
        }
        Ok(())
    }

    /// Writes rules, and waits until every worker knows them: records of all partitions pass.
    fn rule(&self, run: &Millstream) -> Result<()> {
        let rules = (0..WORDS).filter(|word| [1, 2].contains(word));
        let rules = rules.map(|word| Record::new(format!("word-{word}"), format!("rule of word-{word}")));
        self.produce("rules", rules.collect())?;
        eventually("records that pass the rules", LONG, || {
            ensure!(run.exited()?.is_none(), "{}", run.log_end());
            let probes =
                (0..4).flat_map(|partition| ["word-1", "word-2"].map(|word| Record::new("probe", word).on(partition)));
            self.produce("words", probes.collect())?;
            let passed = self.kafka.client()?.consume_all(&self.topics["passed"], Isolation::Committed)?;
            let of = |word: &str| passed.iter().filter(|record| record.value_text().contains(word)).count();
            Ok((of("word-1") >= 4 && of("word-2") >= 4).then_some(()))
        })
    }

    fn ask(&self, line: &str) -> Result<Vec<Value>> {
        let exit = self.workplace.command(&line.split(' ').collect::<Vec<_>>())?.expect_code(0)?;
        if line.contains("export") {
            return exit.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect();
        }
        let rows: Value = serde_json::from_str(&exit.stdout)?;
        Ok(rows.as_array().context("no list of rows")?.clone())
    }

    /// Holds rows of `millstream state` against what has to be kept.
    fn check_rows(&self, rows: &[Value]) {
        let of = |operator: &'static str, state: &'static str| {
            let of = move |row: &&Value| row["operator"] == operator && row["state"] == state && row["key"] != "probe";
            rows.iter().filter(of)
        };
        let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for row in of("top", "counts") {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            counts.entry(text("key")).or_default().insert(text("map_key"), row["value"].as_u64().unwrap());
        }
        assert_eq!(counts, self.expected.counts);
        let ids = of("once", "seen").filter(|row| row["refreshed_ms"].as_i64().is_some_and(|time| time > 0)).count();
        assert_eq!(ids, counts.values().map(BTreeMap::len).sum::<usize>());
        let rules: Vec<&Value> = of("rules", "rules").map(|row| &row["map_key"]).collect();
        assert_eq!(rules, ["word-1", "word-2"]);
        let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in of("doer", "list") {
            lists
                .entry(row["key"].as_str().unwrap().to_owned())
                .or_default()
                .push(row["value"].as_str().unwrap().into());
        }
        let expected = self.expected.lists.iter().filter(|(_, list)| !list.is_empty());
        assert_eq!(lists, expected.map(|(key, list)| (key.clone(), list.clone())).collect());
    }
}

/// What `top-n` says of counts.
fn top(counts: &BTreeMap<String, u64>) -> String {
    let mut ranks: Vec<(u64, &String)> = counts.iter().map(|(word, count)| (*count, word)).collect();
    ranks.sort_unstable_by(|a, b| b.cmp(a));
    let top: Vec<Value> = ranks.iter().take(3).map(|(count, word)| json!([word, count])).collect();
    json!(top).to_string()
}

#[test]
fn state_of_every_kind_outlives_deaths_and_a_lost_directory() -> Result<()> {
    let seed = seed("state")?;
    let mut job = Job::new(seed)?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    job.rule(&run)?;
    run.kill()?;

    for _ in 0..3 {
        job.feed_words(2_000)?;
        job.feed_deeds(300)?;
        let kills = RandomKills { seed, deaths: 3, life: (Duration::ZERO, Duration::from_secs(2)), finish: LONG };
        kills.run(|| job.workplace.start(&MillstreamOptions::default()), || job.is_done())?;
        job.check()?;
        // The next life has the changelog alone.
        std::fs::remove_dir_all(job.workplace.path().join("state"))?;
    }

    job.feed_words(500)?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    eventually("all records", LONG, || {
        ensure!(run.exited()?.is_none(), "{}", run.log_end());
        Ok(job.is_done()?.then_some(()))
    })?;
    let taken = job.workplace.command(&["savepoint", "pipeline.yaml", "-o", "json"])?.expect_code(0)?;
    let taken: Value = serde_json::from_str(&taken.stdout)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.check()?;
    job.workplace.command(&["verify", "pipeline.yaml"])?.expect_code(0)?;

    job.check_rows(&job.ask("state export pipeline.yaml")?);
    job.check_rows(&job.ask("state scan pipeline.yaml --limit 100000 -o json")?);
    let checkpoint = taken["path"].as_str().context("the savepoint has no path")?;
    job.check_rows(&job.ask(&format!("state export pipeline.yaml --checkpoint {checkpoint}"))?);
    let (key, counts) = job.expected.counts.iter().next().unwrap();
    let (word, count) = counts.iter().next().unwrap();
    let get = format!("state get pipeline.yaml --operator top --state counts --key {key} --map-key {word} -o json");
    assert_eq!(job.ask(&get)?[0]["value"], json!(count));
    Ok(())
}
