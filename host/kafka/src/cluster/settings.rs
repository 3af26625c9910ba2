use super::{KafkaCluster, options};
use crate::error::KafkaError;
use crate::names::{changelog_topic, commits_topic};
use crate::sizes::{TopicSizes, client_bytes_max, record_bytes_max};
use rdkafka::admin::{ConfigResource, ResourceSpecifier};
use std::sync::Arc;

/// Settings of a topic or a broker.
pub(crate) struct Settings(pub(crate) ConfigResource);

impl Settings {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref())
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
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
        Ok(record_bytes_max(batch, client_bytes_max(&self.properties)?))
    }

    /// Asks for what a pipeline's topics take, whenever that is wanted; `sinks` are the topics of the plan's sinks, in its order.
    ///
    /// # Errors
    /// When a property is wrong.
    pub fn sizes(&self, id: &str, changelog: u32, sinks: Vec<Option<String>>) -> Result<TopicSizes, KafkaError> {
        Ok(TopicSizes {
            admin: Arc::clone(&self.admin),
            client_bytes_max: client_bytes_max(&self.properties)?,
            sinks,
            changelog: changelog_topic(id, changelog),
            commits: commits_topic(id),
        })
    }
}
