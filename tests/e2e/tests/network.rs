//! Faults of the network between Millstream and the broker, at the messages where a wrong implementation breaks.

use std::time::Duration;

use anyhow::{Result, bail};
use millstream_e2e::{
    ApiKey, CountJob, CountJobOptions, Counts, CrashPoint, Kafka, KafkaOptions, Millstream, MillstreamOptions, Proxy,
    Rule, eventually, seed,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const LONG: Duration = Duration::from_secs(120);

/// A broker with a proxy before it.
struct Network {
    proxy: Proxy,
    kafka: Kafka,
}

impl Network {
    fn new(properties: &[(&str, &str)]) -> Result<Self> {
        let properties = properties.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let kafka = Kafka::start(&KafkaOptions { properties, proxied_listeners: 1, ..KafkaOptions::default() })?;
        let Some(listener) = kafka.proxied().first().copied() else { bail!("no proxied listener") };
        Ok(Self { proxy: Proxy::start(listener.listen, listener.upstream)?, kafka })
    }

    /// A job that comes through the proxy; the tests' own clients do not.
    fn job(&self, name: &str, commit: &str) -> Result<CountJob<'_>> {
        let options = CountJobOptions {
            bootstrap: Some(self.proxy.address().to_string()),
            commit: commit.to_owned(),
            ..CountJobOptions::default()
        };
        CountJob::new(&self.kafka, name, &options)
    }
}

fn keys(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("key-{}", n % 100))
}

/// Feeds a little, again and again, until `enough`.
fn feed_until(job: &mut CountJob<'_>, run: &Millstream, enough: impl Fn() -> bool) -> Result<()> {
    eventually("what the records are fed for", LONG, || {
        if enough() {
            return Ok(Some(()));
        }
        if let Some(exit) = run.exited()? {
            bail!("millstream ended: {:?}, {:?}\n{}", exit.code, exit.signal, run.log_end());
        }
        job.feed(keys(50))?;
        std::thread::sleep(Duration::from_millis(50));
        Ok(None)
    })
}

fn settle_and_verify(job: &mut CountJob<'_>, counts: &mut Counts<'_>, run: &Millstream) -> Result<()> {
    job.settle(counts, run, LONG)?;
    job.probe_state(counts, run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}

/// An EndTxn that was answered in its second copy must not end the *next* transaction when its first copy arrives.
#[test]
fn a_ghost_of_a_commit_does_not_end_the_next_transaction() -> Result<()> {
    let network = Network::new(&[])?;
    let mut job = network.job("ghost", "{ interval: 100ms }")?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    for _ in 0..3 {
        job.feed(keys(200))?;
        job.settle(&mut counts, &run, LONG)?;
        let ghost = network.proxy.add(Rule::request(ApiKey::END_TXN).hold().and_cut_client());
        feed_until(&mut job, &run, || ghost.hits() > 0)?;
        // The retry passes, and the next transaction is under way.
        let produced = network.proxy.requests(ApiKey::PRODUCE);
        feed_until(&mut job, &run, || network.proxy.requests(ApiKey::PRODUCE) >= produced + 6)?;
        ghost.release();
        job.settle(&mut counts, &run, LONG)?;
    }
    settle_and_verify(&mut job, &mut counts, &run)
}

/// A commit whose request was lost and one whose answer was lost look the same from here; one must be replayed, the
/// other must not.
#[test]
fn same_symptoms_with_opposite_truths_are_told_apart() -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed("opposite_truths")?);
    let network = Network::new(&[("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500")])?;
    let mut job = network.job("truths", "{ interval: 100ms, transaction_timeout: 3s }")?;
    let mut counts = job.counts()?;
    let mut run = job.start()?;
    for round in 0..6 {
        job.feed(keys(200))?;
        job.settle(&mut counts, &run, LONG)?;
        let dice = random.next_u32();
        let (lose_answer, kill) = (dice & 1 == 0, dice & 2 == 0);
        eprintln!(
            "round {round}: {} is lost, {}",
            if lose_answer { "the answer" } else { "the request" },
            if kill { "killed" } else { "lives on" }
        );
        let direction = if lose_answer { Rule::response(ApiKey::END_TXN) } else { Rule::request(ApiKey::END_TXN) };
        let hole = network.proxy.add(direction.lose().and_black_hole());
        feed_until(&mut job, &run, || hole.hits() > 0)?;
        // Until the broker has given the transaction up.
        let id = &job.id;
        eventually("the broker to time the transaction out", LONG, || {
            let known = job.client()?.transactions()?;
            let open = known
                .iter()
                .any(|transaction| transaction.id.starts_with(id.as_str()) && transaction.state == "Ongoing");
            Ok((!open).then_some(()))
        })?;
        if kill {
            run.kill()?;
        }
        network.proxy.heal();
        if kill {
            run = job.start()?;
        }
    }
    settle_and_verify(&mut job, &mut counts, &run)
}

/// Killed while it finds out what became of a commit; whoever comes next finds out again.
#[test]
fn killed_in_the_middle_of_a_resolve() -> Result<()> {
    let network = Network::new(&[])?;
    let mut job = network.job("resolve", "{ interval: 100ms }")?;
    let mut counts = job.counts()?;
    for lose_answer in [true, false, true] {
        let crash = Some(CrashPoint::new("in_resolve")?);
        let run = job.start_with(&MillstreamOptions { crash, ..MillstreamOptions::default() })?;
        job.feed(keys(200))?;
        job.settle(&mut counts, &run, LONG)?;
        let rule = if lose_answer { Rule::response(ApiKey::END_TXN) } else { Rule::request(ApiKey::END_TXN) };
        let hole = network.proxy.add(rule.lose().and_black_hole());
        feed_until(&mut job, &run, || hole.hits() > 0)?;
        let exit = run.wait(LONG)?;
        assert!(exit.aborted(), "{:?} {:?}\n{}", exit.code, exit.signal, exit.stderr);
        network.proxy.heal();
    }
    let run = job.start()?;
    settle_and_verify(&mut job, &mut counts, &run)
}

/// The elder is frozen with its commit on the wire; the commit arrives after the younger has taken over.
#[test]
fn a_commit_of_a_frozen_elder_that_arrives_late_commits_nothing() -> Result<()> {
    let network = Network::new(&[])?;
    let mut job = network.job("late", "{ interval: 100ms }")?;
    let mut counts = job.counts()?;
    let elder = job.start()?;
    job.feed(keys(200))?;
    job.settle(&mut counts, &elder, LONG)?;
    let held = network.proxy.add(Rule::request(ApiKey::END_TXN).hold());
    feed_until(&mut job, &elder, || held.hits() > 0)?;
    elder.pause()?;
    let other = MillstreamOptions {
        more_arguments: vec!["--state-dir".to_owned(), "./other".to_owned()],
        ..MillstreamOptions::default()
    };
    let younger = job.start_with(&other)?;
    job.settle(&mut counts, &younger, LONG)?;
    held.release();
    elder.resume()?;
    let exit = elder.wait(LONG)?.expect_code(3)?;
    assert!(exit.stderr.contains(&younger.id().to_string()), "{}", exit.stderr);
    job.probe_state(&mut counts, &younger, LONG)
}

/// Whatever Kafka forgets after a while, nothing of it is needed.
#[test]
fn everything_that_expires_may_expire() -> Result<()> {
    let network = Network::new(&[
        ("offsets.retention.minutes", "1"),
        ("offsets.retention.check.interval.ms", "5000"),
        ("transactional.id.expiration.ms", "10000"),
        ("transaction.remove.expired.transaction.cleanup.interval.ms", "2000"),
        ("producer.id.expiration.ms", "5000"),
        ("producer.id.expiration.check.interval.ms", "1000"),
    ])?;
    let mut job = network.job("expires", "{ interval: 100ms }")?;
    let mut counts = job.counts()?;
    // One key, one partition: the other three stay silent.
    job.feed((0..100).map(|_| "one".to_owned()))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    std::thread::sleep(Duration::from_secs(20));
    job.feed((0..100).map(|_| "one".to_owned()))?;
    job.settle(&mut counts, &run, LONG)?;
    run.kill()?;
    eventually("the broker to forget the transactional id and the group", LONG, || {
        let known = job.client()?.transactions()?;
        let forgotten = !known.iter().any(|transaction| transaction.id.starts_with(job.id.as_str()));
        let offsets = job.client()?.group_offsets(&job.id, &job.input)?;
        Ok((forgotten && offsets.is_empty()).then_some(()))
    })?;
    let run = job.start()?;
    settle_and_verify(&mut job, &mut counts, &run)
}
