use super::{KafkaCluster, REQUEST_MS, Settings, options};
use crate::error::KafkaError;
use crate::names::{CHANGELOG_PARTITIONS, changelog_topic, commits_topic};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;

/// Replicas of a topic that Millstream makes, where the cluster has as many brokers.
const REPLICAS: i32 = 3;

/// How long the commits topic keeps every record, in milliseconds: what `verify` can walk.
const COMMITS_KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// The setting that says how long a topic keeps the news that a key was removed.
const DELETE_RETENTION: &str = "delete.retention.ms";

/// How long the changelog keeps the news that a cell was removed, in milliseconds; the store relies on half of it.
const REMOVALS_KEPT_MS: i64 = 24 * 3_600 * 1_000;

/// Of a topic just made or deleted, how often it is looked for, and how long in between, in milliseconds.
const SETTLE_TRIES: u32 = 200;
const SETTLE_WAIT_MS: u64 = 50;

/// A topic of Millstream's own.
pub(super) struct Internal {
    pub(super) name: String,
    pub(super) partitions: i32,
    /// Beside `cleanup.policy=compact`: a setting and what it must be at least.
    at_least: Option<(&'static str, i64)>,
}

impl Internal {
    /// The pipeline's own topics: commits, then changes.
    pub(super) fn of(id: &str, changelog: u32) -> [Self; 2] {
        let commits =
            Self { name: commits_topic(id), partitions: 1, at_least: Some(("min.compaction.lag.ms", COMMITS_KEPT_MS)) };
        let changes = Self {
            name: changelog_topic(id, changelog),
            partitions: CHANGELOG_PARTITIONS as i32,
            at_least: Some((DELETE_RETENTION, REMOVALS_KEPT_MS)),
        };
        [commits, changes]
    }

    /// The settings it is made with.
    pub(super) fn config(&self) -> Vec<(&'static str, String)> {
        let least = self.at_least.map(|(name, value)| (name, value.to_string()));
        std::iter::once(("cleanup.policy", "compact".to_owned())).chain(least).collect()
    }
}

impl KafkaCluster {
    /// Makes a sink's topic, unless it is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        self.create(name, partitions, &[])
    }

    /// Makes the pipeline's own topics, unless they are there, and checks that they are as they must be. Gives the time, in milliseconds, for which the changelog
    /// tells of removed cells.
    ///
    /// # Errors
    /// When one cannot be made, or somebody has changed it.
    pub fn ensure_internal_topics(&self, id: &str, changelog: u32) -> Result<u64, KafkaError> {
        let [commits, changes] = Internal::of(id, changelog);
        self.ensure(&commits)?;
        let kept_ms = self.ensure(&changes)?.number(DELETE_RETENTION).and_then(|kept_ms| u64::try_from(kept_ms).ok());
        kept_ms.ok_or_else(|| KafkaError::Topic {
            topic: changes.name,
            reason: format!(
                "the brokers do not tell its `{DELETE_RETENTION}`, so it is not known how old a store may be"
            ),
        })
    }

    /// Makes the topic of a pipeline's modules, unless it is there, and checks that it is as it must be.
    ///
    /// # Errors
    /// When it cannot be made, or somebody has changed it.
    pub(crate) fn ensure_modules_topic(&self, name: &str) -> Result<(), KafkaError> {
        self.ensure(&Internal { name: name.to_owned(), partitions: 1, at_least: None }).map(drop)
    }

    fn ensure(&self, topic: &Internal) -> Result<Settings, KafkaError> {
        self.create(&topic.name, topic.partitions, &topic.config())?;
        self.check_internal(topic)
    }

    fn create(&self, name: &str, partitions: i32, config: &[(&str, String)]) -> Result<(), KafkaError> {
        if self.has_topic(name) {
            return Ok(());
        }
        self.ask_to_create(name, partitions, config, &options())?;
        let failed = |reason: String| KafkaError::Topic { topic: name.to_owned(), reason };
        if self.is_settled(name, true) { Ok(()) } else { Err(failed("was made and does not appear".to_owned())) }
    }

    /// Whether the brokers would make a topic; they do not.
    pub(super) fn check_can_create(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, String)],
    ) -> Result<(), KafkaError> {
        self.ask_to_create(name, partitions, config, &options().validate_only(true))
    }

    fn ask_to_create(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, String)],
        options: &AdminOptions,
    ) -> Result<(), KafkaError> {
        let replicas = (self.brokers.len() as i32).clamp(1, REPLICAS);
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        if replicas == REPLICAS {
            // What is acknowledged then survives the loss of a broker.
            topic = topic.set("min.insync.replicas", "2");
        }
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let failed = |reason: String| KafkaError::Topic { topic: name.to_owned(), reason };
        let made = futures_executor::block_on(self.admin.create_topics([&topic], options));
        let made = made.map_err(|error| failed(format!("cannot be made: {error}")))?;
        match made.first() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)) | Ok(_)) => Ok(()),
            Some(Err((_, RDKafkaErrorCode::TopicAuthorizationFailed))) => {
                Err(failed("cannot be made: the user needs CREATE on it, or make it beforehand".to_owned()))
            }
            Some(Err((_, code))) => Err(failed(format!("cannot be made: {code}"))),
            None => Err(failed("cannot be made: the brokers did not answer".to_owned())),
        }
    }

    /// Waits until brokers say of a topic that it is there, or is not: what was done is not known to every one of them at once.
    fn is_settled(&self, name: &str, is_there: bool) -> bool {
        (0..SETTLE_TRIES).any(|_| {
            let is_settled = self.has_topic(name) == is_there;
            if !is_settled {
                std::thread::sleep(Duration::from_millis(SETTLE_WAIT_MS));
            }
            is_settled
        })
    }

    fn check_internal(&self, topic: &Internal) -> Result<Settings, KafkaError> {
        let failed = |reason: String| KafkaError::Topic { topic: topic.name.clone(), reason };
        let found = self.topic(&topic.name)?.partitions;
        if found != topic.partitions {
            return Err(failed(format!(
                "has {found} partitions and must have {}: it is Millstream's own; `millstream reset` begins anew",
                topic.partitions
            )));
        }
        let settings = self.topic_settings(&topic.name)?;
        if let Some(policy) = settings.get("cleanup.policy").filter(|policy| *policy != "compact") {
            return Err(failed(format!(
                "has `cleanup.policy={policy}` and must have `compact`: with another, what is in it is lost in time; set it back"
            )));
        }
        let Some((name, least)) = topic.at_least else { return Ok(settings) };
        if let Some(value) = settings.number(name).filter(|value| *value < least) {
            tracing::warn!(topic = topic.name, "`{name}` is {value} and was made {least}: somebody lowered it");
        }
        Ok(settings)
    }

    /// Deletes topics that are there.
    ///
    /// # Errors
    /// When one cannot be deleted, or does not go.
    pub fn delete_topics(&self, names: &[&str]) -> Result<(), KafkaError> {
        let present: Vec<&str> = names.iter().copied().filter(|name| self.has_topic(name)).collect();
        if present.is_empty() {
            return Ok(());
        }
        let deleted = futures_executor::block_on(self.admin.delete_topics(&present, &options()));
        let deleted = deleted.map_err(|error| self.error(error.to_string()))?;
        for result in deleted {
            if let Err((topic, code)) = result {
                return Err(KafkaError::Topic {
                    topic,
                    reason: format!("cannot be deleted: {code}; the user needs DELETE on it"),
                });
            }
        }
        // Whoever makes one anew would take the old one for it.
        match present.into_iter().find(|name| !self.is_settled(name, false)) {
            Some(name) => {
                Err(KafkaError::Topic { topic: name.to_owned(), reason: "was deleted and does not go".to_owned() })
            }
            None => Ok(()),
        }
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
}
