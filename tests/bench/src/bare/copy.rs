//! The baseline: consume and produce, exactly once.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rdkafka_sys as sys;
use serde::{Deserialize, Serialize};

use super::client::{Client, Message};

/// What is copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Copy {
    /// The broker.
    pub brokers: String,
    /// Topic read, from its beginning.
    pub from: String,
    /// Topic written; each record goes to the partition it came from.
    pub to: String,
    /// Partitions of both.
    pub partitions: i32,
    /// Name of group and transactions.
    pub group: String,
    /// Time from one commit to the next, in milliseconds.
    pub commit_ms: u64,
}

/// Messages asked for at once.
const BATCH: usize = 4_096;

/// Copies until the process is killed.
///
/// # Errors
/// If the broker refuses something.
pub fn copy_forever(copy: &Copy) -> Result<()> {
    let consumer = Client::new(
        sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        &[
            ("bootstrap.servers", &copy.brokers),
            ("group.id", &copy.group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "false"),
            ("fetch.queue.backoff.ms", "5"),
        ],
    )?;
    let producer = Client::new(
        sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        &[
            ("bootstrap.servers", &copy.brokers),
            ("transactional.id", &copy.group),
            ("delivery.report.only.error", "true"),
            ("queue.buffering.max.messages", "1000000"),
            ("queue.buffering.max.kbytes", "1048576"),
            ("linger.ms", "10"),
            ("batch.size", "1000000"),
        ],
    )?;
    let topic = producer.topic(&copy.to)?;
    producer.init_transactions()?;
    consumer.assign(&copy.from, copy.partitions)?;
    let mut next = vec![0; usize::try_from(copy.partitions)?];
    let mut outgoing: Vec<Vec<Message>> = next.iter().map(|_| Vec::new()).collect();
    let mut messages = vec![std::ptr::null_mut(); BATCH];
    let mut commit_at = None;
    loop {
        let count = consumer.consume(&mut messages, 10);
        let consumed = messages.get(..count).unwrap_or_default();
        if count > 0 && commit_at.is_none() {
            producer.begin()?;
            commit_at = Some(Instant::now() + Duration::from_millis(copy.commit_ms));
        }
        for message in consumed {
            Client::with_message(*message, |message| sort(message, &mut outgoing, &mut next))?;
        }
        for (partition, messages) in (0..).zip(&mut outgoing) {
            producer.produce(&topic, partition, messages)?;
        }
        Client::release(consumed);
        producer.poll(0);
        if commit_at.is_some_and(|at| Instant::now() >= at) {
            producer.commit(&copy.group, &copy.from, &next)?;
            commit_at = None;
        }
    }
}

fn sort(message: &Message, outgoing: &mut [Vec<Message>], next: &mut [i64]) -> Result<()> {
    if message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        bail!("consuming: {:?}", message.err);
    }
    let partition = usize::try_from(message.partition)?;
    if let (Some(outgoing), Some(next)) = (outgoing.get_mut(partition), next.get_mut(partition)) {
        *next = message.offset + 1;
        outgoing.push(Message { rkt: std::ptr::null_mut(), _private: std::ptr::null_mut(), ..*message });
    }
    Ok(())
}
