//! Faults of the network between Millstream and the broker, at the messages where a wrong implementation breaks. Each test that is about one rule of the protocol
//! has another beside it in which a binary breaks that rule, and is caught.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use millstream_e2e::{
    ApiKey, Bug, CountJob, CountJobOptions, Counts, CrashPoint, Kafka, KafkaOptions, Message, Millstream,
    MillstreamOptions, Proxy, Rule, eventually,
};

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

fn with_bug(bug: Option<Bug>) -> MillstreamOptions {
    MillstreamOptions { bug, ..MillstreamOptions::default() }
}

/// What a test says about a binary with a bug: that it is wrong, and why.
fn caught(tested: Result<()>) -> Result<String> {
    match tested {
        Ok(()) => bail!("nothing was noticed of the bug"),
        Err(error) => {
            let why = format!("{error:#}");
            eprintln!("noticed: {}", why.lines().next().unwrap_or_default());
            Ok(why)
        }
    }
}

/// An EndTxn that was answered in its second copy arrives in its first copy while the next transaction is open.
fn ghost(bug: Option<Bug>) -> Result<()> {
    let network = Network::new(&[])?;
    let proxy = &network.proxy;
    let mut job = network.job("ghost", "{ interval: 100ms }")?;
    let mut counts = job.counts()?;
    let run = job.start_with(&with_bug(bug))?;
    for _ in 0..3 {
        job.feed(keys(200))?;
        job.settle(&mut counts, &run, LONG)?;
        let answered = proxy.responses(ApiKey::END_TXN);
        let ghost = proxy.add(Rule::request(ApiKey::END_TXN).hold().and_cut_client());
        // The retry passes and is answered.
        feed_until(&mut job, &run, || ghost.hits() > 0 && proxy.responses(ApiKey::END_TXN) > answered)?;
        // Outputs are produced behind an acknowledged `begin`: while some wait, the transaction is open and holds that.
        let topic = job.output.clone().into_bytes();
        let names_it = move |message: &Message| message.bytes.windows(topic.len()).any(|window| window == topic);
        let waiting = proxy.add(Rule::request(ApiKey::PRODUCE).matching(names_it).hold());
        feed_until(&mut job, &run, || waiting.hits() > 0)?;
        let answered = proxy.responses(ApiKey::END_TXN);
        ghost.release();
        // What the broker says to the ghost reaches nobody, but it has been said.
        eventually(
            "the answer to the ghost",
            LONG,
            || Ok((proxy.responses(ApiKey::END_TXN) > answered).then_some(())),
        )?;
        waiting.release();
        job.settle(&mut counts, &run, LONG)?;
    }
    settle_and_verify(&mut job, &mut counts, &run)
}

#[test]
fn a_ghost_of_a_commit_does_not_end_the_next_transaction() -> Result<()> {
    ghost(None)
}

#[test]
fn a_ghost_of_a_commit_ends_the_next_transaction_of_a_producer_that_is_kept() -> Result<()> {
    let why = caught(ghost(Some(Bug::KeepProducer)))?;
    ensure!(why.contains("is visible without its commit record"), "{why}");
    Ok(())
}

/// What is lost of the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// It was never asked for: nothing is committed.
    Request,
    /// Nobody heard that it was: all is committed.
    Answer,
}

/// What becomes of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It is killed, and another one finds out.
    Killed,
    /// It finds out itself.
    LivesOn,
}

/// A commit whose request was lost and one whose answer was lost look the same from here; one must be replayed, the other must not.
fn opposite_truths(cases: &[(Lost, Then)], bug: Option<Bug>) -> Result<()> {
    let network = Network::new(&[("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500")])?;
    let mut job = network.job("truths", "{ interval: 100ms, transaction_timeout: 3s }")?;
    let mut counts = job.counts()?;
    let mut run = job.start_with(&with_bug(bug))?;
    for &(lost, then) in cases {
        eprintln!("{lost:?} is lost, {then:?}");
        job.feed(keys(200))?;
        job.settle(&mut counts, &run, LONG)?;
        let message = match lost {
            Lost::Answer => Rule::response(ApiKey::END_TXN),
            Lost::Request => Rule::request(ApiKey::END_TXN),
        };
        let resolves = || run.log().matches("finding out what became of it").count();
        let before = resolves();
        let hole = network.proxy.add(message.lose().and_black_hole());
        feed_until(&mut job, &run, || hole.hits() > 0)?;
        // Until the broker has given the transaction up, if it has not ended it.
        let id = &job.id;
        eventually("the broker to time the transaction out", LONG, || {
            let known = job.client()?.transactions()?;
            let mut own = known.iter().filter(|transaction| transaction.id.starts_with(id.as_str()));
            Ok(own.all(|transaction| transaction.state != "Ongoing").then_some(()))
        })?;
        match then {
            Then::Killed => {
                run.kill()?;
                network.proxy.heal();
                run = job.start_with(&with_bug(bug))?;
            }
            // Until the process has given it up, too: a retry that gets through would tell it.
            Then::LivesOn => {
                eventually("the process to doubt", LONG, || {
                    ensure!(run.exited()?.is_none(), "{}", run.log_end());
                    Ok((resolves() > before).then_some(()))
                })?;
                network.proxy.heal();
            }
        }
    }
    settle_and_verify(&mut job, &mut counts, &run)
}

#[test]
fn same_symptoms_with_opposite_truths_are_told_apart() -> Result<()> {
    let cases = [
        (Lost::Answer, Then::LivesOn),
        (Lost::Request, Then::LivesOn),
        (Lost::Answer, Then::Killed),
        (Lost::Request, Then::Killed),
    ];
    opposite_truths(&cases, None)
}

#[test]
fn whoever_takes_every_doubtful_commit_for_lost_repeats_records() -> Result<()> {
    let why = caught(opposite_truths(&[(Lost::Answer, Then::LivesOn)], Some(Bug::AssumeRolledBack)))?;
    ensure!(why.contains("a record was repeated"), "{why}");
    Ok(())
}

#[test]
fn whoever_takes_every_doubtful_commit_for_done_loses_records() -> Result<()> {
    let why = caught(opposite_truths(&[(Lost::Request, Then::LivesOn)], Some(Bug::AssumeCommitted)))?;
    ensure!(why.contains("a record was lost"), "{why}");
    Ok(())
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
        ensure!(exit.was_killed(), "{:?} {:?}\n{}", exit.code, exit.signal, exit.stderr);
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
