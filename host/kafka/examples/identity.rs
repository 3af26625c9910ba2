//! Copies a topic, exactly once, through `KafkaSource` and `KafkaLog` alone: what the Kafka part of a pipeline costs when nothing else does. Runs until it
//! is ended, or until everything was copied that was there at its start if `COUNT` is 1.
//!
//! Environment: `BOOTSTRAP`, `IN`, `OUT`, `GROUP` (the pipeline's id), `COMMIT_MS` (500), `COUNT`, `ROWS` (of a batch, 4096), `PROPERTIES` (of
//! librdkafka: `name=value,...`).
#![expect(clippy::disallowed_methods, reason = "an example that is configured by its environment and measures")]

use millstream_engine::ports::{CommitsKey, LogErrorKind, Source, TransactionLog};
use millstream_kafka::{
    KafkaCluster, KafkaLog, KafkaSource, LogSettings, OnDataLoss, Properties, SourceSettings, Start,
};
use millstream_model::ids::SinkIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::RecordBatch;
use std::error::Error;
use std::time::{Duration, Instant};

// The host's allocator; librdkafka allocates for every record it produces.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn setting(name: &str) -> Result<String, Box<dyn Error>> {
    std::env::var(name).map_err(|_| format!("`{name}` is not set").into())
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn end_transaction(log: &mut KafkaLog) -> Result<(), Box<dyn Error>> {
    log.flush()?;
    log.produce_commits(CommitsKey::Commit, b"a commit")?;
    log.flush()?;
    loop {
        match log.end() {
            Ok(()) => return Ok(()),
            Err(error) if error.kind == LogErrorKind::Retriable => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (topic, group) = (setting("IN")?, setting("GROUP")?);
    let given = std::env::var("PROPERTIES").unwrap_or_default();
    let given = given.split(',').filter_map(|pair| pair.split_once('='));
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let properties = Properties::new(&setting("BOOTSTRAP")?, given)?;
    let cluster = KafkaCluster::connect(&properties)?;
    cluster.ensure_internal_topics(&group, 0)?;
    let settings = SourceSettings {
        id: "in".to_owned(),
        index: 0,
        topic: topic.clone(),
        group: group.clone(),
        worker: 0,
        workers: 1,
        start: Start::Earliest,
        on_data_loss: OnDataLoss::Stop,
        read_uncommitted: false,
        stop: None,
        ignore_group_offsets: false,
    };
    let mut source = KafkaSource::new(&properties, settings)?;
    source.seek(&[])?;
    let settings =
        LogSettings { id: group, changelog: 0, sinks: vec![Some(setting("OUT")?)], transaction_timeout_ms: 15_000 };
    let mut log = KafkaLog::new(&properties, settings);
    log.init()?;
    let whole: i64 = if number("COUNT", 0) == 1 { cluster.ends(&topic)?.iter().sum() } else { i64::MAX };
    let interval = Duration::from_millis(number("COMMIT_MS", 500));
    let limits = BatchLimits { rows_max: number("ROWS", 4_096) as usize, ..BatchLimits::default() };
    let mut batch = RecordBatch::default();
    let mut copied = 0i64;
    let mut due: Option<Instant> = None;
    while copied < whole || due.is_some() {
        batch.clear();
        source.poll(&mut batch, &limits)?;
        if !batch.is_empty() {
            if due.is_none() {
                log.begin()?;
                log.produce_commits(CommitsKey::Begin, b"a begin")?;
                log.flush()?;
                due = Some(Instant::now() + interval);
            }
            log.produce_outputs(SinkIndex(0), &batch)?;
            copied += batch.len() as i64;
        }
        if due.is_some_and(|due| Instant::now() >= due || copied >= whole) {
            end_transaction(&mut log)?;
            due = None;
        }
    }
    Ok(())
}
