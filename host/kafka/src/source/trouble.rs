use super::KafkaSource;
use millstream_engine::ports::SourceError;
use rdkafka_sys::rd_kafka_resp_err_t as code;
use std::time::Instant;

/// How long a request may take while records flow, in milliseconds.
const REQUEST_MS: u64 = 10_000;

/// Something that a consumer said of a partition instead of a record.
pub(super) struct Trouble {
    pub(super) partition: i32,
    pub(super) code: code,
    pub(super) text: String,
}

impl KafkaSource {
    /// Decides whether reading can go on.
    pub(super) fn face(&mut self, trouble: Trouble) -> Result<(), SourceError> {
        let Trouble { partition, code, text } = trouble;
        match code {
            code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION => Err(self.truncated(partition, &text)),
            // What librdkafka calls a reset is refused by `auto.offset.reset=error`; the text has the cause.
            code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET if text.to_ascii_lowercase().contains("truncat") => {
                Err(self.truncated(partition, &text))
            }
            code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
                let Some(next) = self.partitions.get(partition).map(|progress| progress.next) else { return Ok(()) };
                let next = self.go_on(partition, next, REQUEST_MS)?;
                if let Some(progress) = self.partitions.get_mut(partition) {
                    progress.next = next;
                }
                self.assign()
            }
            code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
            | code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => {
                tracing::warn!(source = self.settings.id, partition, text, "the brokers do not know the topic");
                self.missing.get_or_insert_with(Instant::now);
                Ok(())
            }
            code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                Err(self.error(format!("partition {partition}: {text}; the user needs READ on the topic")))
            }
            code::RD_KAFKA_RESP_ERR__FATAL | code::RD_KAFKA_RESP_ERR__AUTHENTICATION => Err(self.error(text)),
            // Brokers that are gone come back; the client goes on by itself.
            _ => {
                tracing::warn!(source = self.settings.id, partition, text, "reading is held up");
                Ok(())
            }
        }
    }

    fn truncated(&self, partition: i32, text: &str) -> SourceError {
        self.error(format!(
            "partition {partition}: the log was cut off and written anew before the position of the pipeline (unclean leader election): {text}; \
             nothing was changed, `millstream reset` begins anew"
        ))
    }
}
