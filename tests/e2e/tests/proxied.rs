//! The proxy in front of a real broker: real clients come through it, and faults have their effect.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use anyhow::Result;
use millstream_e2e::{ApiKey, Isolation, Kafka, KafkaOptions, OutsideClient, Proxy, Record, Rule, eventually};

const SOON: Duration = Duration::from_secs(60);

struct Setup {
    // Dropped in this order: clients, proxy, broker.
    client: OutsideClient,
    proxy: Proxy,
    kafka: Kafka,
}

fn setup() -> Result<Setup> {
    let options = KafkaOptions { proxied_listeners: 1, ..KafkaOptions::default() };
    let kafka = Kafka::start(&options)?;
    let listener = kafka.proxied()[0];
    let proxy = Proxy::start(listener.listen, listener.upstream)?;
    let client = OutsideClient::start(&listener.listen.to_string())?;
    Ok(Setup { client, proxy, kafka })
}

fn records(topic: &str, kafka: &Kafka) -> Result<Vec<String>> {
    let records = kafka.client()?.consume_all(topic, Isolation::Committed)?;
    Ok(records.iter().map(Record::value_text).collect())
}

fn wait_for(values: &[&str], topic: &str, kafka: &Kafka) -> Result<()> {
    eventually("the committed records", SOON, || Ok((records(topic, kafka)? == values).then_some(())))
}

#[test]
fn real_clients_come_through_the_proxy_and_survive_its_faults() -> Result<()> {
    let Setup { client, proxy, kafka } = setup()?;
    let topic = kafka.topic("proxied", 2)?;

    // Every byte of a transaction passes here.
    client.begin("owner")?;
    client.produce_in("owner", &topic, [Record::new("k", "one").on(0)])?;
    client.commit("owner")?;
    wait_for(&["one"], &topic, &kafka)?;
    assert!(proxy.requests(ApiKey::INIT_PRODUCER_ID) >= 1);
    assert!(proxy.requests(ApiKey::END_TXN) >= 1);
    assert!(proxy.requests(ApiKey::PRODUCE) >= 1);

    // A held EndTxn leaves the transaction open.
    let held = proxy.add(Rule::request(ApiKey::END_TXN).hold());
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| -> Result<()> {
            client.begin("owner")?;
            client.produce_in("owner", &topic, [Record::new("k", "two").on(0)])?;
            client.commit("owner")
        });
        held.wait_hit(SOON)?;
        assert_eq!(records(&topic, &kafka)?, ["one"]);
        assert_eq!(kafka.client()?.consume_all(&topic, Isolation::Uncommitted)?.len(), 2);
        held.release();
        committing.join().unwrap()
    })?;
    wait_for(&["one", "two"], &topic, &kafka)?;

    // A response that is lost together with the connection is asked for again, and the answer is the same.
    let before = proxy.requests(ApiKey::END_TXN);
    let lost = proxy.add(Rule::response(ApiKey::END_TXN).lose().and_cut_client());
    client.begin("owner")?;
    client.produce_in("owner", &topic, [Record::new("k", "three").on(0)])?;
    client.commit("owner")?;
    assert_eq!(lost.hits(), 1);
    wait_for(&["one", "two", "three"], &topic, &kafka)?;
    assert!(proxy.requests(ApiKey::END_TXN) >= before + 2, "{}", proxy.transcript());

    // Idempotent producing repeats what was cut off, once.
    proxy.add(Rule::response(ApiKey::PRODUCE).lose().and_cut_client());
    client.produce(&topic, [Record::new("k", "four").on(0)])?;
    wait_for(&["one", "two", "three", "four"], &topic, &kafka)
}

#[test]
fn kcat_comes_through_the_proxy() -> Result<()> {
    let Setup { proxy, kafka, .. } = setup()?;
    let topic = kafka.topic("kcat", 1)?;
    kafka.client()?.produce(&topic, [Record::new("k", "seen by kcat")])?;
    let fetches = proxy.requests(ApiKey::FETCH);
    let mut command = std::process::Command::new("kcat");
    command.args(["-C", "-e", "-q", "-t", &topic, "-b", &proxy.address().to_string()]);
    let output = command.output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "seen by kcat\n");
    assert!(proxy.requests(ApiKey::FETCH) > fetches, "{}", proxy.transcript());
    Ok(())
}
