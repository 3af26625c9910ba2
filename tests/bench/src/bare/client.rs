#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! The few calls of librdkafka that the baseline needs, with their errors.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use anyhow::{Context as _, Result, bail};
use rdkafka_sys as sys;

/// What librdkafka calls a message.
pub(super) type Message = sys::rd_kafka_message_t;

/// A client; never closed, its process ends instead.
pub(super) struct Client(*mut sys::rd_kafka_t);

/// A handle of a topic to produce to.
pub(super) struct Topic(*mut sys::rd_kafka_topic_t);

/// Time for what should take none, in milliseconds.
const PATIENCE_MS: i32 = 30_000;

fn text(code: sys::rd_kafka_resp_err_t) -> String {
    // SAFETY: librdkafka returns a constant string for every code.
    unsafe { CStr::from_ptr(sys::rd_kafka_err2str(code)) }.to_string_lossy().into_owned()
}

fn done(what: &str, code: sys::rd_kafka_resp_err_t) -> Result<()> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => bail!("{what}: {}", text(code)),
    }
}

fn succeeded(what: &str, error: *mut sys::rd_kafka_error_t) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error is ours and lives until it is destroyed here.
    let reason = unsafe {
        let reason = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        sys::rd_kafka_error_destroy(error);
        reason
    };
    bail!("{what}: {reason}")
}

impl Client {
    pub(super) fn new(kind: sys::rd_kafka_type_t, properties: &[(&str, &str)]) -> Result<Self> {
        let mut reason = [0 as c_char; 256];
        // SAFETY: the configuration is given to the client; strings end with zero; `reason` has the length given.
        unsafe {
            let configuration = sys::rd_kafka_conf_new();
            for (name, value) in properties {
                let (c_name, c_value) = (CString::new(*name)?, CString::new(*value)?);
                let set = sys::rd_kafka_conf_set(
                    configuration,
                    c_name.as_ptr(),
                    c_value.as_ptr(),
                    reason.as_mut_ptr(),
                    reason.len(),
                );
                if set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    bail!("{name}: {}", CStr::from_ptr(reason.as_ptr()).to_string_lossy());
                }
            }
            let client = sys::rd_kafka_new(kind, configuration, reason.as_mut_ptr(), reason.len());
            if client.is_null() {
                bail!("no client: {}", CStr::from_ptr(reason.as_ptr()).to_string_lossy());
            }
            Ok(Self(client))
        }
    }

    pub(super) fn topic(&self, name: &str) -> Result<Topic> {
        let name = CString::new(name)?;
        // SAFETY: the client lives, the name ends with zero, null stands for the defaults.
        let topic = unsafe { sys::rd_kafka_topic_new(self.0, name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() { bail!("no handle of topic {name:?}") } else { Ok(Topic(topic)) }
    }

    /// Reads these partitions from their beginnings.
    pub(super) fn assign(&self, topic: &str, partitions: i32) -> Result<()> {
        let topic = CString::new(topic)?;
        // SAFETY: the list is ours until it is destroyed; librdkafka copies it.
        let code = unsafe {
            sys::rd_kafka_poll_set_consumer(self.0);
            let list = sys::rd_kafka_topic_partition_list_new(partitions);
            for partition in 0..partitions {
                let entry = sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition);
                (*entry).offset = i64::from(sys::RD_KAFKA_OFFSET_BEGINNING);
            }
            let code = sys::rd_kafka_assign(self.0, list);
            sys::rd_kafka_topic_partition_list_destroy(list);
            code
        };
        done("assigning", code)
    }

    /// Up to `messages.len()` messages; how many there are.
    pub(super) fn consume(&self, messages: &mut [*mut Message], timeout_ms: i32) -> usize {
        // SAFETY: the queue is released after the call; at most as many pointers are written as there is room for.
        let count = unsafe {
            let queue = sys::rd_kafka_queue_get_consumer(self.0);
            let count = sys::rd_kafka_consume_batch_queue(queue, timeout_ms, messages.as_mut_ptr(), messages.len());
            sys::rd_kafka_queue_destroy(queue);
            count
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// Looks at a consumed message and gives it back.
    pub(super) fn with_message<T>(message: *mut Message, look: impl FnOnce(&Message) -> T) -> T {
        // SAFETY: the pointer is one that `consume` wrote, and is not used after this.
        unsafe { look(&*message) }
    }

    /// Gives consumed messages back.
    pub(super) fn release(messages: &[*mut Message]) {
        for message in messages {
            // SAFETY: each was written by `consume` and is released once.
            unsafe { sys::rd_kafka_message_destroy(*message) };
        }
    }

    pub(super) fn poll(&self, timeout_ms: i32) {
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_poll(self.0, timeout_ms) };
    }

    /// Queues messages for a partition, waiting where the queue is full.
    pub(super) fn produce(&self, topic: &Topic, partition: i32, messages: &mut Vec<Message>) -> Result<()> {
        while !messages.is_empty() {
            let count = i32::try_from(messages.len())?;
            let copied = sys::RD_KAFKA_MSG_F_COPY;
            // SAFETY: handles live; keys and values are copied before the call returns.
            let queued =
                unsafe { sys::rd_kafka_produce_batch(topic.0, partition, copied, messages.as_mut_ptr(), count) };
            if queued == count {
                messages.clear();
                return Ok(());
            }
            messages.retain(|message| message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
            let full = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL;
            if let Some(failed) = messages.iter().find(|message| message.err != full) {
                bail!("producing: {}", text(failed.err));
            }
            self.poll(10);
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<()> {
        // SAFETY: the client lives.
        done("flushing", unsafe { sys::rd_kafka_flush(self.0, PATIENCE_MS) })
    }

    pub(super) fn init_transactions(&self) -> Result<()> {
        // SAFETY: the client lives; the error is taken over.
        succeeded("taking the transactional id", unsafe { sys::rd_kafka_init_transactions(self.0, PATIENCE_MS) })
    }

    pub(super) fn begin(&self) -> Result<()> {
        // SAFETY: as above.
        succeeded("beginning", unsafe { sys::rd_kafka_begin_transaction(self.0) })
    }

    /// Commits what was produced together with the positions of whoever reads `topic`.
    pub(super) fn commit(&self, group: &str, topic: &str, next: &[i64]) -> Result<()> {
        let (group, topic) = (CString::new(group)?, CString::new(topic)?);
        // SAFETY: list and metadata are ours and destroyed after the calls that copy them.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(i32::try_from(next.len())?);
            for (partition, offset) in (0..).zip(next) {
                (*sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition)).offset = *offset;
            }
            let metadata = sys::rd_kafka_consumer_group_metadata_new(group.as_ptr());
            let sent = sys::rd_kafka_send_offsets_to_transaction(self.0, list, metadata, PATIENCE_MS);
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            sys::rd_kafka_topic_partition_list_destroy(list);
            succeeded("sending positions", sent)?;
            succeeded("committing", sys::rd_kafka_commit_transaction(self.0, PATIENCE_MS)).context("the baseline")
        }
    }
}
