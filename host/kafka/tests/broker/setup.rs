//! What the tests share.

use millstream_e2e::{Isolation, Kafka, Record};
use millstream_engine::ports::{CommitsKey, LogError, LogErrorKind, Source, SourceError, TransactionLog};
use millstream_kafka::{
    KafkaCluster, KafkaLog, KafkaSource, LogSettings, OnDataLoss, Properties, SourceSettings, Start,
};
use millstream_model::commit::PartitionPosition;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) fn kafka() -> &'static Kafka {
    Kafka::shared().unwrap_or_else(|error| panic!("these tests need a broker: {error:#}"))
}

pub(crate) fn properties(bootstrap: &str) -> Properties {
    Properties::new(bootstrap, BTreeMap::new()).unwrap()
}

/// Reads the whole topic alone, from its beginning.
pub(crate) fn settings(topic: &str) -> SourceSettings {
    SourceSettings {
        id: "in".to_owned(),
        index: 3,
        topic: topic.to_owned(),
        group: format!("{topic}-pipeline"),
        worker: 0,
        workers: 1,
        start: Start::Earliest,
        on_data_loss: OnDataLoss::Stop,
        read_uncommitted: false,
        stop: None,
        ignore_group_offsets: false,
    }
}

pub(crate) fn source(settings: SourceSettings) -> KafkaSource {
    KafkaSource::new(&properties(kafka().bootstrap()), settings).unwrap()
}

/// A log of one sink, its internal topics made, initialised.
pub(crate) fn log(bootstrap: &str, id: &str, topic: &str) -> KafkaLog {
    let properties = properties(bootstrap);
    KafkaCluster::connect(&properties).unwrap().ensure_internal_topics(id, 0).unwrap();
    let mut log = KafkaLog::new(&properties, log_settings(id, topic));
    log.init().unwrap();
    log
}

pub(crate) fn log_settings(id: &str, topic: &str) -> LogSettings {
    LogSettings {
        id: id.to_owned(),
        changelog: 0,
        sinks: vec![None, Some(topic.to_owned())],
        transaction_timeout_ms: 15_000,
    }
}

/// Ends a transaction as the committer does.
pub(crate) fn commit(log: &mut KafkaLog, token: &[u8]) -> Result<(), LogError> {
    log.flush()?;
    log.produce_commits(CommitsKey::Commit, token)?;
    log.flush()?;
    loop {
        match log.end() {
            Err(error) if error.kind == LogErrorKind::Retriable => {}
            ended => return ended,
        }
    }
}

/// Polls until there are `count` records; fails when there are fewer in time.
pub(crate) fn read(source: &mut KafkaSource, count: usize) -> Result<RecordBatch, SourceError> {
    let mut all = RecordBatch::default();
    let deadline = Instant::now() + SOON;
    while all.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", all.len());
        let mut batch = RecordBatch::default();
        source.poll(&mut batch, &BatchLimits::default())?;
        all.append(&batch);
    }
    Ok(all)
}

/// The records of a topic that are committed, once there are `count`: a commit is decided before its marks are written.
pub(crate) fn committed(topic: &str, count: usize) -> Vec<Record> {
    kafka().client().unwrap().consume_at_least(topic, Isolation::Committed, count, SOON).unwrap()
}

/// Polls for a while; for what must not come.
pub(crate) fn read_for(source: &mut KafkaSource, time: Duration) -> Result<RecordBatch, SourceError> {
    let mut batch = RecordBatch::default();
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        source.poll(&mut batch, &BatchLimits::default())?;
    }
    Ok(batch)
}

/// The rows of a batch as the outside client shows records, by partition and offset.
pub(crate) fn records(batch: &RecordBatch) -> Vec<Record> {
    let mut records: Vec<Record> = (0..batch.len()).map(|row| record(batch, row)).collect();
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn record(batch: &RecordBatch, row: usize) -> Record {
    let Origin { partition, offset } = batch.origins[row];
    let row = row as u32;
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    Record {
        partition: (partition.0 & 0xffff) as i32,
        offset,
        timestamp_ms: batch.timestamps_ms[row as usize],
        key: batch.keys.get(row).map(<[u8]>::to_vec),
        value: batch.values.get(row).map(<[u8]>::to_vec),
        headers: batch.headers.of(row).map(|(name, value)| (text(name), value.map(<[u8]>::to_vec))).collect(),
    }
}

pub(crate) fn values(batch: &RecordBatch) -> Vec<String> {
    records(batch).iter().map(Record::value_text).collect()
}

/// Where a source is, as a commit would say it.
pub(crate) fn positions(source: &KafkaSource) -> Vec<PartitionPosition> {
    let position = |progress: &millstream_engine::ports::PartitionProgress| PartitionPosition {
        source: "in".to_owned(),
        partition: progress.partition,
        from: progress.next,
        next: progress.next,
        leader_epoch: progress.leader_epoch,
        timestamp_ms_max: progress.timestamp_ms_max,
        idle: false,
    };
    source.progress().iter().map(position).collect()
}
