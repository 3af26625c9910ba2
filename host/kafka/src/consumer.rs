#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! Reads partitions of one topic in batches, without an allocation or a lock per message.

use crate::client::{Client, ClientKind, PartitionList, check, timeout};
use crate::error::KafkaError;
use crate::properties::Properties;
use rdkafka_sys as sys;
use std::ffi::{CString, c_void};
use std::ptr::NonNull;

/// Most messages taken at a time.
const TAKE_MAX: usize = 4_096;

/// Tells offsets that Millstream has mirrored from those that a person has set.
const SIGNATURE: &[u8] = b"millstream";

/// A consumer of partitions assigned by hand.
pub(crate) struct Consumer {
    queue: NonNull<sys::rd_kafka_queue_t>,
    topic: CString,
    messages: Vec<*mut sys::rd_kafka_message_t>,
    /// Last, so that it outlives the queue.
    client: Client,
}

// SAFETY: the queue is as thread-safe as its client; the messages are empty between calls.
unsafe impl Send for Consumer {}

/// What a consumer hands out.
pub(crate) enum Event<'a> {
    /// A record.
    Record(Message<'a>),
    /// The partition was read to its end, or to the first open transaction; the offset is the next one.
    End { partition: i32, next: i64 },
    /// The partition cannot be read on.
    Failed { partition: i32, code: sys::rd_kafka_resp_err_t, text: String },
}

/// A record in the memory of librdkafka.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a>(&'a sys::rd_kafka_message_t);

impl<'a> Message<'a> {
    pub(crate) fn partition(&self) -> i32 {
        self.0.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.0.offset
    }

    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka gives pointer and length of memory that lives as long as the message.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: as above.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// Milliseconds since 1970, -1 if the record has none.
    pub(crate) fn timestamp_ms(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) }
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message lives.
        unsafe { sys::rd_kafka_message_leader_epoch(self.0) }
    }

    /// Shows each header, in order.
    pub(crate) fn for_each_header(&self, mut show: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message lives and keeps its headers.
        let code = unsafe { sys::rd_kafka_message_headers(self.0, &mut headers) };
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for at in 0.. {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers live as long as the message; the name ends with zero.
            unsafe {
                let code = sys::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut size);
                if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                show(std::ffi::CStr::from_ptr(name).to_bytes(), bytes(value.cast_mut(), size));
            }
        }
    }
}

/// # Safety
/// `pointer` is null or points to `len` bytes that live for `'a`.
unsafe fn bytes<'a>(pointer: *mut c_void, len: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), len) })
}

impl Consumer {
    pub(crate) fn new(properties: &Properties, topic: &str) -> Result<Self, KafkaError> {
        let refused = |reason: &str| KafkaError::Topic { topic: topic.to_owned(), reason: reason.to_owned() };
        let c_topic = CString::new(topic).map_err(|_| refused("its name holds a zero byte"))?;
        let client = Client::new(properties, ClientKind::Consumer)?;
        // SAFETY: the client lives; errors of it go to the queue of the consumer.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client.as_ptr());
            sys::rd_kafka_queue_get_consumer(client.as_ptr())
        };
        let queue = NonNull::new(queue).ok_or_else(|| refused("the client has no queue"))?;
        Ok(Self { queue, topic: c_topic, messages: vec![std::ptr::null_mut(); TAKE_MAX], client })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn topic(&self) -> &CString {
        &self.topic
    }

    /// Reads these partitions from these offsets on, and nothing else. The third is the leader epoch of the record before, -1 if unknown; librdkafka
    /// checks by it that the log was not cut off and written anew.
    pub(crate) fn assign(&self, offsets: impl IntoIterator<Item = (i32, i64, i32)>) -> Result<(), String> {
        let list = PartitionList::with_epochs(&self.topic, offsets).ok_or("out of memory")?;
        // SAFETY: client and list live.
        check(unsafe { sys::rd_kafka_assign(self.client.as_ptr(), list.as_ptr()) })?;
        self.settle()
    }

    /// Waits until the fetchers of the assignment before have stopped. librdkafka (2.12, `rdkafka_assignment.c`) aborts the process when an assignment
    /// changes, or the consumer is closed, while they are still stopping. Its main thread takes requests and answers in order: when it answered one
    /// question it has told the fetchers to stop, and when it answered the next it has seen that they did.
    fn settle(&self) -> Result<(), String> {
        for _ in 0..2 {
            let mut list = std::ptr::null_mut();
            // SAFETY: the client lives; the list is ours if there is one.
            let code = unsafe {
                let code = sys::rd_kafka_assignment(self.client.as_ptr(), &mut list);
                if !list.is_null() {
                    sys::rd_kafka_topic_partition_list_destroy(list);
                }
                code
            };
            check(code)?;
        }
        Ok(())
    }

    /// Waits up to `wait_ms` for the first of at most `max` events, and shows what there is.
    pub(crate) fn take(&mut self, wait_ms: u64, max: usize, mut show: impl FnMut(Event<'_>)) -> usize {
        let max = max.min(self.messages.len());
        // SAFETY: the queue lives; at most `max` pointers are written, each to a message that we own.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), timeout(wait_ms), self.messages.as_mut_ptr(), max)
        };
        let count = usize::try_from(count).unwrap_or(0);
        for message in self.messages.iter_mut().take(count) {
            let pointer = std::mem::replace(message, std::ptr::null_mut());
            // SAFETY: the message is ours until it is destroyed below; nothing shown outlives `show`.
            unsafe {
                show(event(&*pointer));
                sys::rd_kafka_message_destroy(pointer);
            }
        }
        count
    }

    /// Tells the group's offsets, for tools that show lag. What becomes of it decides nothing.
    pub(crate) fn commit(&self, offsets: impl IntoIterator<Item = (i32, i64)>) {
        if let Some(list) = PartitionList::new(&self.topic, offsets) {
            list.sign(SIGNATURE);
            // SAFETY: client and list live; the call is asynchronous and copies the list.
            let code = unsafe { sys::rd_kafka_commit(self.client.as_ptr(), list.as_ptr(), 1) };
            if let Err(text) = check(code) {
                tracing::debug!(text, "group offsets not mirrored");
            }
        }
    }

    /// The group's offsets that somebody else than Millstream has set.
    pub(crate) fn foreign_offsets(&self, partitions: &[i32], wait_ms: u64) -> Result<Vec<(i32, i64)>, String> {
        let list = PartitionList::new(&self.topic, partitions.iter().map(|partition| (*partition, -1_001)));
        let list = list.ok_or("out of memory")?;
        // SAFETY: client and list live.
        check(unsafe { sys::rd_kafka_committed(self.client.as_ptr(), list.as_ptr(), timeout(wait_ms)) })?;
        let entries = list.found()?.into_iter().zip(list.signed_by(SIGNATURE));
        let foreign = entries.filter(|((_, offset), is_ours)| *offset >= 0 && !is_ours);
        Ok(foreign.map(|(entry, _)| entry).collect())
    }

    /// The group's offsets, where there are any.
    pub(crate) fn group_offsets(&self, partitions: &[i32], wait_ms: u64) -> Result<Vec<(i32, i64)>, String> {
        let list = PartitionList::new(&self.topic, partitions.iter().map(|partition| (*partition, -1_001)));
        let list = list.ok_or("out of memory")?;
        // SAFETY: client and list live.
        check(unsafe { sys::rd_kafka_committed(self.client.as_ptr(), list.as_ptr(), timeout(wait_ms)) })?;
        Ok(list.found()?.into_iter().filter(|(_, offset)| *offset >= 0).collect())
    }

    /// The first offset at or after a time, in milliseconds since 1970, for each partition; -1 (the end) where all are earlier.
    pub(crate) fn offsets_at(&self, partitions: &[i32], time_ms: i64, wait_ms: u64) -> Result<Vec<(i32, i64)>, String> {
        let list = PartitionList::new(&self.topic, partitions.iter().map(|partition| (*partition, time_ms)));
        let list = list.ok_or("out of memory")?;
        // SAFETY: client and list live.
        check(unsafe { sys::rd_kafka_offsets_for_times(self.client.as_ptr(), list.as_ptr(), timeout(wait_ms)) })?;
        list.found()
    }
}

fn event(message: &sys::rd_kafka_message_t) -> Event<'_> {
    use sys::rd_kafka_resp_err_t as code;
    match message.err {
        code::RD_KAFKA_RESP_ERR_NO_ERROR => Event::Record(Message(message)),
        code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Event::End { partition: message.partition, next: message.offset },
        failed => {
            // SAFETY: the payload of an error is a text that ends with zero, or null.
            let text = unsafe { bytes(message.payload, message.len) };
            let text = text.map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
            let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| crate::client::code_text(failed));
            Event::Failed { partition: message.partition, code: failed, text }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: ours; the client lives until after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}
