//! A thousand records that break the operator, each in its own way, among many that do not.
//!
//! `MILLSTREAM_E2E_POISON_RECORDS` is the number of records, 1 000 000 by default.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use millstream_e2e::{
    Bug, Commits, Isolation, Kafka, MillstreamOptions, Record, Workplace, eventually, guest, plugin, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const LONG: Duration = Duration::from_secs(600);

/// What a record does to the operator, how many do it, and what its dead letter says.
const POISONS: [(&str, u32, &str); 7] = [
    ("trap", 300, "poisoned on purpose"),
    ("reject", 400, "rejected on purpose"),
    ("oversize", 200, "limits.value"),
    ("hoard", 30, "limits.state_value"),
    ("bomb", 40, "limits.memory"),
    ("loop", 20, "limits.batch_time"),
    // The SDK keeps what is emitted in the memory of the guest, which may be over first.
    ("flood", 10, "limits."),
];

struct Job {
    workplace: Workplace,
    input: String,
    output: String,
    neighbour: String,
    dead: String,
}

fn job(kafka: &Kafka) -> Result<Job> {
    let (input, output) = (kafka.topic("poison-in", 4)?, kafka.topic("poison-out", 4)?);
    let (neighbour, dead) = (kafka.topic("poison-neighbour", 4)?, kafka.topic("poison-dead", 1)?);
    let yaml = format!(
        "id: {input}\n\
         kafka: {{ brokers: \"{}\" }}\n\
         sources:\n  in: {{ topic: {input}, start: earliest }}\n\
         operators:\n  \
           poison: {{ module: {}, inputs: [in], key_by: key, limits: {{ batch_time: 250ms, memory: 32MiB }} }}\n  \
           count: {{ module: {}, inputs: [in], key_by: key }}\n\
         sinks:\n  \
           out: {{ topic: {output}, inputs: [poison] }}\n  \
           counts: {{ topic: {neighbour}, inputs: [count] }}\n\
         dead_letters: {{ topic: {dead} }}\n\
         commit: {{ interval: 200ms }}\n",
        kafka.bootstrap(),
        guest("poison").canonicalize()?.display(),
        plugin("count").canonicalize()?.display(),
    );
    Ok(Job { workplace: Workplace::with_pipeline(&yaml)?, input, output, neighbour, dead })
}

/// The input: good records whose value is a number, and the poison among them at random places.
fn input(random: &mut ChaCha8Rng, count: u32) -> Vec<Record> {
    let mut records: Vec<Record> =
        (0..count).map(|n| Record::new(format!("key-{}", random.next_u32() % 2_000), format!("{n}"))).collect();
    for (value, times, _) in POISONS {
        for _ in 0..times {
            // Where there is none yet.
            loop {
                let at = usize::try_from(random.next_u32() % count).unwrap();
                if records[at].value_text().parse::<u32>().is_ok() {
                    records[at].value = Some(value.as_bytes().to_vec());
                    break;
                }
            }
        }
    }
    records
}

fn header(record: &Record, name: &str) -> String {
    let value = record.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone());
    String::from_utf8(value.unwrap_or_default()).unwrap()
}

#[test]
fn exactly_the_poison_is_in_the_dead_letters_and_everything_else_as_the_model() -> Result<()> {
    let count = match std::env::var("MILLSTREAM_E2E_POISON_RECORDS") {
        Ok(text) => text.parse().with_context(|| format!("MILLSTREAM_E2E_POISON_RECORDS is {text:?}, not a number"))?,
        Err(_) => 1_000_000,
    };
    let kafka = Kafka::shared()?;
    let mut random = ChaCha8Rng::seed_from_u64(seed("poison")?);
    let job = job(kafka)?;
    let client = kafka.client()?;
    client.produce(&job.input, input(&mut random, count))?;
    let written = client.consume_all(&job.input, Isolation::Committed)?;
    let run = job.workplace.start(&MillstreamOptions::default())?;
    let stable = |topic: &str| -> Result<i64> { Ok(client.offsets(topic, Isolation::Committed)?.last.values().sum()) };
    eventually("the counts of the neighbour", LONG, || {
        if let Some(exit) = run.exited()? {
            bail!("millstream ended: {:?}, {:?}\n{}", exit.code, exit.signal, run.log_end());
        }
        let dead = client.consume_all(&job.dead, Isolation::Committed)?.len();
        std::thread::sleep(Duration::from_millis(200));
        Ok((stable(&job.neighbour)? >= i64::from(count) && dead >= 1_000).then_some(()))
    })?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    check_commits(&written, &Commits::read(client, &job.input, Isolation::Uncommitted)?);
    check_dead(&written, &client.consume_all(&job.dead, Isolation::Committed)?);
    check_rest(&written, &client.consume_all(&job.output, Isolation::Committed)?);
    check_neighbour(&written, &client.consume_all(&job.neighbour, Isolation::Committed)?);
    Ok(())
}

/// Between the first poison and the last, commits keep coming, none waits for all of it, and each of them has records of the neighbour.
fn check_commits(written: &[Record], commits: &Commits) {
    let poison = written.iter().filter(|record| record.value_text().parse::<u32>().is_err());
    let mut held: BTreeMap<usize, u32> = BTreeMap::new();
    for record in poison {
        let at = commits.holding("in", record.partition, record.offset).unwrap();
        *held.entry(at).or_default() += 1;
    }
    let (first, last) = (*held.first_key_value().unwrap().0, *held.last_key_value().unwrap().0);
    let neighbours = commits.written("counts");
    let idle = (first..=last).filter(|at| neighbours[*at] == 0).count();
    let most = held.values().max().unwrap();
    eprintln!(
        "{} commits hold poison, at most {most}; {} from the first to the last of them",
        held.len(),
        last - first + 1
    );
    assert_eq!(idle, 0, "commits without a record of the neighbour");
    assert!(held.len() >= 20, "poison in {} commits", held.len());
    assert!(*most <= 250, "a commit waited for {most} of 1 000 poison records");
    assert_eq!(commits.begun, commits.commits.len(), "epochs were lost");
    assert_eq!(neighbours.iter().sum::<u64>(), written.len() as u64);
}

fn check_dead(written: &[Record], dead: &[Record]) {
    let place = |record: &Record| (record.partition, record.offset);
    let poison: BTreeMap<_, _> = written
        .iter()
        .filter(|record| record.value_text().parse::<u32>().is_err())
        .map(|record| (place(record), record))
        .collect();
    let good: Vec<String> = (dead.iter())
        .filter(|letter| letter.value_text().parse::<u32>().is_ok())
        .map(|letter| header(letter, "millstream-reason"))
        .collect();
    assert!(good.is_empty(), "{} good records are among the dead letters: {good:#?}", good.len());
    assert_eq!(dead.len(), 1_000, "dead letters");
    let mut seen = BTreeSet::new();
    for letter in dead {
        let from = (
            header(letter, "millstream-partition").parse().unwrap(),
            header(letter, "millstream-offset").parse().unwrap(),
        );
        let original = poison.get(&from).unwrap_or_else(|| panic!("{from:?} is no poison: {letter:?}"));
        assert!(seen.insert(from), "two letters for {from:?}");
        assert_eq!((&letter.key, &letter.value), (&original.key, &original.value));
        assert_eq!(header(letter, "millstream-source"), "in");
        assert_eq!(header(letter, "millstream-operator"), "poison");
        assert_eq!(header(letter, "millstream-digest").trim_start_matches("sha256:").len(), 64);
        let (_, _, why) = POISONS.iter().find(|(value, _, _)| *value == original.value_text()).unwrap();
        let reason = header(letter, "millstream-reason");
        assert!(reason.contains(why), "{:?}: {reason:?} does not say {why:?}", original.value_text());
    }
}

/// Good records pass unchanged, in the order of their keys.
fn check_rest(written: &[Record], out: &[Record]) {
    let by_key = |records: &[Record]| {
        let mut by_key: BTreeMap<String, Vec<(i32, i64, u32)>> = BTreeMap::new();
        for record in records {
            if let Ok(number) = record.value_text().parse() {
                by_key.entry(record.key_text()).or_default().push((record.partition, record.offset, number));
            }
        }
        for list in by_key.values_mut() {
            list.sort_unstable();
        }
        let numbers =
            by_key.into_iter().map(|(key, list)| (key, list.into_iter().map(|(_, _, number)| number).collect()));
        numbers.collect::<BTreeMap<String, Vec<u32>>>()
    };
    assert!(out.iter().all(|record| record.value_text().parse::<u32>().is_ok()), "poison in the output");
    assert_eq!(by_key(out), by_key(written));
}

fn check_neighbour(written: &[Record], counts: &[Record]) {
    let mut model: BTreeMap<String, u64> = BTreeMap::new();
    for record in written {
        *model.entry(record.key_text()).or_default() += 1;
    }
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for record in counts {
        let count = newest.entry(record.key_text()).or_default();
        *count = (*count).max(record.value_text().parse().unwrap());
    }
    assert_eq!(counts.len(), written.len());
    assert_eq!(newest, model);
}

/// How long a transaction may stay open.
const TRANSACTION_MS: i64 = 3_000;

/// What a batch may have in it besides good records: forty poison ones, of which thirty cost more time than a transaction may take.
const ENDLESS: [(&str, usize); 3] = [("loop", 30), ("bomb", 5), ("hoard", 3)];

/// A batch that cannot be processed within a transaction.
fn endless(bug: Option<Bug>) -> Result<()> {
    let kafka = Kafka::shared()?;
    let client = kafka.client()?;
    let (input, output) = (kafka.topic("endless-in", 1)?, kafka.topic("endless-out", 1)?);
    let dead = kafka.topic("endless-dead", 1)?;
    // What is too large for the output is too large for the dead letters.
    for topic in [&output, &dead] {
        client.alter_topic(topic, &[("max.message.bytes", "100000")])?;
    }
    let workplace = Workplace::with_pipeline(&format!(
        "id: {input}\n\
         kafka: {{ brokers: \"{}\" }}\n\
         sources:\n  in: {{ topic: {input}, start: earliest }}\n\
         operators:\n  poison: {{ module: {}, inputs: [in], key_by: key, limits: {{ memory: 32MiB }} }}\n\
         sinks:\n  out: {{ topic: {output}, inputs: [poison] }}\n\
         dead_letters: {{ topic: {dead} }}\n\
         commit: {{ interval: 500ms, transaction_timeout: {TRANSACTION_MS}ms }}\n",
        kafka.bootstrap(),
        guest("poison").canonicalize()?.display(),
    ))?;
    let mut values: Vec<Vec<u8>> = (0..4_056).map(|n| n.to_string().into_bytes()).collect();
    for (poison, times) in ENDLESS {
        (0..times).for_each(|n| values.insert(n * 120 + poison.len(), poison.into()));
    }
    for at in [500, 3_000] {
        values.insert(at, vec![b'x'; 100_000]);
    }
    assert_eq!(values.len(), 4_096);
    client
        .produce(&input, values.into_iter().enumerate().map(|(n, value)| Record::new(format!("{}", n % 50), value)))?;
    let run = workplace.start(&MillstreamOptions { bug, ..MillstreamOptions::default() })?;
    let letters = client.consume_at_least(&dead, Isolation::Committed, 40, LONG)?;
    let passed = client.consume_at_least(&output, Isolation::Committed, 4_056, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    assert_eq!((letters.len(), passed.len()), (40, 4_056));
    for (poison, times) in ENDLESS {
        let own = letters.iter().filter(|letter| letter.value_text() == poison);
        assert_eq!(own.count(), times, "{poison}");
    }
    let dropped: Vec<_> =
        letters.iter().filter(|letter| header(letter, "millstream-value-dropped") == "100000").collect();
    assert_eq!(dropped.len(), 2);
    assert!(dropped.iter().all(|letter| letter.value.is_none()));
    // An epoch that is lost leaves its `begin` without a `commit`.
    let commits = Commits::read(client, &input, Isolation::Uncommitted)?;
    ensure!(commits.begun == commits.commits.len(), "an epoch was lost");
    // By the records' own timestamps: cuts do not wait for the batch. Beyond this the broker would have ended a transaction that was open.
    let gap_ms = commits.longest_gap_ms();
    eprintln!("{} commits, {gap_ms} ms apart at most", commits.commits.len());
    ensure!(commits.commits.len() > 2 && gap_ms <= TRANSACTION_MS, "no commit for {gap_ms} ms");
    Ok(())
}

#[test]
fn an_epoch_full_of_poison_is_cut_before_its_transaction_times_out() -> Result<()> {
    endless(None)
}

#[test]
fn whoever_cuts_only_between_batches_is_caught() -> Result<()> {
    let why = format!("{:#}", endless(Some(Bug::WholeBatches)).unwrap_err());
    assert!(why.contains("no commit for") || why.contains("an epoch was lost"), "{why}");
    Ok(())
}
