use millstream_engine::ports::{LogError, LogErrorKind};

/// What can go wrong with Kafka before a pipeline runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// A property is unknown, has a wrong value, or is not to be set.
    #[error("kafka property `{name}`: {reason}")]
    Property {
        /// Its name.
        name: String,
        /// What is wrong; never shows the value of a secret.
        reason: String,
    },
    /// The cluster cannot be used.
    #[error("kafka cluster at {brokers}: {reason}")]
    Cluster {
        /// As given.
        brokers: String,
        /// What, why, and what to do.
        reason: String,
    },
    /// A topic is missing or not as it must be.
    #[error("topic `{topic}`: {reason}")]
    Topic {
        /// Its name.
        topic: String,
        /// What, why, and what to do.
        reason: String,
    },
}

impl From<KafkaError> for LogError {
    fn from(error: KafkaError) -> Self {
        Self { kind: LogErrorKind::Fatal, during: "setting up the client".to_owned(), reason: error.to_string() }
    }
}
