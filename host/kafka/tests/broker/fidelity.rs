//! Records come in as they were written and go out as they are.

use crate::setup::{commit, committed, kafka, log, read, records, settings, source};
use millstream_e2e::{Isolation, Record};
use millstream_engine::ports::{Source as _, TransactionLog as _};
use millstream_model::ids::SinkIndex;
use millstream_model::record::RecordBatch;

const MS: i64 = 1_700_000_000_000;

/// One of everything that a record can be, on two partitions.
fn specimens() -> Vec<Record> {
    let mut nothing = Record::tombstone("gone").on(0).at(MS + 3).header("why", "because");
    nothing.headers.push(("null".to_owned(), None));
    vec![
        Record::new("plain", "value").on(0).at(MS),
        Record::new("twice", "value").on(0).at(MS + 1).header("a", "1").header("b", "2").header("a", "3"),
        Record::keyless("no key").on(1).at(MS + 2),
        nothing,
        Record::new("", "").on(1).at(MS - 5),
        Record::new(vec![0, 159, 146, 150], vec![255; 300]).on(1).at(1).header("empty", ""),
    ]
}

fn without_place(records: &[Record]) -> Vec<Record> {
    let mut records: Vec<Record> =
        records.iter().map(|record| Record { partition: 0, offset: 0, ..record.clone() }).collect();
    records.sort();
    records
}

#[test]
fn a_batch_holds_what_was_written() {
    let topic = kafka().topic("fidelity-in", 2).unwrap();
    kafka().client().unwrap().produce(&topic, specimens()).unwrap();
    let mut source = source(settings(&topic));
    source.seek(&[]).unwrap();
    let batch = read(&mut source, specimens().len()).unwrap();
    let written = kafka().client().unwrap().consume_all(&topic, Isolation::Committed).unwrap();
    let mut written = written;
    written.sort_by_key(|record| (record.partition, record.offset));
    assert_eq!(records(&batch), written);
    assert_eq!(without_place(&written), without_place(&specimens()), "the outside client is to be trusted");
    assert_eq!(batch.origins[0].partition.0 >> 16, 3, "the source's index is part of a partition's");
}

fn batch_of(records: &[Record]) -> RecordBatch {
    let mut batch = RecordBatch::default();
    for (row, record) in (0..).zip(records) {
        batch.push(record.key.as_deref(), record.value.as_deref(), record.timestamp_ms, Default::default());
        for (name, value) in &record.headers {
            batch.headers.push(row, name.as_bytes(), value.as_deref());
        }
    }
    batch
}

#[test]
fn what_is_written_holds_the_batch_with_and_without_headers() {
    let topic = kafka().topic("fidelity-out", 3).unwrap();
    let bare: Vec<Record> = specimens().into_iter().filter(|record| record.headers.is_empty()).collect();
    let mut log = log(kafka().bootstrap(), &topic, &topic);
    log.begin().unwrap();
    log.produce_outputs(SinkIndex(1), &batch_of(&specimens())).unwrap();
    log.produce_outputs(SinkIndex(1), &batch_of(&bare)).unwrap();
    commit(&mut log, b"one").unwrap();
    let expected = [specimens(), bare].concat();
    assert_eq!(without_place(&committed(&topic, expected.len())), without_place(&expected));
}

#[test]
fn keys_lie_where_javas_clients_put_them_and_keep_their_order() {
    let (ours, javas) = (kafka().topic("placed", 5).unwrap(), kafka().topic("placed-java", 5).unwrap());
    let all: Vec<Record> = (0..5_000).map(|n| Record::new(format!("k{}", n % 700), n.to_string()).at(MS + n)).collect();
    kafka().client().unwrap().produce(&javas, all.clone()).unwrap();
    let mut log = log(kafka().bootstrap(), &ours, &ours);
    log.begin().unwrap();
    for part in all.chunks(999) {
        log.produce_outputs(SinkIndex(1), &batch_of(part)).unwrap();
    }
    commit(&mut log, b"one").unwrap();
    let read = |topic: &str| {
        let mut found = committed(topic, all.len());
        found.sort_by_key(|record| (record.partition, record.offset));
        found.into_iter().map(|record| Record { offset: 0, ..record }).collect::<Vec<_>>()
    };
    assert!(read(&ours) == read(&javas), "partitions, order, timestamps or bytes differ");
}

#[test]
fn records_without_keys_spread_over_all_partitions() {
    let topic = kafka().topic("keyless", 3).unwrap();
    let mut log = log(kafka().bootstrap(), &topic, &topic);
    log.begin().unwrap();
    for n in 0..6 {
        log.produce_outputs(
            SinkIndex(1),
            &batch_of(&[Record::keyless(n.to_string()).at(MS), Record::keyless("x").at(MS)]),
        )
        .unwrap();
    }
    commit(&mut log, b"one").unwrap();
    let found = committed(&topic, 12);
    for partition in 0..3 {
        assert_eq!(found.iter().filter(|record| record.partition == partition).count(), 4);
    }
}
