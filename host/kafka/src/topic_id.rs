#![expect(unsafe_code, reason = "librdkafka is a C library")]

use crate::client::{Client, timeout};
use rdkafka_sys as sys;
use std::ffi::{CStr, CString};

/// The id of a topic (KIP-516), which a topic made anew under the same name does not share. `None` if the brokers do not tell.
pub(crate) fn topic_id(client: &Client, topic: &str, wait_ms: u64) -> Option<String> {
    let topic = CString::new(topic).ok()?;
    let mut names = [topic.as_ptr()];
    // SAFETY: every object is made here, used while it lives, and destroyed once; strings are copied before their owner goes.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client.as_ptr());
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options =
            sys::rd_kafka_AdminOptions_new(client.as_ptr(), sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_DescribeTopics(client.as_ptr(), topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout(wait_ms));
        let id = if event.is_null() { None } else { id_of(event) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_queue_destroy(queue);
        id
    }
}

/// # Safety
/// `event` is a live event.
unsafe fn id_of(event: *mut sys::rd_kafka_event_t) -> Option<String> {
    // SAFETY: what is got from the event lives as long as it does; null is checked at each step.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if described.is_null() || count == 0 {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*described);
        if id.is_null() {
            return None;
        }
        let text = sys::rd_kafka_Uuid_base64str(id);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
