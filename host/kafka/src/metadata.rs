#![expect(unsafe_code, reason = "librdkafka is a C library")]

use crate::client::{Client, TopicHandle, check, timeout};
use rdkafka_sys as sys;
use std::ffi::CStr;

/// How errors begin that say nothing of the topic.
pub(crate) const NO_ANSWER: &str = "no broker answered";

/// Number of partitions of a topic, asked of the brokers.
///
/// # Errors
/// When no broker answers or the topic is not there.
pub(crate) fn partition_count(client: &Client, topic: &str, wait_ms: u64) -> Result<i32, String> {
    let handle = TopicHandle::new(client, topic).ok_or("its name cannot be used")?;
    let mut metadata = std::ptr::null();
    // SAFETY: client and handle live; on success the metadata is ours until destroyed.
    let code = unsafe { sys::rd_kafka_metadata(client.as_ptr(), 0, handle.as_ptr(), &mut metadata, timeout(wait_ms)) };
    check(code).map_err(|text| format!("{NO_ANSWER}: {text}; check `kafka.brokers`"))?;
    // SAFETY: the metadata lives until it is destroyed below; counts and pointers belong together.
    let found = unsafe {
        let topics =
            std::slice::from_raw_parts((*metadata).topics, usize::try_from((*metadata).topic_cnt).unwrap_or(0));
        let found = topics.first().map(|topic| (topic.err, topic.partition_cnt));
        sys::rd_kafka_metadata_destroy(metadata);
        found
    };
    let (error, count) = found.ok_or("the brokers know nothing of it")?;
    check(error)?;
    Ok(count)
}

/// Names of all topics.
pub(crate) fn topic_names(client: &Client, wait_ms: u64) -> Result<Vec<String>, String> {
    let mut metadata = std::ptr::null();
    // SAFETY: as above.
    let code =
        unsafe { sys::rd_kafka_metadata(client.as_ptr(), 1, std::ptr::null_mut(), &mut metadata, timeout(wait_ms)) };
    check(code)?;
    // SAFETY: as above; names end with zero.
    unsafe {
        let topics =
            std::slice::from_raw_parts((*metadata).topics, usize::try_from((*metadata).topic_cnt).unwrap_or(0));
        let names = topics.iter().map(|topic| CStr::from_ptr(topic.topic).to_string_lossy().into_owned()).collect();
        sys::rd_kafka_metadata_destroy(metadata);
        Ok(names)
    }
}

/// Ids of all brokers.
pub(crate) fn broker_ids(client: &Client, wait_ms: u64) -> Result<Vec<i32>, String> {
    let mut metadata = std::ptr::null();
    // SAFETY: as above.
    let code =
        unsafe { sys::rd_kafka_metadata(client.as_ptr(), 0, std::ptr::null_mut(), &mut metadata, timeout(wait_ms)) };
    check(code)?;
    // SAFETY: as above.
    unsafe {
        let count = usize::try_from((*metadata).broker_cnt).unwrap_or(0);
        let brokers = std::slice::from_raw_parts((*metadata).brokers, count);
        let ids = brokers.iter().map(|broker| broker.id).collect();
        sys::rd_kafka_metadata_destroy(metadata);
        Ok(ids)
    }
}

/// The cluster's id.
pub(crate) fn cluster_id(client: &Client, wait_ms: u64) -> Option<String> {
    // SAFETY: the text is allocated by librdkafka and ours to free with its own function.
    unsafe {
        let text = sys::rd_kafka_clusterid(client.as_ptr(), timeout(wait_ms));
        if text.is_null() {
            return None;
        }
        let id = CStr::from_ptr(text).to_string_lossy().into_owned();
        sys::rd_kafka_mem_free(client.as_ptr(), text.cast());
        Some(id)
    }
}
