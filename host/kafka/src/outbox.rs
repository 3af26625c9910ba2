#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! Records on their way to a topic, laid out for librdkafka's batch call: one list of messages per partition, so that a batch takes the locks of a partition
//! and the clock once, and not once a record.
//!
//! That call stamps every message with the current time. The time a record has of its own rides in the message's opaque, and the producer's `on_send`
//! interceptor puts it where librdkafka keeps it. The header asks interceptors to leave messages alone, so this is done for the one version whose layout is
//! known, after the field was seen to hold what librdkafka says it holds; otherwise records go one by one (docs/decisions/0021).

use rdkafka_sys as sys;
use std::ffi::{c_int, c_void};

/// The version of librdkafka whose messages are laid out like [`Head`].
const KNOWN_VERSION: c_int = 0x020c_01ff;

/// How a message begins inside librdkafka 2.12.1 (`rd_kafka_msg_t` in rdkafka_msg.h).
#[repr(C)]
struct Head {
    message: sys::rd_kafka_message_t,
    link: [*mut c_void; 2],
    flags: c_int,
    timestamp_kind: sys::rd_kafka_timestamp_type_t,
    timestamp_ms: i64,
}

/// Whether messages are laid out as this module knows them.
pub(crate) fn can_stamp() -> bool {
    // SAFETY: takes nothing, returns a number.
    unsafe { sys::rd_kafka_version() == KNOWN_VERSION }
}

/// Gives a message the timestamp in its opaque, if there is one.
///
/// # Safety
/// `message` is one that librdkafka has just made and not yet queued.
pub(crate) unsafe fn stamp(message: *mut sys::rd_kafka_message_t) {
    // SAFETY: by the contract of this function; the version was checked before any message had a timestamp in its opaque.
    unsafe {
        let timestamp_ms = (*message)._private as i64;
        if timestamp_ms == 0 {
            return;
        }
        let place = &raw mut (*message.cast::<Head>()).timestamp_ms;
        if *place == sys::rd_kafka_message_timestamp(message, std::ptr::null_mut()) {
            *place = timestamp_ms;
        }
    }
}

/// Messages of one call, by partition. They point into the batch they were made of, and are gone before the call returns.
#[derive(Default)]
pub(crate) struct Outbox {
    partitions: Vec<Vec<sys::rd_kafka_message_t>>,
}

// SAFETY: between calls there is no message in it, so no pointer.
unsafe impl Send for Outbox {}

impl Outbox {
    /// Forgets everything and makes room for that many partitions.
    pub(crate) fn clear(&mut self, partitions: usize) {
        self.partitions.iter_mut().for_each(Vec::clear);
        if self.partitions.len() < partitions {
            self.partitions.resize_with(partitions, Vec::new);
        }
    }

    /// Adds a record; one without a timestamp gets the current time.
    #[inline]
    pub(crate) fn push(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, timestamp_ms: Option<i64>) {
        let Some(messages) = self.partitions.get_mut(partition as usize) else { return };
        // A present but empty slice has a pointer that is not null, which is what tells it from none.
        messages.push(sys::rd_kafka_message_t {
            err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: std::ptr::null_mut(),
            partition,
            payload: value.map_or(std::ptr::null_mut(), |value| value.as_ptr().cast_mut().cast()),
            len: value.map_or(0, <[u8]>::len),
            key: key.map_or(std::ptr::null_mut(), |key| key.as_ptr().cast_mut().cast()),
            key_len: key.map_or(0, <[u8]>::len),
            offset: 0,
            _private: timestamp_ms.map_or(0, representable) as *mut c_void,
        });
    }

    /// The messages of each partition that has some.
    pub(crate) fn partitions(&mut self) -> impl Iterator<Item = (i32, &mut Vec<sys::rd_kafka_message_t>)> {
        (0..).zip(&mut self.partitions).filter(|(_, messages)| !messages.is_empty())
    }
}

/// The nearest timestamp that librdkafka can be given: to it, zero means now.
pub(crate) fn representable(timestamp_ms: i64) -> i64 {
    if timestamp_ms == 0 { 1 } else { timestamp_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new version of librdkafka wants a look at `rd_kafka_msg_t` first.
    #[test]
    fn the_layout_of_the_version_linked_is_known() {
        assert!(can_stamp());
        assert_eq!(sys::RD_KAFKA_VERSION, KNOWN_VERSION);
    }
}
