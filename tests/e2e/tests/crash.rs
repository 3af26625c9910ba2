//! Deaths without warning: nothing is lost, nothing repeated, the state is the model's, no store is wiped.
//!
//! Each death is a SIGKILL: sent by the process to itself at a named point, sent from outside to a process that froze itself at such a point, or sent at a
//! random time. How long it takes until something new is committed is printed, and asserted nowhere; `make bench` measures it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use millstream_e2e::{
    CountJob, CountJobOptions, Counts, CrashPoint, Kafka, Millstream, MillstreamOptions, RandomKills, StoreIdentity,
    check_takeovers, eventually, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const LONG: Duration = Duration::from_secs(120);
const KEYS: u32 = 500;

/// Points that every commit passes.
const POINTS: [&str; 10] = [
    "after_poll",
    "mid_guest_call",
    "after_begin",
    "mid_flush",
    "before_commit_record",
    "before_end_txn",
    "end_txn_unknown",
    "before_apply",
    "mid_apply",
    "after_apply",
];

fn keys(random: &mut ChaCha8Rng, count: u32) -> Vec<String> {
    (0..count).map(|_| format!("key-{}", random.next_u32() % KEYS)).collect()
}

/// Starts the pipeline and measures how long it takes until it has committed something new.
fn restart(job: &CountJob<'_>, counts: &mut Counts<'_>) -> Result<(Millstream, Duration)> {
    let before = counts.read_on()?;
    let begun = Instant::now();
    let run = job.start()?;
    let first = eventually("the first new commit", LONG, || {
        if let Some(exit) = run.exited()? {
            bail!("millstream ended: {:?}, {:?}\n{}", exit.code, exit.signal, run.log_end());
        }
        Ok((counts.read_on()? > before).then_some(()))
    });
    first.map_err(|error| error.context(format!("its log ends:\n{}", run.log_end())))?;
    Ok((run, begun.elapsed()))
}

/// The distribution, and how many were within what the issue asks for on a quiet machine.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times.get(((times.len().max(1) - 1) * share) / 100).copied().unwrap_or_default();
    let quick = times.iter().filter(|time| **time <= Duration::from_secs(3)).count();
    eprintln!(
        "{what}: {} restarts, first new commit after {:?} at best, {:?} median, {:?} nine tenths, {:?} at worst; {quick} within 3 s",
        times.len(),
        at(0),
        at(50),
        at(90),
        at(100)
    );
}

/// Feeds a few records at a time, so that there is more than one epoch to pass by, until the run dies at the point.
fn die_at(job: &mut CountJob<'_>, random: &mut ChaCha8Rng, crash: &CrashPoint) -> Result<()> {
    eprintln!("crash at {crash}");
    let run = job.start_with(&MillstreamOptions { crash: Some(crash.clone()), ..MillstreamOptions::default() })?;
    eventually(&format!("the crash at {crash}"), LONG, || {
        if crash.freezes() {
            if run.is_frozen()? {
                return Ok(Some(()));
            }
        } else if let Some(exit) = run.exited()? {
            ensure!(exit.was_killed(), "{:?} {:?}\n{}", exit.code, exit.signal, exit.stderr);
            return Ok(Some(()));
        }
        job.feed(keys(random, 40))?;
        Ok(None)
    })?;
    // What was sent before the freeze may arrive meanwhile.
    std::thread::sleep(Duration::from_millis(u64::from(if crash.freezes() { random.next_u32() % 200 } else { 0 })));
    run.kill().map(drop)
}

#[test]
fn killed_at_every_crash_point_of_a_commit() -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed("crash_points")?);
    let mut job = CountJob::new(Kafka::shared()?, "points", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let mut store = StoreIdentity::default();
    let mut times = Vec::new();
    for pass in [1, 2, 5] {
        for point in POINTS {
            let crash = CrashPoint::new(point)?.at_pass(pass);
            // Each point is frozen at once, in one of the passes.
            let crash = if times.len() % 3 == 0 { crash.freezing() } else { crash };
            store.check(&job.workplace.path().join("state"))?;
            die_at(&mut job, &mut random, &crash)?;
            store.check(&job.workplace.path().join("state"))?;
            job.feed(keys(&mut random, 40))?;
            let (run, time) = restart(&job, &mut counts)?;
            times.push(time);
            job.settle(&mut counts, &run, LONG)?;
            run.kill()?;
        }
    }
    report("crash points", times);
    store.check(&job.workplace.path().join("state"))?;
    job.feed(keys(&mut random, 40))?;
    let (run, _) = restart(&job, &mut counts)?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    ensure!(check_takeovers(&job.workplace)? > 50, "most deaths come after a takeover, and a run behind each");
    job.verify()?.expect_code(0)?;
    Ok(())
}

#[test]
fn killed_at_random_times_while_records_keep_coming() -> Result<()> {
    let seed = seed("random_kills")?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let kafka = Kafka::shared()?;
    let job = std::cell::RefCell::new(CountJob::new(kafka, "random", &CountJobOptions::default())?);
    let counts = std::cell::RefCell::new(job.borrow().counts()?);
    let mut store = StoreIdentity::default();
    let kills =
        RandomKills { seed, deaths: 25, life: (Duration::from_millis(50), Duration::from_millis(1_500)), finish: LONG };
    let start = || {
        store.check(&job.borrow().workplace.path().join("state"))?;
        job.borrow_mut().feed(keys(&mut random, 4_000))?;
        job.borrow().start()
    };
    let done = || {
        let records = job.borrow().records();
        Ok(counts.borrow_mut().read_on()? >= records)
    };
    kills.run(start, done)?;
    let (mut job, mut counts) = (job.into_inner(), counts.into_inner());
    job.compare(&counts)?;
    store.check(&job.workplace.path().join("state"))?;
    let run = job.start()?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?;
    eprintln!("{} runs took the pipeline over", check_takeovers(&job.workplace)?);
    job.verify()?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_crash_in_the_middle_of_a_restore_starts_the_restore_again() -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed("mid_restore")?);
    let mut job = CountJob::new(Kafka::shared()?, "restoring", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(keys(&mut random, 5_000))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    run.kill()?;
    std::fs::remove_dir_all(job.workplace.path().join("state"))?;
    for _ in 0..2 {
        let crash = Some(CrashPoint::new("mid_restore")?);
        let exit = job.start_with(&MillstreamOptions { crash, ..MillstreamOptions::default() })?.wait(LONG)?;
        ensure!(exit.was_killed(), "{:?} {:?}\n{}", exit.code, exit.signal, exit.stderr);
    }
    let run = job.start()?;
    job.probe_state(&mut counts, &run, LONG)
}
