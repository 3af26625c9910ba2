//! What is made and checked before a pipeline runs, and what is said when it cannot.

use crate::setup::{SOON, kafka, properties, settings};
use millstream_e2e::{Isolation, Kafka, KafkaOptions, eventually, free_port};
use millstream_engine::ports::RecordSizesReader as _;
use millstream_kafka::{KafkaCluster, KafkaSource, Needs, Properties, SinkNeed, changelog_topic, commits_topic};
use std::collections::BTreeMap;

fn cluster() -> KafkaCluster {
    KafkaCluster::connect(&properties(kafka().bootstrap())).unwrap()
}

fn id(name: &str) -> String {
    format!("{name}-{:x}", std::process::id())
}

#[test]
fn internal_topics_are_made_as_they_must_be_and_kept_so() {
    let (cluster, id) = (cluster(), id("internal"));
    for _ in 0..2 {
        assert_eq!(cluster.ensure_internal_topics(&id, 3).unwrap(), 86_400_000);
    }
    let client = kafka().client().unwrap();
    let commits = client.describe_topic(&commits_topic(&id)).unwrap();
    let changes = client.describe_topic(&changelog_topic(&id, 3)).unwrap();
    assert_eq!((commits.partitions, changes.partitions), (1, 8));
    let setting = |topic: &millstream_e2e::Topic, name: &str| topic.configs[name].clone().unwrap();
    assert_eq!(setting(&commits, "cleanup.policy"), "compact");
    assert_eq!(setting(&commits, "min.compaction.lag.ms"), "604800000");
    assert_eq!(setting(&changes, "cleanup.policy"), "compact");
    assert_eq!(setting(&changes, "delete.retention.ms"), "86400000");
    client.alter_topic(&changelog_topic(&id, 3), &[("delete.retention.ms", "1000")]).unwrap();
    let lowered = || Ok(cluster.ensure_internal_topics(&id, 3).ok().filter(|kept_ms| *kept_ms == 1_000));
    eventually("the lowered setting", SOON, lowered).unwrap();
    client.alter_topic(&commits_topic(&id), &[("cleanup.policy", "delete")]).unwrap();
    let refused = || Ok(cluster.ensure_internal_topics(&id, 3).err());
    let text = eventually("the changed policy", SOON, refused).unwrap().to_string();
    assert!(text.contains("has `cleanup.policy=delete` and must have `compact`"), "{text}");
    cluster.delete_topics(&[&commits_topic(&id), "one-that-never-was"]).unwrap();
    client.create_topic(&commits_topic(&id), 2, &[("cleanup.policy", "compact")]).unwrap();
    let text = cluster.ensure_internal_topics(&id, 3).unwrap_err().to_string();
    assert!(text.contains("has 2 partitions and must have 1"), "{text}");
}

#[test]
fn a_topic_is_told_from_another_of_the_same_name() {
    let topic = kafka().topic("identity", 2).unwrap();
    let (cluster, client) = (cluster(), kafka().client().unwrap());
    let elder = cluster.topic(&topic).unwrap();
    assert_eq!(elder.id, client.describe_topic(&topic).unwrap().id);
    assert_eq!((elder.name.as_str(), elder.partitions), (topic.as_str(), 2));
    cluster.delete_topics(&[&topic]).unwrap();
    cluster.create_topic(&topic, 2).unwrap();
    let younger = cluster.topic(&topic).unwrap();
    assert!(!younger.id.is_empty() && younger.id != elder.id);
    assert!(!cluster.id().unwrap().is_empty());
}

#[test]
fn the_largest_record_is_that_of_topic_and_client() {
    let topic = id("sizes");
    kafka().client().unwrap().create_topic(&topic, 1, &[("max.message.bytes", "20000")]).unwrap();
    assert_eq!(cluster().record_bytes_max(&topic).unwrap(), 20_000 - 512);
    let given = BTreeMap::from([("message.max.bytes".to_owned(), "10000".to_owned())]);
    let small = KafkaCluster::connect(&Properties::new(kafka().bootstrap(), given).unwrap()).unwrap();
    assert_eq!(small.record_bytes_max(&topic).unwrap(), 10_000 - 512);
}

#[test]
fn sizes_are_asked_for_whenever_that_is_wanted() {
    let (cluster, id, out) = (cluster(), id("asked"), id("asked-out"));
    let client = kafka().client().unwrap();
    client.create_topic(&out, 1, &[("max.message.bytes", "30000")]).unwrap();
    cluster.ensure_internal_topics(&id, 0).unwrap();
    let sizes = cluster.sizes(&id, 0, vec![None, Some(out.clone())]).unwrap();
    let read = sizes.read().unwrap();
    assert_eq!((read.sinks, read.changelog), (vec![usize::MAX, 30_000 - 512], 1_000_000 - 512));
    client.alter_topic(&out, &[("max.message.bytes", "20000")]).unwrap();
    client.alter_topic(&changelog_topic(&id, 0), &[("max.message.bytes", "10000")]).unwrap();
    eventually("the new sizes", SOON, || {
        let read = sizes.read()?;
        Ok((read.sinks == [usize::MAX, 20_000 - 512] && read.changelog == 10_000 - 512).then_some(()))
    })
    .unwrap();
    client.delete_topic(&out).unwrap();
    assert!(eventually("the loss of the topic", SOON, || Ok(sizes.read().err())).is_ok());
}

#[test]
fn how_long_removals_are_kept_is_what_the_topic_says() {
    let (cluster, id) = (cluster(), id("removals"));
    assert_eq!(cluster.ensure_internal_topics(&id, 0).unwrap(), 86_400_000);
    kafka().client().unwrap().alter_topic(&changelog_topic(&id, 0), &[("delete.retention.ms", "5000")]).unwrap();
    let kept = || Ok(cluster.ensure_internal_topics(&id, 0).ok().filter(|kept_ms| *kept_ms == 5_000));
    eventually("the lowered setting", SOON, kept).unwrap();
}

#[test]
fn the_ends_of_a_topic_count_open_transactions_out() {
    let topic = kafka().topic("ends", 2).unwrap();
    let client = kafka().client().unwrap();
    client.produce(&topic, [millstream_e2e::Record::new("k", "v").on(1)]).unwrap();
    let last = client.offsets(&topic, Isolation::Committed).unwrap().last;
    assert_eq!(cluster().ends(&topic).unwrap(), last.into_values().collect::<Vec<_>>());
}

fn sink(topic: &str) -> SinkNeed {
    SinkNeed { topic: topic.to_owned(), create: None, record_bytes_min: 1 }
}

fn told(cluster: &KafkaCluster, needs: &Needs) -> Vec<String> {
    cluster.preflight(needs).iter().map(ToString::to_string).collect()
}

#[test]
fn preflight_names_everything_that_is_in_the_way() {
    let topic = kafka().topic("preflight-orders", 1).unwrap();
    let small = id("preflight-small");
    kafka().client().unwrap().create_topic(&small, 1, &[("max.message.bytes", "1000")]).unwrap();
    let needs = |source: &str| Needs {
        id: id("preflight"),
        sources: vec![topic.clone(), source.to_owned()],
        sinks: vec![
            sink(&topic),
            sink("quite-another"),
            SinkNeed { record_bytes_min: 2_000, ..sink(&small) },
            SinkNeed { create: Some(3), ..sink("to-be-made") },
        ],
        transaction_timeout_ms: 1_000_000_000,
    };
    let found = told(&cluster(), &needs(&topic.replace("orders", "ordres")));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].contains("`transaction.max.timeout.ms`") && found[0].contains("1000000000 ms"), "{}", found[0]);
    assert!(
        found[1].contains("Unknown topic") && found[1].ends_with(&format!("did you mean `{topic}`?")),
        "{}",
        found[1]
    );
    assert!(found[2].contains("`quite-another`"), "{}", found[2]);
    assert!(found[3].contains("takes records of 488 bytes, and 2000 are needed"), "{}", found[3]);
    // Nothing was made.
    assert!(!cluster().has_topic("to-be-made") && !cluster().has_topic(&commits_topic(&id("preflight"))));
}

#[test]
fn what_a_cluster_cannot_do_is_named_before_anything_waits_for_it() {
    let settings = [("transaction.state.log.replication.factor", "3"), ("offsets.topic.replication.factor", "3")];
    let options = KafkaOptions {
        properties: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..KafkaOptions::default()
    };
    let broker = Kafka::start(&options).unwrap();
    let cluster = KafkaCluster::connect(&properties(broker.bootstrap())).unwrap();
    let found = told(&cluster, &Needs::default());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("it has 1 broker(s), and `transaction.state.log.replication.factor` is 3"),
        "{}",
        found[0]
    );
    assert!(found[1].contains("`offsets.topic.replication.factor` is 3"), "{}", found[1]);
}

#[test]
fn a_cluster_that_is_not_there_is_named_with_the_cause() {
    let nowhere = format!("127.0.0.1:{}", free_port().unwrap());
    let Err(error) = KafkaCluster::connect(&properties(&nowhere)) else { panic!("nobody listens there") };
    let text = error.to_string();
    assert!(text.starts_with(&format!("kafka cluster at {nowhere}: no broker answered within 10 s:")), "{text}");
    assert!(text.contains("Connection refused") && text.contains("check `kafka.brokers`"), "{text}");
}

#[test]
fn a_client_that_the_brokers_do_not_understand_is_told_so() {
    let given = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Properties::new(kafka().bootstrap(), pairs).unwrap()
    };
    let Err(error) = KafkaCluster::connect(&given(&[("security.protocol", "ssl")])) else { panic!("no TLS there") };
    let text = error.to_string();
    assert!(text.contains("SSL handshake failed") && text.contains("the TLS and SASL properties"), "{text}");
    let plain = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "somebody"),
        ("sasl.password", "hunter2"),
    ];
    let Err(error) = KafkaCluster::connect(&given(&plain)) else { panic!("no SASL there") };
    let text = error.to_string();
    assert!(text.contains("SASL") && !text.contains("hunter2"), "{text}");
    let Err(error) = KafkaSource::new(&given(&[("fetch.min.byte", "1")]), settings("any")) else {
        panic!("no such property")
    };
    assert!(error.to_string().contains("did you mean `fetch.min.bytes`?"), "{error}");
}
