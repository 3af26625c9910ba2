#![expect(unsafe_code, reason = "librdkafka is a C library")]
//! A transactional producer: a thin cover over librdkafka's, one step a call.

use crate::client::{Client, ClientKind, Configuration, TEXT_BYTES, TopicHandle, code_text, text_of, timeout};
use crate::connections::Connections;
use crate::error::KafkaError;
use crate::outbox::{Outbox, representable};
use crate::properties::Properties;
use millstream_engine::ports::{LogError, LogErrorKind};
use millstream_model::column::HeadersColumn;
use rdkafka_sys as sys;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a full queue is served before the next try, in milliseconds.
const QUEUE_WAIT_MS: u64 = 10;

/// How long one wait for deliveries takes, in milliseconds.
const FLUSH_WAIT_MS: u64 = 200;

/// The first delivery that failed, and why.
type FirstFailure = Mutex<Option<(sys::rd_kafka_resp_err_t, String)>>;

/// See the module. Dropping it closes connections and may take a while.
pub(crate) struct Producer {
    // Dropped in this order: handles go before their client, and what its callbacks use goes after it.
    topics: Vec<TopicHandle>,
    client: Client,
    failure: Arc<FirstFailure>,
    connections: Arc<Connections>,
}

/// A record to be produced.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Milliseconds since 1970; without one it is the current time.
    pub(crate) timestamp_ms: Option<i64>,
    /// Headers and the row among them.
    pub(crate) headers: Option<(&'a HeadersColumn, u32)>,
}

/// Called by librdkafka from `poll` and `flush` for messages that were not delivered.
unsafe extern "C" fn on_delivery(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque is the mutex of the producer, which outlives its client; the message lives during the call.
    let (failure, message) = unsafe { (&*opaque.cast::<FirstFailure>(), &*message) };
    if message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| {
            // SAFETY: the topic lives as long as the message; its name ends with zero.
            let topic = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)).to_string_lossy() };
            (message.err, format!("a record for topic `{topic}`, partition {}", message.partition))
        });
    }
}

impl Producer {
    /// Makes the client, with handles for topics.
    pub(crate) fn new(properties: &Properties, topics: &[String]) -> Result<Self, KafkaError> {
        let configuration = Configuration::new(properties)?;
        let failure = Arc::new(FirstFailure::default());
        let connections = Arc::new(Connections::default());
        // SAFETY: the configuration is ours; the opaque lives in this value, which is dropped after the client.
        unsafe {
            sys::rd_kafka_conf_set_dr_msg_cb(configuration.as_ptr(), Some(on_delivery));
            sys::rd_kafka_conf_set_opaque(configuration.as_ptr(), Arc::as_ptr(&failure).cast_mut().cast());
        }
        connections.watch(&configuration);
        let client = configuration.create(ClientKind::Producer)?;
        let handles = topics.iter().map(|topic| TopicHandle::new(&client, topic)).collect::<Option<Vec<_>>>();
        let handles = handles.ok_or_else(|| KafkaError::Topic {
            topic: topics.join(", "),
            reason: "a name cannot be used".to_owned(),
        })?;
        Ok(Self { topics: handles, client, failure, connections })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn connections_lost(&self) -> u64 {
        self.connections.lost()
    }

    pub(crate) fn init(&self, wait_ms: u64) -> Result<(), LogError> {
        // SAFETY: the client lives.
        let error = unsafe { sys::rd_kafka_init_transactions(self.client.as_ptr(), timeout(wait_ms)) };
        outcome("taking over the transactional id", error)
    }

    pub(crate) fn begin(&self) -> Result<(), LogError> {
        // SAFETY: the client lives.
        let error = unsafe { sys::rd_kafka_begin_transaction(self.client.as_ptr()) };
        outcome("beginning a transaction", error)
    }

    pub(crate) fn end(&self, wait_ms: u64) -> Result<(), LogError> {
        // SAFETY: the client lives.
        let error = unsafe { sys::rd_kafka_commit_transaction(self.client.as_ptr(), timeout(wait_ms)) };
        outcome("committing a transaction", error)
    }

    /// Queues a record for the topic at a position of `topics`; waits while the queue is full.
    pub(crate) fn produce(&self, topic: usize, record: &Outgoing<'_>) -> Result<(), LogError> {
        let topic = self.topic(topic)?;
        let mut values = [argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END, Union { i: 0 }); 7];
        let mut count = 0;
        let mut give = |value| {
            if let Some(place) = values.get_mut(count) {
                *place = value;
                count += 1;
            }
        };
        give(argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT, Union { rkt: topic.as_ptr() }));
        give(argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION, Union { i32_: record.partition }));
        give(argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, Union { i: sys::RD_KAFKA_MSG_F_COPY as c_int }));
        give(argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY, Union { mem: memory(record.key) }));
        give(argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, Union { mem: memory(record.value) }));
        if let Some(timestamp_ms) = record.timestamp_ms.map(representable) {
            give(argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP, Union { i64_: timestamp_ms }));
        }
        let headers = record.headers.map(|(headers, row)| make_headers(headers, row));
        if let Some(headers) = headers {
            give(argument(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS, Union { headers }));
        }
        loop {
            // SAFETY: the client and its topic live, the memory is copied before the return; headers are ours until taken with success.
            let error = unsafe { sys::rd_kafka_produceva(self.client.as_ptr(), values.as_ptr(), count) };
            if error.is_null() {
                return Ok(());
            }
            // SAFETY: the error is not null.
            let is_full =
                unsafe { sys::rd_kafka_error_code(error) } == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL;
            if is_full {
                // SAFETY: ours; the client lives.
                unsafe { sys::rd_kafka_error_destroy(error) };
                self.serve(QUEUE_WAIT_MS);
                self.check_deliveries()?;
                continue;
            }
            if let Some(headers) = headers {
                // SAFETY: still ours, as the call failed.
                unsafe { sys::rd_kafka_headers_destroy(headers) };
            }
            return outcome("producing", error);
        }
    }

    /// Queues the records of an outbox for the topic at a position of `topics`; waits while the queue is full.
    pub(crate) fn produce_all(&self, topic: usize, outbox: &mut Outbox) -> Result<(), LogError> {
        let topic = self.topic(topic)?;
        for (partition, messages) in outbox.partitions() {
            self.produce_partition(topic, partition, messages)?;
        }
        Ok(())
    }

    fn produce_partition(
        &self,
        topic: &TopicHandle,
        partition: i32,
        messages: &mut Vec<sys::rd_kafka_message_t>,
    ) -> Result<(), LogError> {
        use sys::rd_kafka_resp_err_t as code;
        loop {
            let count = messages.len() as c_int;
            let flags = sys::RD_KAFKA_MSG_F_COPY as c_int;
            // SAFETY: the client and its topic live; `count` messages are there, whose memory is copied before the return.
            let queued =
                unsafe { sys::rd_kafka_produce_batch(topic.as_ptr(), partition, flags, messages.as_mut_ptr(), count) };
            if queued == count {
                return Ok(());
            }
            let is_queued = |message: &sys::rd_kafka_message_t| message.err == code::RD_KAFKA_RESP_ERR_NO_ERROR;
            messages.retain(|message| !is_queued(message));
            if let Some(failed) = messages.iter().find(|message| message.err != code::RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                return Err(failure("producing", failed.err, false, code_text(failed.err)));
            }
            self.serve(QUEUE_WAIT_MS);
            self.check_deliveries()?;
        }
    }

    fn topic(&self, place: usize) -> Result<&TopicHandle, LogError> {
        self.topics.get(place).ok_or_else(|| LogError {
            kind: LogErrorKind::Fatal,
            during: "producing".to_owned(),
            reason: "the sink has no topic".to_owned(),
        })
    }

    /// Lets deliveries be reported.
    pub(crate) fn serve(&self, wait_ms: u64) {
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_poll(self.client.as_ptr(), timeout(wait_ms)) };
    }

    /// Waits until everything is delivered or has failed; `message.timeout.ms` bounds it.
    pub(crate) fn flush(&self) -> Result<(), LogError> {
        while !self.flush_for(FLUSH_WAIT_MS)? {}
        Ok(())
    }

    /// Waits that long; tells whether everything is delivered.
    pub(crate) fn flush_for(&self, wait_ms: u64) -> Result<bool, LogError> {
        // SAFETY: the client lives.
        let code = unsafe { sys::rd_kafka_flush(self.client.as_ptr(), timeout(wait_ms)) };
        self.check_deliveries()?;
        Ok(code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
    }

    /// Whether everything that was answered so far was delivered.
    pub(crate) fn check_deliveries(&self) -> Result<(), LogError> {
        let first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((code, record)) = first.as_ref() else { return Ok(()) };
        // What is fatal to the producer fails every record that is under way, for reasons that say less.
        let (code, reason) = self.fatal_error().unwrap_or_else(|| (*code, "it was not delivered".to_owned()));
        Err(failure("delivering records", code, false, format!("{record}: {reason}")))
    }

    fn fatal_error(&self) -> Option<(sys::rd_kafka_resp_err_t, String)> {
        let mut text = [0 as c_char; TEXT_BYTES];
        // SAFETY: the client lives; the text has the length given.
        let code = unsafe { sys::rd_kafka_fatal_error(self.client.as_ptr(), text.as_mut_ptr(), text.len()) };
        (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| (code, text_of(&text)))
    }
}

type Union = sys::rd_kafka_vu_s__bindgen_ty_1;

fn argument(vtype: sys::rd_kafka_vtype_t, u: Union) -> sys::rd_kafka_vu_t {
    sys::rd_kafka_vu_t { vtype, u }
}

fn memory(bytes: Option<&[u8]>) -> sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    // An empty slice has a pointer that is not null, which is what tells it from none.
    sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: bytes.map_or(std::ptr::null_mut(), |bytes| bytes.as_ptr().cast_mut().cast()),
        size: bytes.map_or(0, <[u8]>::len),
    }
}

fn make_headers(headers: &HeadersColumn, row: u32) -> *mut sys::rd_kafka_headers_t {
    // SAFETY: returns headers that we own.
    let made = unsafe { sys::rd_kafka_headers_new(8) };
    for (name, value) in headers.of(row) {
        let (pointer, size) = value.map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len()));
        // SAFETY: the headers are ours; name and value are copied.
        unsafe {
            sys::rd_kafka_header_add(
                made,
                name.as_ptr().cast(),
                isize::try_from(name.len()).unwrap_or(0),
                pointer.cast(),
                isize::try_from(size).unwrap_or(0),
            );
        }
    }
    made
}

/// What an error object means; takes it.
fn outcome(during: &str, error: *mut sys::rd_kafka_error_t) -> Result<(), LogError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null and ours; the text is copied before it is destroyed.
    let (failed, is_retriable, reason) = unsafe {
        let failed = sys::rd_kafka_error_code(error);
        let is_retriable = sys::rd_kafka_error_is_retriable(error) != 0;
        let text = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        sys::rd_kafka_error_destroy(error);
        (failed, is_retriable, text)
    };
    Err(failure(during, failed, is_retriable, reason))
}

fn failure(during: &str, failed: sys::rd_kafka_resp_err_t, is_retriable: bool, reason: String) -> LogError {
    use sys::rd_kafka_resp_err_t as code;
    let kind = match failed {
        code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
        | code::RD_KAFKA_RESP_ERR__AUTHENTICATION
        | code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => LogErrorKind::Fatal,
        code::RD_KAFKA_RESP_ERR__FENCED
        | code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED
        | code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        | code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING
        | code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID
        | code::RD_KAFKA_RESP_ERR__FATAL => LogErrorKind::MaybeFenced,
        _ if is_retriable => LogErrorKind::Retriable,
        _ => LogErrorKind::Unknown,
    };
    let advice = match failed {
        code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED => {
            "; the user needs WRITE and DESCRIBE on the transactional id, which is the pipeline's `id`"
        }
        code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => "; the user needs WRITE on the topic",
        code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT => {
            "; lower `commit.transaction_timeout`, or raise the brokers' `transaction.max.timeout.ms`"
        }
        _ => "",
    };
    LogError { kind, during: during.to_owned(), reason: format!("{reason} ({}){advice}", code_text(failed)) }
}
