//! A cluster that answers.

mod describe;
mod preflight;
mod settings;
mod topics;

use crate::client::{Client, ClientKind, Configuration};
use crate::error::KafkaError;
use crate::logging::Complaints;
use crate::metadata;
use crate::properties::Properties;
use millstream_model::commit::TopicIdentity;
pub use preflight::{Needs, SinkNeed};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
pub(crate) use settings::Settings;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a cluster may take to answer at a start.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long one try takes, in milliseconds.
const CONNECT_TRY_MS: u64 = 500;

/// How often a topic that is not there is asked for again.
const NEW_TOPIC_ATTEMPTS: u32 = 10;

/// How long to wait in between.
const NEW_TOPIC_PAUSE: Duration = Duration::from_millis(100);

/// How long a request may take, in milliseconds.
const REQUEST_MS: u64 = 30_000;

/// Likeness from which on a topic's name is worth suggesting.
const LIKE: f64 = 0.8;

/// A Kafka cluster that answers, and what has to be known or done before a pipeline runs on it.
pub struct KafkaCluster {
    properties: Properties,
    client: Client,
    admin: Arc<AdminClient<DefaultClientContext>>,
    /// Ids of its brokers.
    brokers: Vec<i32>,
    /// After the client, which uses it.
    _complaints: Arc<Complaints>,
}

impl KafkaCluster {
    /// Connects.
    ///
    /// # Errors
    /// When a property is wrong, the brokers refuse the user, or none answers within ten seconds.
    pub fn connect(properties: &Properties) -> Result<Self, KafkaError> {
        let configuration = Configuration::new(&properties.with(&[("group.id", "millstream-admin")]))?;
        let complaints = Arc::new(Complaints::default());
        complaints.note(&configuration);
        let client = configuration.create(ClientKind::Consumer)?;
        let failed = |reason: String| KafkaError::Cluster { brokers: properties.brokers().to_owned(), reason };
        let brokers = reach(&client, &complaints).map_err(failed)?;
        let mut config = ClientConfig::new();
        for (name, value) in properties.iter() {
            config.set(name, value);
        }
        let admin = Arc::new(config.create().map_err(|error| failed(error.to_string()))?);
        Ok(Self { properties: properties.clone(), client, admin, brokers, _complaints: complaints })
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
        let count = || metadata::partition_count(&self.client, name, REQUEST_MS);
        let mut found = count();
        // A topic that was made a moment ago is not known to every broker yet.
        for _ in 0..NEW_TOPIC_ATTEMPTS {
            if found.is_ok() {
                break;
            }
            std::thread::sleep(NEW_TOPIC_PAUSE);
            found = count();
        }
        let partitions =
            found.map_err(|text| KafkaError::Topic { topic: name.to_owned(), reason: self.missing(name, &text) })?;
        let id = describe::describe(&self.client, name, REQUEST_MS).id;
        Ok(TopicIdentity { name: name.to_owned(), id, partitions })
    }

    fn missing(&self, name: &str, text: &str) -> String {
        let names = metadata::topic_names(&self.client, REQUEST_MS).unwrap_or_default();
        let like = names.iter().map(|other| (strsim::jaro_winkler(name, other), other));
        let like = like.filter(|(likeness, _)| *likeness > LIKE).max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = like.map(|(_, other)| format!("; did you mean `{other}`?")).unwrap_or_default();
        format!("{text}: create it, or correct its name in the pipeline file{hint}")
    }

    /// Whether there is such a topic.
    #[must_use]
    pub fn has_topic(&self, name: &str) -> bool {
        metadata::partition_count(&self.client, name, REQUEST_MS).is_ok()
    }
}

/// Waits for the first answer of a broker; gives the ids of all.
fn reach(client: &Client, complaints: &Complaints) -> Result<Vec<i32>, String> {
    let started = Instant::now();
    loop {
        let error = match metadata::broker_ids(client, CONNECT_TRY_MS) {
            Ok(brokers) => return Ok(brokers),
            Err(text) => text,
        };
        client.serve();
        let complaint = complaints.last();
        if let Some(refused) = complaint.as_ref().filter(|complaint| complaint.is_final) {
            return Err(format!("{}; check the TLS and SASL properties", refused.text));
        }
        if started.elapsed() > CONNECT_PATIENCE {
            let cause = complaint.map_or(error, |complaint| complaint.text);
            return Err(format!(
                "no broker answered within {} s: {cause}; check `kafka.brokers`, and the TLS and SASL properties if the brokers want them",
                CONNECT_PATIENCE.as_secs()
            ));
        }
    }
}

fn options() -> AdminOptions {
    let wait = Some(Duration::from_millis(REQUEST_MS));
    AdminOptions::new().request_timeout(wait).operation_timeout(wait)
}
