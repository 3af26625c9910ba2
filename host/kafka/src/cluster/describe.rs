#![expect(unsafe_code, reason = "librdkafka is a C library")]

use crate::client::{Client, timeout};
use rdkafka_sys as sys;
use std::ffi::{CStr, CString};

/// What the user of a client may do with a topic.
pub(super) type Operation = sys::rd_kafka_AclOperation_t;

/// What brokers say of a topic beside its partitions.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// The topic's id (KIP-516), which one made anew under the same name does not share. Empty if the brokers do not tell.
    pub(super) id: String,
    /// What the user may do (KIP-430). Empty if the brokers do not tell.
    pub(super) operations: Vec<Operation>,
}

impl Description {
    /// Whether the user may do this, as far as can be told.
    pub(super) fn allows(&self, operation: Operation) -> bool {
        self.operations.is_empty() || self.operations.contains(&operation)
    }
}

/// Asks the brokers to describe a topic. What they do not tell is left empty.
pub(super) fn describe(client: &Client, topic: &str, wait_ms: u64) -> Description {
    let Ok(topic) = CString::new(topic) else { return Description::default() };
    let mut names = [topic.as_ptr()];
    let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let send = |options, queue| {
        // SAFETY: the names live longer than the collection, which is destroyed once; options and queue are live.
        unsafe {
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            sys::rd_kafka_DescribeTopics(client.as_ptr(), topics, options, queue);
            sys::rd_kafka_TopicCollection_destroy(topics);
        }
    };
    // SAFETY: the event is live.
    ask(client, kind, wait_ms, send, |event| unsafe { description_of(event) }).flatten().unwrap_or_default()
}

/// Whether the user may read and write the offsets of a group; true if the brokers do not tell.
pub(super) fn may_use_group(client: &Client, group: &str, wait_ms: u64) -> bool {
    let Ok(group) = CString::new(group) else { return true };
    let mut names = [group.as_ptr()];
    let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let send = |options, queue| {
        // SAFETY: the names, options and queue are live.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(client.as_ptr(), names.as_mut_ptr(), names.len(), options, queue);
        }
    };
    // SAFETY: the event is live.
    ask(client, kind, wait_ms, send, |event| unsafe { may_use(event) }).unwrap_or(true)
}

/// Sends a request of the admin interface that asks what the user may do as well, and reads the answer; none if none comes in time.
fn ask<T>(
    client: &Client,
    kind: sys::rd_kafka_admin_op_t,
    wait_ms: u64,
    send: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    read: impl FnOnce(*mut sys::rd_kafka_event_t) -> T,
) -> Option<T> {
    // SAFETY: every object is made here, used while it lives, and destroyed once; what is read is copied before the event goes.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client.as_ptr());
        let options = sys::rd_kafka_AdminOptions_new(client.as_ptr(), kind);
        let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        if !refused.is_null() {
            sys::rd_kafka_error_destroy(refused);
        }
        send(options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout(wait_ms));
        let found = if event.is_null() { None } else { Some(read(event)) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        found
    }
}

/// # Safety
/// `event` is a live event.
unsafe fn description_of(event: *mut sys::rd_kafka_event_t) -> Option<Description> {
    // SAFETY: what is got from the event lives as long as it does; null is checked at each step; counts and pointers belong together.
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
        let text = if id.is_null() { std::ptr::null() } else { sys::rd_kafka_Uuid_base64str(id) };
        let id = if text.is_null() { String::new() } else { as_kafka_shows(&CStr::from_ptr(text).to_string_lossy()) };
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(*described, &mut count);
        let operations = match operations.is_null() || count == 0 {
            true => Vec::new(),
            false => std::slice::from_raw_parts(operations, count).to_vec(),
        };
        Some(Description { id, operations })
    }
}

/// # Safety
/// `event` is a live event.
unsafe fn may_use(event: *mut sys::rd_kafka_event_t) -> bool {
    const REFUSED: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    const NEEDED: Operation = Operation::RD_KAFKA_ACL_OPERATION_READ;
    // SAFETY: what is got from the event lives as long as it does; null is checked at each step; counts and pointers belong together.
    unsafe {
        if sys::rd_kafka_event_error(event) == REFUSED {
            return false;
        }
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
        if result.is_null() {
            return true;
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        if described.is_null() || count == 0 {
            return true;
        }
        let error = sys::rd_kafka_ConsumerGroupDescription_error(*described);
        if !error.is_null() && sys::rd_kafka_error_code(error) == REFUSED {
            return false;
        }
        let operations = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(*described, &mut count);
        operations.is_null() || count == 0 || std::slice::from_raw_parts(operations, count).contains(&NEEDED)
    }
}

/// An id of librdkafka, which uses the plain base 64, in the URL-safe one that Kafka's own tools show (`org.apache.kafka.common.Uuid`).
fn as_kafka_shows(id: &str) -> String {
    id.replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::as_kafka_shows;

    #[test]
    fn an_id_is_written_as_kafka_s_tools_write_it() {
        assert_eq!(as_kafka_shows("91efI2zG+HaR9/vihpb1PA"), "91efI2zG-HaR9_vihpb1PA");
    }
}
