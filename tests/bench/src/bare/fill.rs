//! Input for what is measured.

use anyhow::Result;
use millstream_model::key_group::murmur2;
use rdkafka_sys as sys;

use super::client::{Client, Message};
use crate::stream::{Chance, write_key};

/// Records queued at once.
const BATCH: u64 = 4_096;

/// Writes records to a topic: keys `k` and eight digits, below `keys` and in a random order, or each once and in order if there are as many records; values of
/// `value_bytes` random bytes. The same records in every run.
///
/// # Errors
/// If the broker refuses.
pub fn fill(brokers: &str, topic: &str, partitions: i32, spec: &Records) -> Result<()> {
    let properties = [
        ("bootstrap.servers", brokers),
        ("enable.idempotence", "true"),
        ("linger.ms", "20"),
        ("batch.size", "1000000"),
        ("queue.buffering.max.messages", "200000"),
        ("delivery.report.only.error", "true"),
    ];
    let producer = Client::new(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, &properties)?;
    let handle = producer.topic(topic)?;
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let noise: Vec<u8> = (0..spec.value_bytes + 4_096).map(|_| chance.below(256) as u8).collect();
    let mut written = 0;
    while written < spec.count {
        let count = BATCH.min(spec.count - written);
        let mut keys = vec![*b"k00000000"; count as usize];
        let mut outgoing: Vec<Vec<Message>> = (0..partitions).map(|_| Vec::new()).collect();
        for (key, number) in keys.iter_mut().zip(written..) {
            write_key(key, if spec.in_order { number % spec.keys } else { chance.below(spec.keys) });
            let partition = (murmur2(key) & 0x7fff_ffff) % u32::try_from(partitions)?;
            let start = chance.below(4_096) as usize;
            let value = noise.get(start..start + spec.value_bytes).unwrap_or_default();
            if let Some(messages) = outgoing.get_mut(partition as usize) {
                messages.push(message(key, value));
            }
        }
        for (partition, messages) in (0..).zip(&mut outgoing) {
            producer.produce(&handle, partition, messages)?;
        }
        producer.poll(0);
        written += count;
    }
    producer.flush()
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    /// How many.
    pub count: u64,
    /// Number of keys.
    pub keys: u64,
    /// Keys one after another rather than at random.
    pub in_order: bool,
    /// Length of the values.
    pub value_bytes: usize,
}

fn message(key: &[u8], value: &[u8]) -> Message {
    Message {
        err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: std::ptr::null_mut(),
        partition: 0,
        payload: value.as_ptr().cast_mut().cast(),
        len: value.len(),
        key: key.as_ptr().cast_mut().cast(),
        key_len: key.len(),
        offset: 0,
        _private: std::ptr::null_mut(),
    }
}
