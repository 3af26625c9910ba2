//! Deaths without warning: nothing is lost, nothing repeated, the state is the model's, no store is wiped.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use millstream_e2e::{
    CountJob, CountJobOptions, Counts, CrashPoint, Kafka, Millstream, MillstreamOptions, RandomKills, eventually, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const LONG: Duration = Duration::from_secs(120);
const KEYS: u32 = 500;

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

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times.get(((times.len() - 1) * share) / 100).copied().unwrap_or_default();
    eprintln!("{what}: {} restarts, first new commit after {:?} (median), {:?} (worst)", times.len(), at(50), at(100));
}

#[test]
fn killed_at_every_crash_point_of_a_commit() -> Result<()> {
    let points = [
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
    let mut random = ChaCha8Rng::seed_from_u64(seed("crash_points")?);
    let mut job = CountJob::new(Kafka::shared()?, "points", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    let mut times = Vec::new();
    for pass in [1, 2, 5] {
        for point in points {
            let crash = CrashPoint::new(point)?.at_pass(pass);
            eprintln!("crash at {crash}");
            let options = MillstreamOptions { crash: Some(crash), ..MillstreamOptions::default() };
            let run = job.start_with(&options)?;
            // Some records at a time, so that there is more than one epoch to pass by.
            let exit = eventually(&format!("the crash at {point}"), LONG, || {
                if let Some(exit) = run.exited()? {
                    return Ok(Some(exit));
                }
                job.feed(keys(&mut random, 40))?;
                Ok(None)
            })?;
            assert!(exit.aborted(), "{point}: {:?} {:?}\n{}", exit.code, exit.signal, exit.stderr);
            job.feed(keys(&mut random, 40))?;
            let (run, time) = restart(&job, &mut counts)?;
            eprintln!("crashed at {point}: first new commit {time:?} after the restart");
            times.push(time);
            job.settle(&mut counts, &run, LONG)?;
            run.kill()?;
        }
    }
    report("crash points", times);
    let (run, _) = {
        job.feed(keys(&mut random, 40))?;
        restart(&job, &mut counts)?
    };
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
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
    let kills =
        RandomKills { seed, deaths: 25, life: (Duration::from_millis(50), Duration::from_millis(1_500)), finish: LONG };
    let start = || {
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
    let run = job.start()?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?;
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
    let crash = Some(CrashPoint::new("mid_restore")?);
    let exit = job.start_with(&MillstreamOptions { crash, ..MillstreamOptions::default() })?.wait(LONG)?;
    assert!(exit.aborted(), "{:?} {:?}\n{}", exit.code, exit.signal, exit.stderr);
    let run = job.start()?;
    job.probe_state(&mut counts, &run, LONG)
}
