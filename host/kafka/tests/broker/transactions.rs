//! Transactions as the commit protocol needs them: whole or not at all, fenced, and told apart when a connection is lost.

use crate::setup::{SOON, commit, committed, kafka, log, log_settings, properties, read_for, settings, source};
use millstream_e2e::{ApiKey, Isolation, Kafka, KafkaOptions, Proxy, Record, Rule, eventually};
use millstream_engine::ports::{ChangeSet, CommitsKey, LogErrorKind, Source as _, TransactionLog as _};
use millstream_kafka::{KafkaLog, LogSettings, changelog_topic, commits_topic, read_commits};
use millstream_model::cell::{CellSpace, write_key};
use millstream_model::ids::SinkIndex;
use millstream_model::key_group::{KeyGroup, key_group};
use millstream_model::record::RecordBatch;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SINK: SinkIndex = SinkIndex(1);

fn batch(values: &[&str]) -> RecordBatch {
    let mut batch = RecordBatch::default();
    for value in values {
        batch.push(Some(value.as_bytes()), Some(value.as_bytes()), 1_700_000_000_000, Default::default());
    }
    batch
}

fn cell(user_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    write_key(&mut key, CellSpace { operator: 1, state: 0 }, key_group(user_key), user_key, b"");
    key
}

fn changes(cells: &[(&str, Option<&str>)]) -> ChangeSet {
    let mut set = ChangeSet::default();
    for (key, value) in cells {
        set.keys.push(Some(&cell(key.as_bytes())));
        set.values.push(value.map(str::as_bytes));
    }
    set
}

fn state(log: &mut KafkaLog) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    log.read_changes(&mut |set| {
        for (key, value) in set.keys.iter().zip(set.values.iter()) {
            let key = key.unwrap().to_vec();
            match value {
                Some(value) => drop(state.insert(key, value.to_vec())),
                None => drop(state.remove(&key)),
            }
        }
        Ok(())
    })
    .unwrap();
    state
}

fn texts(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<String> = records.iter().map(Record::value_text).collect();
    texts.sort();
    texts
}

#[test]
fn outputs_changes_and_commit_record_are_visible_together_or_not_at_all() {
    let topic = kafka().topic("together", 2).unwrap();
    let mut log = log(kafka().bootstrap(), &topic, &topic);
    log.begin().unwrap();
    log.produce_commits(CommitsKey::Begin, b"1").unwrap();
    log.flush().unwrap();
    log.produce_outputs(SINK, &batch(&["a", "b"])).unwrap();
    log.produce_changes(&changes(&[("a", Some("1")), ("b", Some("2"))])).unwrap();
    log.flush().unwrap();
    let client = kafka().client().unwrap();
    assert_eq!(client.consume_all(&topic, Isolation::Uncommitted).unwrap().len(), 2, "a flush is an acknowledgement");
    assert_eq!(client.consume_all(&topic, Isolation::Committed).unwrap(), []);
    commit(&mut log, b"one").unwrap();
    let entries = log.read_commits().unwrap();
    assert_eq!(entries, [(CommitsKey::Begin, b"1".to_vec()), (CommitsKey::Commit, b"one".to_vec())]);
    assert_eq!(texts(&committed(&topic, 2)), ["a", "b"]);
    assert_eq!(state(&mut log), BTreeMap::from([(cell(b"a"), b"1".to_vec()), (cell(b"b"), b"2".to_vec())]));
    // What is not committed is gone with the next owner.
    log.begin().unwrap();
    log.produce_outputs(SINK, &batch(&["c"])).unwrap();
    log.produce_changes(&changes(&[("a", None)])).unwrap();
    log.produce_commits(CommitsKey::Commit, b"two").unwrap();
    log.flush().unwrap();
    log.init().unwrap();
    assert_eq!(log.read_commits().unwrap().len(), 2);
    assert_eq!(state(&mut log).len(), 2);
    assert_eq!(texts(&committed(&topic, 2)), ["a", "b"]);
    log.begin().unwrap();
    log.produce_changes(&changes(&[("a", None)])).unwrap();
    commit(&mut log, b"three").unwrap();
    assert_eq!(state(&mut log), BTreeMap::from([(cell(b"b"), b"2".to_vec())]), "a tombstone removes its cell");
    assert_eq!(
        read_commits(&properties(kafka().bootstrap()), &topic).unwrap().len(),
        3,
        "whoever only looks sees the same"
    );
}

#[test]
fn cells_lie_in_the_changelog_by_key_group() {
    let topic = kafka().topic("cells", 1).unwrap();
    let mut log = log(kafka().bootstrap(), &topic, &topic);
    let keys: Vec<String> = (0..200).map(|n| format!("key {n}")).collect();
    let cells: Vec<(&str, Option<&str>)> = keys.iter().map(|key| (key.as_str(), Some("1"))).collect();
    log.begin().unwrap();
    log.produce_changes(&changes(&cells)).unwrap();
    commit(&mut log, b"one").unwrap();
    let found = committed(&changelog_topic(&topic, 0), 200);
    for record in found {
        let KeyGroup(group) = millstream_model::cell::read_key(record.key.as_deref().unwrap()).unwrap().group;
        assert_eq!(record.partition, i32::from(group) / 16);
    }
}

#[test]
fn an_elder_owner_is_fenced_and_says_so() {
    let topic = kafka().topic("fenced", 1).unwrap();
    let mut elder = log(kafka().bootstrap(), &topic, &topic);
    elder.begin().unwrap();
    elder.produce_outputs(SINK, &batch(&["elder"])).unwrap();
    elder.flush().unwrap();
    let mut younger = log(kafka().bootstrap(), &topic, &topic);
    younger.begin().unwrap();
    younger.produce_outputs(SINK, &batch(&["younger"])).unwrap();
    commit(&mut younger, b"one").unwrap();
    let again = elder.produce_outputs(SINK, &batch(&["elder again"])).and_then(|()| commit(&mut elder, b"mine"));
    let error = again.unwrap_err();
    assert_eq!(error.kind, LogErrorKind::MaybeFenced, "{error}");
    assert_eq!(texts(&committed(&topic, 1)), ["younger"]);
    assert_eq!(younger.read_commits().unwrap(), [(CommitsKey::Commit, b"one".to_vec())]);
}

#[test]
fn an_open_transaction_holds_readers_back_until_its_owner_is_replaced() {
    let topic = kafka().topic("held", 1).unwrap();
    let mut log = log(kafka().bootstrap(), &topic, &topic);
    log.begin().unwrap();
    log.produce_outputs(SINK, &batch(&["never"])).unwrap();
    log.flush().unwrap();
    kafka().client().unwrap().produce(&topic, [Record::new("k", "behind")]).unwrap();
    let mut reader = source(settings(&topic));
    reader.seek(&[]).unwrap();
    assert!(read_for(&mut reader, Duration::from_millis(500)).unwrap().is_empty());
    log.init().unwrap();
    let batch = crate::setup::read(&mut reader, 1).unwrap();
    assert_eq!(crate::setup::values(&batch), ["behind"]);
}

#[test]
fn a_topic_that_somebody_holds_open_is_named_with_what_holds_it() {
    let topic = kafka().topic("held-commits", 1).unwrap();
    let mut log = log(kafka().bootstrap(), &topic, &topic);
    log.begin().unwrap();
    commit(&mut log, b"one").unwrap();
    let (client, stranger) = (kafka().client().unwrap(), format!("{topic}-stranger"));
    client.begin(&stranger).unwrap();
    client.produce_in(&stranger, &commits_topic(&topic), [Record::new("open", "by a stranger").on(0)]).unwrap();
    let error = log.read_commits().unwrap_err().to_string();
    client.abort(&stranger).unwrap();
    assert!(
        error.contains(&format!("topic `{topic}.commits`: partition 0 stands at offset 2 and ends at 3")),
        "{error}"
    );
    assert!(error.contains("kafka-transactions.sh describe-producers"), "{error}");
}

#[test]
fn what_is_missing_or_out_of_order_is_an_error_and_not_a_panic() {
    let topic = kafka().topic("order", 1).unwrap();
    let properties = properties(kafka().bootstrap());
    let mut log = KafkaLog::new(&properties, log_settings(&topic, &topic));
    assert_eq!(log.begin().unwrap_err().kind, LogErrorKind::Unknown, "before init");
    let mut log = crate::setup::log(kafka().bootstrap(), &topic, &topic);
    assert!(log.produce_outputs(SINK, &batch(&["no transaction"])).is_err());
    assert!(log.end().is_err());
    log.init().unwrap();
    log.begin().unwrap();
    let error = log.produce_outputs(SinkIndex(0), &batch(&["a sink that is none of Kafka's"])).unwrap_err();
    assert_eq!(error.kind, LogErrorKind::Fatal, "{error}");
}

/// A broker of its own with a proxy in front of the clients that are tested.
struct Faulty {
    proxy: Proxy,
    kafka: Kafka,
}

impl Faulty {
    fn new() -> Self {
        let kafka = Kafka::start(&KafkaOptions { proxied_listeners: 1, ..KafkaOptions::default() }).unwrap();
        let listener = kafka.proxied()[0];
        Self { proxy: Proxy::start(listener.listen, listener.upstream).unwrap(), kafka }
    }

    fn log(&self, topic: &str) -> KafkaLog {
        log(&self.proxy.address().to_string(), topic, topic)
    }

    fn values(&self, topic: &str) -> Vec<String> {
        texts(&self.kafka.client().unwrap().consume_all(topic, Isolation::Committed).unwrap())
    }
}

#[test]
fn a_request_that_is_late_is_known_by_the_connection_it_was_on() {
    let faulty = Faulty::new();
    let topic = faulty.kafka.topic("ghost", 1).unwrap();
    let mut log = faulty.log(&topic);
    log.begin().unwrap();
    log.produce_outputs(SINK, &batch(&["one"])).unwrap();
    let lost = log.connections_lost();
    // The bytes of EndTxn wait with the broker, the client asks again and is answered.
    let ghost = faulty.proxy.add(Rule::request(ApiKey::END_TXN).hold().and_cut_client());
    commit(&mut log, b"one").unwrap();
    assert_eq!(ghost.hits(), 1);
    assert!(log.connections_lost() > lost, "or the next transaction could be ended by the ghost of this one's end");
    // So the committer makes a new producer: the ghost cannot end what that one has begun.
    log.init().unwrap();
    log.begin().unwrap();
    let lost = log.connections_lost();
    log.produce_outputs(SINK, &batch(&["two"])).unwrap();
    log.flush().unwrap();
    ghost.release();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(faulty.values(&topic), ["one"]);
    commit(&mut log, b"two").unwrap();
    assert_eq!(log.connections_lost(), lost, "nothing was lost, so the producer can be kept");
    let both = || Ok((faulty.values(&topic) == ["one", "two"]).then_some(()));
    eventually("both transactions", SOON, both).unwrap();
}

#[test]
fn records_that_were_cut_off_are_sent_again_once() {
    let faulty = Faulty::new();
    let topic = faulty.kafka.topic("cut", 1).unwrap();
    let mut log = faulty.log(&topic);
    log.begin().unwrap();
    faulty.proxy.add(Rule::response(ApiKey::PRODUCE).lose().and_cut_client());
    log.produce_outputs(SINK, &batch(&["a", "b"])).unwrap();
    log.flush().unwrap();
    faulty.proxy.add(Rule::request(ApiKey::PRODUCE).lose().and_cut_client());
    log.produce_outputs(SINK, &batch(&["c"])).unwrap();
    commit(&mut log, b"one").unwrap();
    let all = || Ok((faulty.values(&topic) == ["a", "b", "c"]).then_some(()));
    eventually("every record once", SOON, all).unwrap();
}

#[test]
fn brokers_that_are_silent_fail_a_flush_in_bounded_time_and_a_new_producer_goes_on() {
    let faulty = Faulty::new();
    let topic = faulty.kafka.topic("silent", 1).unwrap();
    let properties = properties(&faulty.proxy.address().to_string());
    drop(faulty.log(&topic));
    let settings = LogSettings { transaction_timeout_ms: 3_000, ..log_settings(&topic, &topic) };
    let mut log = KafkaLog::new(&properties, settings);
    log.init().unwrap();
    log.begin().unwrap();
    log.produce_outputs(SINK, &batch(&["first"])).unwrap();
    log.flush().unwrap();
    faulty.proxy.add(Rule::request(ApiKey::PRODUCE).lose().and_black_hole());
    log.produce_outputs(SINK, &batch(&["lost"])).unwrap();
    let started = Instant::now();
    let error = log.flush().unwrap_err();
    assert!(started.elapsed() < SOON, "{error}");
    assert!(error.to_string().contains(&format!("topic `{topic}`")), "{error}");
    faulty.proxy.heal();
    log.init().unwrap();
    log.begin().unwrap();
    log.produce_outputs(SINK, &batch(&["second"])).unwrap();
    commit(&mut log, b"one").unwrap();
    let only = || Ok((faulty.values(&topic) == ["second"]).then_some(()));
    eventually("the second transaction alone", SOON, only).unwrap();
}
