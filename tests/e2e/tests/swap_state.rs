//! State that changes its version while the pipeline runs, on a real Kafka: every key is migrated, through kills, and back where that is allowed.
//!
//! `MILLSTREAM_SWAP_KEYS` says how many keys; an issue-sized run takes 1000000.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::{Commits, Isolation, Kafka, Load, OpenRun, Record, Visits, eventually, guest, seed};
use millstream_model::cell;
use millstream_model::commit::CommitRecord;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(300);

static TURN: Mutex<()> = Mutex::new(());

fn keys() -> u64 {
    std::env::var("MILLSTREAM_SWAP_KEYS").ok().and_then(|text| text.parse().ok()).unwrap_or(60_000)
}

fn module(name: &str) -> Vec<u8> {
    std::fs::read(guest(name)).unwrap_or_else(|error| unreachable!("{name}: {error}: make guests"))
}

/// Sends one record for each key.
fn feed_all(visits: &Visits<'_>, sent: &mut BTreeMap<String, u64>, keys: u64) -> Result<()> {
    for from in (0..keys).step_by(50_000) {
        let some = from..(from + 50_000).min(keys);
        let records = some.map(|number| {
            let key = format!("key-{number}");
            *sent.entry(key.clone()).or_default() += 1;
            Record::new(key, "x")
        });
        visits.job.client()?.produce(&visits.job.input, records)?;
    }
    Ok(())
}

fn newest_commit(visits: &Visits<'_>) -> Result<CommitRecord> {
    let commits = Commits::read(visits.job.client()?, &visits.job.id, Isolation::Committed)?;
    commits.commits.into_iter().last().map(|(_, commit)| commit).context("no commit")
}

/// Waits until no value of an older version is left, as the commits say.
fn wait_for_sweep(visits: &Visits<'_>, run: &OpenRun) -> Result<()> {
    eventually("the sweep", LONG, || {
        ensure!(run.run.exited()?.is_none(), "it ended:\n{}", run.run.log_end());
        std::thread::sleep(Duration::from_millis(200));
        let operator = run.operator()?;
        let is_swept = operator.pointer("/swap/cells").is_none_or(Value::is_null);
        Ok((is_swept && newest_commit(visits)?.older_versions.is_empty()).then_some(()))
    })
}

/// How many values of each version the changelog holds; with [`Isolation::Uncommitted`] those of epochs that were lost are among them.
fn versions_in_changelog(visits: &Visits<'_>, isolation: Isolation) -> Result<BTreeMap<u32, u64>> {
    let changelog = format!("{}.changelog.0", visits.job.id);
    let mut versions = BTreeMap::new();
    for record in visits.job.client()?.consume_all(&changelog, isolation)? {
        if let Some((version, _)) = record.value.as_deref().and_then(cell::read_value) {
            *versions.entry(version).or_default() += 1;
        }
    }
    Ok(versions)
}

/// Does something while records keep coming for a few of the keys, so that there is something for a trial.
fn under_load<T>(visits: &Visits<'_>, sent: &mut BTreeMap<String, u64>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let load = Load::start(Kafka::shared()?.bootstrap(), &visits.job.input, 1, (2_000, 1_000))?;
    let done = work();
    for (key, records) in load.stop()? {
        *sent.entry(key).or_default() += records;
    }
    done
}

#[test]
fn every_key_is_migrated_while_it_runs_and_dies_and_back_where_that_is_allowed() -> Result<()> {
    let _turn = TURN.lock().unwrap();
    let (keys, seed) = (keys(), seed("migration")?);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut visits = Visits::new(Kafka::shared()?, "migrated", "{ reads: [2] }")?;
    let mut sent = BTreeMap::new();
    let mut run = visits.start()?;
    feed_all(&visits, &mut sent, keys)?;
    visits.settle(&sent, &run)?;
    let begun = Instant::now();
    run = under_load(&visits, &mut sent, || {
        let done = run.swapped(&module("visits-2"), "?trial_records=500")?;
        ensure!(done.pointer("/no_return") == Some(&serde_json::json!([])), "{done}");
        let mut run = run;
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(u64::from(50 + random.next_u32() % 800)));
            run.run.kill()?;
            run = visits.start()?;
            ensure!(run.generation()? == 2, "a kill brought generation {} about", run.generation()?);
        }
        wait_for_sweep(&visits, &run)?;
        Ok(run)
    })?;
    eprintln!("{keys} keys migrated in {:?}, 3 kills among it", begun.elapsed());
    visits.settle(&sent, &run)?;
    feed_all(&visits, &mut sent, keys)?;
    visits.settle(&sent, &run)?;
    // The process that ran the version before is gone, and with it what `rollback` would bring back; its module is not.
    let back = run.door.ask("POST /api/v1/operators/count/rollback")?;
    ensure!((back.status, back.problem()) == (409, "no-return"), "{} {}", back.status, back.body);
    under_load(&visits, &mut sent, || run.swapped(&module("visits-1"), "?trial_records=500"))?;
    feed_all(&visits, &mut sent, keys)?;
    visits.settle(&sent, &run)?;
    // And forth, and back by a word.
    under_load(&visits, &mut sent, || {
        run.swapped(&module("visits-2"), "?trial_records=500")?;
        let back = run.door.ask("POST /api/v1/operators/count/rollback")?;
        ensure!(back.status == 200, "{} {}", back.status, back.body);
        ensure!(run.generation()? == 5, "generation {}", run.generation()?);
        Ok(())
    })?;
    feed_all(&visits, &mut sent, keys)?;
    visits.settle(&sent, &run)?;
    visits.stop(&run)
}

#[test]
fn there_is_no_way_back_where_old_code_cannot_read_and_that_is_told_before() -> Result<()> {
    let _turn = TURN.lock().unwrap();
    let mut visits = Visits::new(Kafka::shared()?, "noreturn", "{}")?;
    let mut sent = BTreeMap::new();
    let run = visits.start()?;
    feed_all(&visits, &mut sent, 3_000)?;
    visits.settle(&sent, &run)?;
    let check = run.door.request("POST /api/v1/operators/count/swap/check");
    let told = run.door.send(&check.with("application/wasm", module("visits-2")))?;
    ensure!(told.status == 200, "{} {}", told.status, told.body);
    let reason = told.body.pointer("/plan/no_return/0/reason").and_then(Value::as_str).unwrap_or_default().to_owned();
    ensure!(reason.contains("version 2"), "{}", told.body);
    let tried = told.body.pointer("/samples/0/tried").and_then(Value::as_u64).unwrap_or_default();
    ensure!(tried > 100, "{tried} stored values were tried: {}", told.body);
    ensure!(run.generation()? == 1, "looking changes something");
    under_load(&visits, &mut sent, || run.swapped(&module("visits-2"), "?trial_records=500"))?;
    let back = run.door.ask("POST /api/v1/operators/count/rollback")?;
    ensure!((back.status, back.problem()) == (409, "no-return"), "{} {}", back.status, back.body);
    let back = run.swap(&module("visits-1"), "")?;
    ensure!((back.status, back.problem()) == (422, "does-not-fit"), "{} {}", back.status, back.body);
    eprintln!("refused: {}", back.body.get("detail").and_then(Value::as_str).unwrap_or_default());
    visits.settle(&sent, &run)?;
    visits.stop(&run)
}

#[test]
fn a_migration_that_fails_its_trial_leaves_every_value_as_it_was() -> Result<()> {
    let _turn = TURN.lock().unwrap();
    for kind in ["reject", "trap", "bomb"] {
        // Whatever a key was counted to, it cannot be migrated.
        let counts: Vec<u64> = (1..1_000).collect();
        let mut visits = Visits::new(Kafka::shared()?, kind, &format!("{{ {kind}: {counts:?} }}"))?;
        let mut sent = BTreeMap::new();
        let run = visits.start()?;
        feed_all(&visits, &mut sent, 1_000)?;
        visits.settle(&sent, &run)?;
        let query = "?trial_records=500&max_reject_ratio=0.1";
        let answer = under_load(&visits, &mut sent, || run.swap(&module("visits-2"), query))?;
        let expected = (422, "trial-failed");
        ensure!((answer.status, answer.problem()) == expected, "{kind}: {} {}", answer.status, answer.body);
        eprintln!("{kind}: {}", answer.body.get("detail").and_then(Value::as_str).unwrap_or_default());
        feed_all(&visits, &mut sent, 1_000)?;
        visits.settle(&sent, &run)?;
        ensure!(visits.seen.by_version.keys().eq(["1"]), "{kind}: {:?}", visits.seen.by_version);
        visits.stop(&run)?;
        // The store is the fold of the changelog, in which nobody ever sees a value of the second version.
        let versions = versions_in_changelog(&visits, Isolation::Uncommitted)?;
        ensure!(versions.keys().eq(&[1]), "{kind}: values by version {versions:?}");
    }
    Ok(())
}
