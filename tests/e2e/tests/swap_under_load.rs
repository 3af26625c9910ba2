//! Swaps while records keep coming, on a real Kafka: each record counts for exactly one version, whatever is killed; nothing of a bad version is ever seen, by
//! a `read_uncommitted` reader neither; and memory does not grow.
//!
//! How many swaps there are, and how many records a second, is said by `MILLSTREAM_SWAPS`, `MILLSTREAM_BAD_SWAPS`, `MILLSTREAM_SWAPS_MEMORY` and `MILLSTREAM_SWAP_RATE`; issue-sized runs
//! take 300, 100, 1000 and 50000. Times are printed and asserted nowhere.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::{Commits, Isolation, Kafka, Load, OpenRun, Record, Visits, eventually, guest, seed, variant};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(180);

/// Each test loads the machine as much as it can: one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn size(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn rate() -> u64 {
    size("MILLSTREAM_SWAP_RATE", 4_000)
}

fn module(name: &str) -> Vec<u8> {
    std::fs::read(guest(name)).unwrap_or_else(|error| unreachable!("{name}: {error}: make guests"))
}

/// The distribution of some times in microseconds.
fn report(what: &str, mut micros: Vec<u64>) {
    micros.sort_unstable();
    let at = |share: usize| micros.get((micros.len().max(1) - 1) * share / 1_000).copied().unwrap_or_default();
    eprintln!("{what}: {} times, p50 {} us, p99 {} us, longest {} us", micros.len(), at(500), at(990), at(1_000));
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// Generations that commits name, in order: they rise by one, and each has one module.
fn check_generations(commits: &Commits) -> Result<BTreeMap<u64, String>> {
    let mut modules = BTreeMap::new();
    let mut last = 0;
    for (_, commit) in &commits.commits {
        let operator = commit.operators.iter().find(|operator| operator.id == "count").context("no operator")?;
        let (generation, digest) = (operator.generation.0, operator.digest.to_string());
        ensure!(generation == last || generation == last + 1, "generation {last} is followed by {generation}");
        last = generation;
        let before = modules.insert(generation, digest.clone());
        ensure!(before.is_none_or(|before| before == digest), "generation {generation} has two modules");
    }
    Ok(modules)
}

/// Outputs by version, as the commits tell it by the module that each names.
fn by_module(commits: &Commits) -> BTreeMap<String, u64> {
    let mut written = BTreeMap::new();
    for ((_, commit), records) in commits.commits.iter().zip(commits.written("out")) {
        for operator in &commit.operators {
            *written.entry(operator.digest.to_string()).or_default() += records;
        }
    }
    written
}

#[test]
fn versions_change_under_load_and_kills_and_each_record_counts_for_one() -> Result<()> {
    let _turn = TURN.lock().unwrap();
    let swaps = size("MILLSTREAM_SWAPS", 40);
    let seed = seed("versions_change")?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut visits = Visits::new(Kafka::shared()?, "versions", "{ reads: [2] }")?;
    let bootstrap = Kafka::shared()?.bootstrap().to_owned();
    let load = Load::start(&bootstrap, &visits.job.input, seed, (rate(), 2_000))?;
    // The first two have the same state; the third one writes another version of it, and each of the last two reads what the other wrote.
    let (one, bad, reader) = (module("visits-1"), module("visits-bad"), module("visits-reader"));
    let (mut at_switch, mut for_verdict, mut kills, mut done) = (Vec::new(), Vec::new(), 0, 0);
    let mut run = visits.start()?;
    let first = digest(&run)?;
    while done < swaps {
        let next = if digest(&run)? != first {
            &one
        } else if done < swaps / 2 {
            &bad
        } else {
            &reader
        };
        let before = run.generation()?;
        if random.next_u32() % 8 == 0 {
            // Dies at some time of a swap, and comes back with the version before or the new one.
            let after = Duration::from_millis(u64::from(random.next_u32() % 600));
            std::thread::scope(|scope| {
                scope.spawn(|| run.swap(next, "?trial_records=500").is_ok());
                std::thread::sleep(after);
                run.run.kill()
            })?;
            kills += 1;
            run = visits.start()?;
            let now = run.generation()?;
            ensure!(now == before || now == before + 1, "from generation {before} to {now} by a kill");
            done += now - before;
        } else {
            let answer = run.swapped(next, "?trial_records=500")?;
            ensure!(number(&answer, "/generation") == before + 1, "from generation {before} to {answer}");
            at_switch.push(number(&answer, "/pause/at_switch_us"));
            for_verdict.push(number(&answer, "/pause/for_verdict_us"));
            done += 1;
        }
        visits.read_on()?;
    }
    let sent = load.stop()?;
    visits.settle(&sent, &run)?;
    let generation = run.generation()?;
    visits.stop(&run)?;
    let commits = Commits::read(visits.job.client()?, &visits.job.id, Isolation::Committed)?;
    let modules = check_generations(&commits)?;
    ensure!(modules.last_key_value().map(|(last, _)| *last) == Some(generation), "{modules:?}");
    // Every output was made by the module that its commit names.
    let mut said: Vec<u64> = by_module(&commits).into_values().filter(|records| *records > 0).collect();
    let mut read: Vec<u64> = visits.seen.by_version.values().copied().collect();
    said.sort_unstable();
    read.sort_unstable();
    ensure!(said == read, "by commit {said:?}, as read {:?}", visits.seen.by_version);
    eprintln!("{done} swaps, {kills} kills, {} records: {:?}", visits.seen.records, visits.seen.by_version);
    report("pause at the switch", at_switch);
    report("pause for the verdict", for_verdict);
    Ok(())
}

fn digest(run: &OpenRun) -> Result<String> {
    let operator = run.operator()?;
    Ok(operator.get("digest").and_then(Value::as_str).context("no digest")?.to_owned())
}

#[test]
fn nothing_of_a_bad_version_is_ever_seen() -> Result<()> {
    let _turn = TURN.lock().unwrap();
    let swaps = size("MILLSTREAM_BAD_SWAPS", 16);
    let seed = seed("bad_versions")?;
    let mut visits = Visits::new(Kafka::shared()?, "bad", "{}")?;
    let load = Load::start(Kafka::shared()?.bootstrap(), &visits.job.input, seed, (rate(), 2_000))?;
    let run = visits.start()?;
    eventually("records", LONG, || Ok((visits.read_on()? > 5_000).then_some(())))?;
    let bad = module("visits-bad");
    let mut reasons = BTreeSet::new();
    for (swap, kind) in (1..=swaps).zip(["trap", "loop", "bomb", "thrice"].into_iter().cycle()) {
        load.send(kind, if kind == "thrice" { 1 } else { 300 });
        let answer = run.swap(&variant(&bad, u32::try_from(swap)?, 0), "?trial_records=800&output_ratio=0.5..1.5")?;
        ensure!(
            (answer.status, answer.problem()) == (422, "trial-failed"),
            "{kind}: {} {}",
            answer.status,
            answer.body
        );
        let reason = answer.body.pointer("/failure/reason").or_else(|| answer.body.get("detail"));
        reasons.insert(format!("{kind}: {:.120}", reason.and_then(Value::as_str).unwrap_or_default()));
        ensure!(run.generation()? == 1, "generation {}", run.generation()?);
    }
    load.send("x", 1);
    let before = visits.read_on()?;
    eventually("more records", LONG, || Ok((visits.read_on()? > before).then_some(())))?;
    let sent = load.stop()?;
    visits.settle(&sent, &run)?;
    visits.stop(&run)?;
    let all = visits.job.client()?.consume_all(&visits.job.output, Isolation::Uncommitted)?;
    let seen = all.iter().filter(|record| !record.value_text().starts_with("1:")).count();
    eprintln!("{swaps} bad versions, {} records, {seen} of them of a bad version; {reasons:#?}", all.len());
    ensure!(seen == 0, "{seen} records of a bad version were seen");
    ensure!(all.len() as u64 == visits.seen.records, "an epoch was lost: nobody was killed");
    Ok(())
}

#[test]
fn a_shadow_finds_the_one_record_that_differs_and_nobody_else_notices_it() -> Result<()> {
    let _turn = TURN.lock().unwrap();
    let seed = seed("shadow")?;
    let mut visits = Visits::new(Kafka::shared()?, "shadow", "{}")?;
    let load = Load::start(Kafka::shared()?.bootstrap(), &visits.job.input, seed, (rate(), 2_000))?;
    let run = visits.start()?;
    eventually("records", LONG, || Ok((visits.read_on()? > 5_000).then_some(())))?;
    let module = module("visits-other");
    let shadow = |line: &str| -> Result<Value> {
        let request = run.door.request(line).with("application/wasm", module.clone());
        let answer = run.door.send(&request)?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        Ok(answer.body)
    };
    shadow("POST /api/v1/operators/count/shadow")?;
    let shown = || run.operator()?.get("shadow").cloned().context("no shadow");
    let follows = |records: u64| {
        eventually("the shadow to follow", LONG, || Ok((number(&shown()?, "/records") > records).then_some(())))
    };
    follows(5_000)?;
    ensure!(shown()?.get("is_equal") == Some(&Value::Bool(true)), "{}", shown()?);
    // One record that it counts twice, of a key of its own; where it is is known only to the broker.
    let client = visits.job.client()?;
    let odd = [Record::new("odd", "x"), Record::new("odd", "differ"), Record::new("odd", "x")];
    client.produce(&visits.job.input, odd)?;
    eventually("the difference", LONG, || Ok((number(&shown()?, "/changed") == 2).then_some(())))?;
    let found = shown()?;
    let all = client.consume_all(&visits.job.input, Isolation::Committed)?;
    let planted = all.iter().find(|record| record.value_text() == "differ").context("it was not written")?;
    ensure!(number(&found, "/first/offset") == planted.offset as u64, "{found}, not {planted:?}");
    ensure!(number(&found, "/first/partition") == planted.partition as u64, "{found}, not {planted:?}");
    let values = ["old", "new"].map(|which| found.pointer(&format!("/first/{which}/value")).cloned());
    ensure!(values == [Some("1:2".into()), Some("1:3".into())], "{found}");
    follows(number(&found, "/records") + 5_000)?;
    let last = shown()?;
    eprintln!(
        "shadow: {} records, {} equal, {} changed; time x{}, cost x{} of the operator's own calls, state x{}",
        number(&last, "/records"),
        number(&last, "/equal"),
        number(&last, "/changed"),
        last.get("time_ratio").unwrap_or_default(),
        last.get("cost_ratio").unwrap_or_default(),
        last.get("memory_ratio").unwrap_or_default()
    );
    let discarded = run.door.ask("DELETE /api/v1/operators/count/shadow")?;
    ensure!(discarded.status == 200, "{} {}", discarded.status, discarded.body);
    // The output is that of the version that counts: counts without a gap, whatever ran beside it.
    let mut sent = load.stop()?;
    sent.insert("odd".to_owned(), 3);
    visits.settle(&sent, &run)?;
    ensure!(run.generation()? == 1, "generation {}", run.generation()?);
    // Once more, and promoted: what counts goes on, not the shadow's state.
    let load = Load::start(Kafka::shared()?.bootstrap(), &visits.job.input, seed, (rate(), 2_000))?;
    shadow("POST /api/v1/operators/count/shadow")?;
    let promoted = run.door.ask("POST /api/v1/operators/count/shadow/promote?trial_records=500")?;
    ensure!((promoted.status, number(&promoted.body, "/generation")) == (200, 2), "{}", promoted.body);
    for (key, records) in load.stop()? {
        *sent.entry(key).or_default() += records;
    }
    visits.settle(&sent, &run)?;
    visits.stop(&run)
}

#[test]
fn memory_does_not_grow_with_swaps() -> Result<()> {
    let _turn = TURN.lock().unwrap();
    let swaps = size("MILLSTREAM_SWAPS_MEMORY", 120);
    let seed = seed("memory")?;
    let mut visits = Visits::new(Kafka::shared()?, "memory", "{ reads: [2] }")?;
    let load = Load::start(Kafka::shared()?.bootstrap(), &visits.job.input, seed, (rate(), 2_000))?;
    let run = visits.start()?;
    let modules = [module("visits-reader"), module("visits-1")];
    let mut rss = Vec::new();
    let begun = Instant::now();
    for (swap, module) in (1..=swaps).zip(modules.iter().cycle()) {
        // Each has a digest of its own, so that each is compiled.
        run.swapped(&variant(module, u32::try_from(swap)?, 0), "?trial_records=200")?;
        rss.push(rss_bytes(run.run.id())?);
        if swap % 20 == 0 {
            visits.read_on()?;
        }
    }
    let took = begun.elapsed();
    let sent = load.stop()?;
    visits.settle(&sent, &run)?;
    visits.stop(&run)?;
    let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len().max(1) as f64 / f64::from(1 << 20);
    let tenth = (rss.len() / 10).max(1);
    let (early, late) = (mean(&rss[rss.len() / 2..rss.len() / 2 + tenth]), mean(&rss[rss.len() - tenth..]));
    let by_tenth: Vec<String> = rss.chunks(tenth).map(|part| format!("{:.0}", mean(part))).collect();
    let slope = (late - early) * 1_024.0 / (rss.len() as f64 / 2.0);
    eprintln!(
        "{swaps} swaps in {took:?}: RSS in MiB by tenths {}; in the second half {slope:.1} KiB more per swap",
        by_tenth.join(" ")
    );
    // A module is some hundred KiB as code: one that stayed would show.
    ensure!(late < early + 32.0 + 0.1 * early, "from {early:.0} to {late:.0} MiB in the second half");
    Ok(())
}

/// Resident memory of a process.
fn rss_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1_024)
}
