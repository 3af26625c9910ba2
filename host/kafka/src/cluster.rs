use crate::client::{Client, ClientKind};
use crate::error::KafkaError;
use crate::names::{CHANGELOG_PARTITIONS, changelog_topic, commits_topic};
use crate::properties::Properties;
use crate::{metadata, topic_id};
use millstream_model::commit::TopicIdentity;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::time::Duration;

/// How long a cluster may take to answer at a start, in milliseconds.
const CONNECT_MS: u64 = 10_000;

/// How long a request may take, in milliseconds.
const REQUEST_MS: u64 = 30_000;

/// Replicas of an internal topic, where the cluster has as many brokers.
const REPLICAS: i32 = 3;

/// What a record needs beside key, value and headers: a batch of one record, its header and lengths, in bytes.
const RECORD_OVERHEAD_BYTES: usize = 512;

/// A Kafka cluster that answers, and what has to be known or done before a pipeline runs on it.
pub struct KafkaCluster {
    properties: Properties,
    client: Client,
    admin: AdminClient<DefaultClientContext>,
    brokers: i32,
}

impl KafkaCluster {
    /// Connects.
    ///
    /// # Errors
    /// When a property is wrong or no broker answers within ten seconds.
    pub fn connect(properties: &Properties) -> Result<Self, KafkaError> {
        let client = Client::new(&properties.with(&[("group.id", "millstream-admin")]), ClientKind::Consumer)?;
        let cluster = |reason: String| KafkaError::Cluster { brokers: properties.brokers().to_owned(), reason };
        let brokers = metadata::broker_count(&client, CONNECT_MS).map_err(|text| {
            cluster(format!(
                "no broker answered within {} s: {text}; check `kafka.brokers`, and the TLS and SASL properties if the brokers want them",
                CONNECT_MS / 1_000
            ))
        })?;
        let mut config = ClientConfig::new();
        for (name, value) in properties.iter() {
            config.set(name, value);
        }
        let admin = config.create().map_err(|error| cluster(error.to_string()))?;
        Ok(Self { properties: properties.clone(), client, admin, brokers })
    }

    fn error(&self, reason: String) -> KafkaError {
        KafkaError::Cluster { brokers: self.properties.brokers().to_owned(), reason }
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// When the cluster does not tell.
    pub fn id(&self) -> Result<String, KafkaError> {
        let id = metadata::cluster_id(&self.client, REQUEST_MS);
        id.ok_or_else(|| {
            self.error("it does not tell its id; Millstream needs brokers of version 3.7 or later".to_owned())
        })
    }

    /// What tells a topic from another of the same name.
    ///
    /// # Errors
    /// When there is none; names that are nearly the same are suggested.
    pub fn topic(&self, name: &str) -> Result<TopicIdentity, KafkaError> {
        let partitions = metadata::partition_count(&self.client, name, REQUEST_MS)
            .map_err(|text| KafkaError::Topic { topic: name.to_owned(), reason: self.missing(name, &text) })?;
        let id = topic_id::topic_id(&self.client, name, REQUEST_MS).unwrap_or_default();
        Ok(TopicIdentity { name: name.to_owned(), id, partitions })
    }

    fn missing(&self, name: &str, text: &str) -> String {
        let names = metadata::topic_names(&self.client, REQUEST_MS).unwrap_or_default();
        let like = names.iter().map(|other| (strsim::jaro_winkler(name, other), other));
        let like = like.filter(|(similarity, _)| *similarity > 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = like.map(|(_, other)| format!("; did you mean `{other}`?")).unwrap_or_default();
        format!("{text}: create it, or correct its name in the pipeline file{hint}")
    }

    /// Whether there is such a topic.
    #[must_use]
    pub fn has_topic(&self, name: &str) -> bool {
        metadata::partition_count(&self.client, name, REQUEST_MS).is_ok()
    }

    /// Makes a sink's topic, unless it is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        self.create(name, partitions, &[])
    }

    /// Makes the pipeline's own topics, unless they are there, and checks that they are as they must be.
    ///
    /// # Errors
    /// When one cannot be made, or somebody has changed it.
    pub fn ensure_internal_topics(&self, id: &str, changelog: u32) -> Result<(), KafkaError> {
        let compacted = [("cleanup.policy", "compact")];
        let kept = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "604800000")];
        let commits = commits_topic(id);
        let changes = changelog_topic(id, changelog);
        for (topic, partitions, config) in
            [(&commits, 1, &kept[..]), (&changes, CHANGELOG_PARTITIONS as i32, &compacted[..])]
        {
            self.create(topic, partitions, config)?;
            self.check_internal(topic, partitions)?;
        }
        Ok(())
    }

    fn create(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> Result<(), KafkaError> {
        if self.has_topic(name) {
            return Ok(());
        }
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.brokers.clamp(1, REPLICAS)));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let failed = |reason: String| KafkaError::Topic { topic: name.to_owned(), reason };
        let made = futures_executor::block_on(self.admin.create_topics([&topic], &options()));
        let made = made.map_err(|error| failed(format!("cannot be made: {error}")))?;
        match made.first() {
            Some(Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) => {}
            Some(Err((_, code))) => {
                return Err(failed(format!(
                    "cannot be made: {code}; the user needs CREATE on it, or make it beforehand"
                )));
            }
            None => return Err(failed("cannot be made: the brokers did not answer".to_owned())),
        }
        // A new topic is not known to every broker at once.
        for _ in 0..100 {
            if self.has_topic(name) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(failed("was made and does not appear".to_owned()))
    }

    fn check_internal(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let failed = |reason: String| KafkaError::Topic { topic: name.to_owned(), reason };
        let found = self.topic(name)?.partitions;
        if found != partitions {
            return Err(failed(format!("has {found} partitions and must have {partitions}: it is Millstream's own")));
        }
        let policy = self.topic_setting(name, "cleanup.policy")?;
        if policy.as_deref().is_some_and(|policy| policy != "compact") {
            let policy = policy.unwrap_or_default();
            return Err(failed(format!(
                "has `cleanup.policy={policy}` and must have `compact`: with another, state and commits are lost in time; set it back"
            )));
        }
        Ok(())
    }

    /// A setting of a topic's; `None` if there is no such setting.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub fn topic_setting(&self, topic: &str, name: &str) -> Result<Option<String>, KafkaError> {
        let failed = |reason: String| KafkaError::Topic { topic: topic.to_owned(), reason };
        let resource = ResourceSpecifier::Topic(topic);
        let described = futures_executor::block_on(self.admin.describe_configs([&resource], &options()));
        let described = described.map_err(|error| failed(format!("its configuration cannot be read: {error}")))?;
        let Some(Ok(resource)) = described.into_iter().next() else { return Ok(None) };
        Ok(resource.entries.into_iter().find(|entry| entry.name == name).and_then(|entry| entry.value))
    }

    /// The largest record a topic takes, in bytes of key, value and headers.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub fn record_bytes_max(&self, topic: &str) -> Result<usize, KafkaError> {
        let batch = self.topic_setting(topic, "max.message.bytes")?.and_then(|value| value.parse::<usize>().ok());
        let client = self.properties.iter().find(|(name, _)| *name == "message.max.bytes");
        let client = client.and_then(|(_, value)| value.parse().ok()).unwrap_or(1_000_000);
        Ok(batch.unwrap_or(1_048_588).min(client).saturating_sub(RECORD_OVERHEAD_BYTES))
    }

    /// Where each partition of a topic ends.
    ///
    /// # Errors
    /// When the brokers do not tell.
    pub fn ends(&self, topic: &str) -> Result<Vec<i64>, KafkaError> {
        let partitions = self.topic(topic)?.partitions;
        let end = |partition| self.client.watermarks(topic, partition, REQUEST_MS as i32).map(|(_, end)| end);
        (0..partitions)
            .map(end)
            .collect::<Result<_, _>>()
            .map_err(|reason| KafkaError::Topic { topic: topic.to_owned(), reason })
    }

    /// Deletes topics that are there.
    ///
    /// # Errors
    /// When one cannot be deleted.
    pub fn delete_topics(&self, names: &[&str]) -> Result<(), KafkaError> {
        let present: Vec<&str> = names.iter().copied().filter(|name| self.has_topic(name)).collect();
        if present.is_empty() {
            return Ok(());
        }
        let deleted = futures_executor::block_on(self.admin.delete_topics(&present, &options()));
        let deleted = deleted.map_err(|error| self.error(error.to_string()))?;
        for result in deleted {
            if let Err((topic, code)) = result {
                return Err(KafkaError::Topic { topic, reason: format!("cannot be deleted: {code}") });
            }
        }
        Ok(())
    }
}

fn options() -> AdminOptions {
    let wait = Some(Duration::from_millis(REQUEST_MS));
    AdminOptions::new().request_timeout(wait).operation_timeout(wait)
}
