//! What `verify` and `reset` read of topics.

use crate::consumer::{Consumer, Message};
use crate::metadata;
use crate::properties::Properties;
use crate::reader::{Until, read_topic_from};
use millstream_engine::commit::sum_output;
use millstream_engine::ports::{LogError, LogErrorKind};
use millstream_model::commit::OutputTotal;

/// How long a request may take, in milliseconds.
const REQUEST_MS: u64 = 30_000;

/// What a topic holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSum {
    /// Sum of its committed records from the given offsets on.
    pub total: OutputTotal,
    /// Where each partition begins.
    pub begins: Vec<i64>,
    /// The oldest timestamp among those records, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// Sums the committed records of a topic from these offsets on, one for each partition; partitions that are not named count from their beginning.
///
/// # Errors
/// When the end is not reached.
pub fn sum_topic(properties: &Properties, topic: &str, starts: &[i64]) -> Result<TopicSum, LogError> {
    let mut sum = TopicSum::default();
    let show = |message: &Message<'_>| {
        sum_output(&mut sum.total, message.key(), message.value());
        let timestamp_ms = message.timestamp_ms();
        sum.oldest_ms = Some(sum.oldest_ms.map_or(timestamp_ms, |oldest_ms| oldest_ms.min(timestamp_ms)));
    };
    sum.begins = read_topic_from(properties, topic, (starts, Until::End), show, || Ok(()))?;
    Ok(sum)
}

/// The offsets of a pipeline's group in a topic, by partition, whoever set them; partitions without one are left out.
///
/// # Errors
/// When the brokers do not tell.
pub fn group_offsets(properties: &Properties, id: &str, topic: &str) -> Result<Vec<(i32, i64)>, LogError> {
    let failed = |reason: String| LogError {
        kind: LogErrorKind::Fatal,
        during: format!("reading the offsets of group `{id}` in topic `{topic}`"),
        reason,
    };
    let consumer = Consumer::new(&properties.with(&[("group.id", id), ("enable.auto.commit", "false")]), topic)?;
    let partitions = metadata::partition_count(consumer.client(), topic, REQUEST_MS).map_err(failed)?;
    let partitions: Vec<i32> = (0..partitions).collect();
    consumer.group_offsets(&partitions, REQUEST_MS).map_err(failed)
}
