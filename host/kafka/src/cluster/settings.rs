use super::{KafkaCluster, options};
use crate::error::KafkaError;
use rdkafka::admin::{ConfigResource, ResourceSpecifier};

/// What a record needs beside key, value and headers: a batch of one record, its header and lengths, in bytes.
const RECORD_OVERHEAD_BYTES: usize = 512;

/// What librdkafka takes as the largest message if it is not told otherwise, in bytes.
const CLIENT_MESSAGE_BYTES_MAX: usize = 1_000_000;

/// Settings of a topic or a broker.
pub(super) struct Settings(ConfigResource);

impl Settings {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref())
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }
}

impl KafkaCluster {
    fn settings(&self, resource: ResourceSpecifier<'_>) -> Result<Settings, String> {
        let described = futures_executor::block_on(self.admin.describe_configs([&resource], &options()));
        let described = described.map_err(|error| error.to_string())?;
        let first = described.into_iter().next().ok_or("the brokers did not answer")?;
        first.map(Settings).map_err(|code| code.to_string())
    }

    pub(super) fn topic_settings(&self, topic: &str) -> Result<Settings, KafkaError> {
        self.settings(ResourceSpecifier::Topic(topic)).map_err(|text| KafkaError::Topic {
            topic: topic.to_owned(),
            reason: format!("its configuration cannot be read: {text}; the user needs DESCRIBE_CONFIGS on it"),
        })
    }

    /// Settings of a broker, where the user may read them.
    pub(super) fn broker_settings(&self, broker: i32) -> Option<Settings> {
        self.settings(ResourceSpecifier::Broker(broker)).ok()
    }

    /// A setting of a topic's; `None` if there is no such setting.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub fn topic_setting(&self, topic: &str, name: &str) -> Result<Option<String>, KafkaError> {
        Ok(self.topic_settings(topic)?.get(name).map(str::to_owned))
    }

    /// The largest record a topic takes, in bytes of key, value and headers.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub fn record_bytes_max(&self, topic: &str) -> Result<usize, KafkaError> {
        let settings = self.topic_settings(topic)?;
        let batch = settings.number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
        let client = self.properties.iter().find(|(name, _)| *name == "message.max.bytes");
        let client = client.and_then(|(_, value)| value.parse().ok()).unwrap_or(CLIENT_MESSAGE_BYTES_MAX);
        Ok(batch.unwrap_or(client).min(client).saturating_sub(RECORD_OVERHEAD_BYTES))
    }
}
