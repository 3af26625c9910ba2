//! What topics take: asked at the start, and again while a pipeline runs.

use crate::cluster::Settings;
use crate::error::KafkaError;
use millstream_engine::ports::{LogError, LogErrorKind, RecordSizes, RecordSizesReader};
use rdkafka::admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a question may take: workers may be standing still for the answer.
const REQUEST: Duration = Duration::from_secs(10);

/// What a record needs beside key, value and headers: a batch of one record, its header and lengths, in bytes.
const RECORD_OVERHEAD_BYTES: usize = 512;

/// What librdkafka takes as the largest message if it is not told otherwise, in bytes.
const CLIENT_MESSAGE_BYTES_MAX: usize = 1_000_000;

/// Asks for the sizes that a pipeline's topics take.
pub struct TopicSizes {
    pub(crate) admin: Arc<AdminClient<DefaultClientContext>>,
    /// `message.max.bytes` of the client, if it is set.
    pub(crate) client_bytes_max: Option<usize>,
    /// Topic of each sink of the plan; `None` for sinks elsewhere.
    pub(crate) sinks: Vec<Option<String>>,
    pub(crate) changelog: String,
    pub(crate) commits: String,
}

impl TopicSizes {
    /// The largest batch that every topic takes, in bytes; none if it cannot be found out now.
    pub(crate) fn batch_bytes_max(&self) -> Option<usize> {
        match self.message_bytes() {
            Ok(topics) => topics.into_values().min(),
            Err(error) => {
                tracing::warn!(%error, "the sizes that topics take are not known");
                None
            }
        }
    }

    /// `max.message.bytes` of every topic.
    fn message_bytes(&self) -> Result<BTreeMap<String, usize>, LogError> {
        let failed = |reason: String| LogError {
            kind: LogErrorKind::Unknown,
            during: "asking for the sizes that topics take".to_owned(),
            reason,
        };
        let names: std::collections::BTreeSet<&str> =
            self.sinks.iter().flatten().chain([&self.changelog, &self.commits]).map(String::as_str).collect();
        let topics: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let described = futures_executor::block_on(self.admin.describe_configs(&topics, &options));
        let described = described.map_err(|error| failed(error.to_string()))?;
        let mut found = BTreeMap::new();
        for resource in described {
            let resource = resource.map_err(|code| failed(code.to_string()))?;
            let settings = Settings(resource);
            let bytes = settings.number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
            if let (OwnedResourceSpecifier::Topic(name), Some(bytes)) = (settings.0.specifier, bytes) {
                found.insert(name, bytes);
            }
        }
        match names.into_iter().find(|name| !found.contains_key(*name)) {
            Some(missing) => Err(failed(format!("topic `{missing}` is not there"))),
            None => Ok(found),
        }
    }
}

impl RecordSizesReader for TopicSizes {
    fn read(&self) -> Result<RecordSizes, LogError> {
        let topics = self.message_bytes()?;
        let of = |topic: &String| record_bytes_max(topics.get(topic).copied(), self.client_bytes_max);
        Ok(RecordSizes {
            sinks: self.sinks.iter().map(|topic| topic.as_ref().map_or(usize::MAX, of)).collect(),
            changelog: of(&self.changelog),
        })
    }
}

/// The largest record, in bytes of key, value and headers, given the topic's `max.message.bytes` and the client's `message.max.bytes`.
pub(crate) fn record_bytes_max(topic: Option<usize>, client: Option<usize>) -> usize {
    let client = client.unwrap_or(CLIENT_MESSAGE_BYTES_MAX);
    topic.unwrap_or(client).min(client).saturating_sub(RECORD_OVERHEAD_BYTES)
}

/// `message.max.bytes` as the user gives it.
pub(crate) fn client_bytes_max(properties: &crate::Properties) -> Result<Option<usize>, KafkaError> {
    const NAME: &str = "message.max.bytes";
    let refused = |_| KafkaError::Property { name: NAME.to_owned(), reason: "it is a number of bytes".to_owned() };
    properties.value(NAME).map(|bytes| bytes.parse().map_err(refused)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_topic_and_client_decides() {
        assert_eq!(record_bytes_max(Some(20_000), None), 20_000 - 512);
        assert_eq!(record_bytes_max(Some(20_000), Some(10_000)), 10_000 - 512);
        assert_eq!(record_bytes_max(Some(2_000_000), None), 1_000_000 - 512);
        assert_eq!(record_bytes_max(None, None), 1_000_000 - 512);
        assert_eq!(record_bytes_max(Some(100), None), 0);
    }
}
