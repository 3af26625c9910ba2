#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! A librdkafka client and its parts, owned.

use crate::error::KafkaError;
use crate::properties::{Properties, is_secret};
use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;

/// Room for librdkafka's error texts.
pub(crate) const TEXT_BYTES: usize = 512;

/// Whether a client reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientKind {
    Consumer,
    Producer,
}

/// A client. Its functions are safe to call from any thread.
#[derive(Debug)]
pub(crate) struct Client(NonNull<sys::rd_kafka_t>);

// SAFETY: librdkafka's handles are thread-safe (INTRODUCTION.md, "Threads and callbacks").
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

/// A configuration that was not yet made a client of.
pub(crate) struct Configuration {
    conf: NonNull<sys::rd_kafka_conf_t>,
    secrets: Vec<String>,
}

impl Configuration {
    /// Sets every property.
    ///
    /// # Errors
    /// When one is unknown or has a wrong value.
    pub(crate) fn new(properties: &Properties) -> Result<Self, KafkaError> {
        // SAFETY: takes nothing; returns a configuration that we own.
        let conf = unsafe { sys::rd_kafka_conf_new() };
        let Some(conf) = NonNull::new(conf) else {
            return Err(KafkaError::Property { name: "(all)".to_owned(), reason: "out of memory".to_owned() });
        };
        let secrets = properties.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value.to_owned());
        let configuration = Self { conf, secrets: secrets.collect() };
        crate::logging::to_tracing(&configuration);
        for (name, value) in properties.iter() {
            configuration.set(name, value)?;
        }
        Ok(configuration)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), KafkaError> {
        let refused = |reason: String| KafkaError::Property { name: name.to_owned(), reason };
        let (Ok(c_name), Ok(c_value)) = (CString::new(name), CString::new(value)) else {
            return Err(refused("it holds a zero byte".to_owned()));
        };
        let mut text = [0 as c_char; TEXT_BYTES];
        // SAFETY: the configuration is ours and the strings end with zero; `text` has the length given.
        let result = unsafe {
            sys::rd_kafka_conf_set(self.as_ptr(), c_name.as_ptr(), c_value.as_ptr(), text.as_mut_ptr(), text.len())
        };
        match result {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => {
                let hint = crate::known::nearest(name).map(|known| format!("; did you mean `{known}`?"));
                let hint = hint.unwrap_or_else(|| "; its CONFIGURATION.md has the names".to_owned());
                Err(refused(format!("librdkafka does not know it{hint}")))
            }
            _ if is_secret(name) => Err(refused("librdkafka does not accept its value".to_owned())),
            _ => Err(refused(text_of(&text))),
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rd_kafka_conf_t {
        self.conf.as_ptr()
    }

    /// A text without the values of secrets.
    fn hide(&self, text: String) -> String {
        let secrets = self.secrets.iter().filter(|secret| !secret.is_empty());
        secrets.fold(text, |text, secret| text.replace(secret.as_str(), "(hidden)"))
    }

    /// Makes the client.
    ///
    /// # Errors
    /// When properties contradict each other, or a key or certificate cannot be read.
    pub(crate) fn create(self, kind: ClientKind) -> Result<Client, KafkaError> {
        let mut text = [0 as c_char; TEXT_BYTES];
        let kind = match kind {
            ClientKind::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            ClientKind::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        // SAFETY: the configuration is ours; it belongs to the client if one is made.
        let client = unsafe { sys::rd_kafka_new(kind, self.as_ptr(), text.as_mut_ptr(), text.len()) };
        match NonNull::new(client) {
            Some(client) => {
                // The client owns it now.
                std::mem::forget(self);
                Ok(Client(client))
            }
            None => {
                let reason = self.hide(text_of(&text));
                Err(KafkaError::Property { name: "(together)".to_owned(), reason })
            }
        }
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        // SAFETY: ours, and no client was made of it.
        unsafe { sys::rd_kafka_conf_destroy(self.as_ptr()) }
    }
}

impl Client {
    /// Makes a client of properties alone.
    pub(crate) fn new(properties: &Properties, kind: ClientKind) -> Result<Self, KafkaError> {
        Configuration::new(properties)?.create(kind)
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rd_kafka_t {
        self.0.as_ptr()
    }

    /// Lets what has happened be reported.
    pub(crate) fn serve(&self) {
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_poll(self.as_ptr(), 0) };
    }

    /// First and next offset of a partition, asked of the broker.
    pub(crate) fn watermarks(&self, topic: &str, partition: i32, timeout_ms: i32) -> Result<(i64, i64), String> {
        let c_topic = CString::new(topic).map_err(|error| error.to_string())?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client lives, the string ends with zero, the offsets are written before the return.
        let code = unsafe {
            sys::rd_kafka_query_watermark_offsets(
                self.as_ptr(),
                c_topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
                timeout_ms,
            )
        };
        check(code)?;
        Ok((low, high))
    }

    /// First and next offset of a partition as last heard.
    pub(crate) fn known_watermarks(&self, topic: &CStr, partition: i32) -> Option<(i64, i64)> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: as above.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(self.as_ptr(), topic.as_ptr(), partition, &mut low, &mut high)
        };
        check(code).ok().map(|()| (low, high))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: ours; nothing borrowed from it outlives it.
        unsafe { sys::rd_kafka_destroy(self.0.as_ptr()) }
    }
}

/// A topic handle of a client, which must outlive it.
#[derive(Debug)]
pub(crate) struct TopicHandle(NonNull<sys::rd_kafka_topic_t>);

// SAFETY: as for the client.
unsafe impl Send for TopicHandle {}

impl TopicHandle {
    pub(crate) fn new(client: &Client, topic: &str) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives; no configuration of the topic's own is given.
        let handle = unsafe { sys::rd_kafka_topic_new(client.as_ptr(), topic.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(handle).map(Self)
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rd_kafka_topic_t {
        self.0.as_ptr()
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

/// A list of partitions with offsets.
pub(crate) struct PartitionList(NonNull<sys::rd_kafka_topic_partition_list_t>);

impl PartitionList {
    pub(crate) fn new(topic: &CStr, offsets: impl IntoIterator<Item = (i32, i64)>) -> Option<Self> {
        Self::with_epochs(topic, offsets.into_iter().map(|(partition, offset)| (partition, offset, -1)))
    }

    /// The third of an entry is the leader epoch of the record before the offset, -1 if unknown.
    pub(crate) fn with_epochs(topic: &CStr, offsets: impl IntoIterator<Item = (i32, i64, i32)>) -> Option<Self> {
        // SAFETY: returns a list that we own.
        let list = Self(NonNull::new(unsafe { sys::rd_kafka_topic_partition_list_new(8) })?);
        for (partition, offset, leader_epoch) in offsets {
            // SAFETY: the list is ours; the entry lives as long as the list is not changed.
            unsafe {
                let entry = sys::rd_kafka_topic_partition_list_add(list.as_ptr(), topic.as_ptr(), partition);
                (*entry).offset = offset;
                sys::rd_kafka_topic_partition_set_leader_epoch(entry, leader_epoch);
            }
        }
        Some(list)
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }

    /// Partitions and offsets, or the first refusal: brokers that refuse a group say so of each partition.
    pub(crate) fn found(&self) -> Result<Vec<(i32, i64)>, String> {
        self.raw().iter().map(|entry| check(entry.err).map(|()| (entry.partition, entry.offset))).collect()
    }

    fn raw(&self) -> &[sys::rd_kafka_topic_partition_t] {
        // SAFETY: the list has `cnt` entries.
        unsafe {
            let list = self.0.as_ref();
            std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0))
        }
    }

    /// Whether each entry has this text as its metadata.
    pub(crate) fn signed_by(&self, text: &[u8]) -> Vec<bool> {
        let signed = |entry: &sys::rd_kafka_topic_partition_t| {
            // SAFETY: the metadata has that size.
            !entry.metadata.is_null()
                && unsafe { std::slice::from_raw_parts(entry.metadata.cast::<u8>(), entry.metadata_size) } == text
        };
        self.raw().iter().map(signed).collect()
    }

    /// Gives every entry this text as its metadata.
    pub(crate) fn sign(&self, text: &[u8]) {
        // SAFETY: the list has `cnt` entries; librdkafka frees the metadata with the list, so it is of its own allocator.
        unsafe {
            let list = self.0.as_ref();
            for at in 0..usize::try_from(list.cnt).unwrap_or(0) {
                let entry = list.elems.add(at);
                let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), text.len());
                if !copy.is_null() {
                    std::ptr::copy_nonoverlapping(text.as_ptr(), copy.cast(), text.len());
                    (*entry).metadata = copy;
                    (*entry).metadata_size = text.len();
                }
            }
        }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
    }
}

/// The text of an error code; `Ok` for none.
pub(crate) fn check(code: sys::rd_kafka_resp_err_t) -> Result<(), String> {
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    Err(code_text(code))
}

/// Name and text of an error code.
pub(crate) fn code_text(code: sys::rd_kafka_resp_err_t) -> String {
    // SAFETY: both return constant strings.
    let (name, text) =
        unsafe { (CStr::from_ptr(sys::rd_kafka_err2name(code)), CStr::from_ptr(sys::rd_kafka_err2str(code))) };
    format!("{} ({})", text.to_string_lossy(), name.to_string_lossy())
}

pub(crate) fn text_of(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Milliseconds as librdkafka takes them.
pub(crate) fn timeout(ms: u64) -> c_int {
    c_int::try_from(ms).unwrap_or(c_int::MAX)
}
