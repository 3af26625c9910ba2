use crate::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;

/// Properties of librdkafka as the pipeline file gives them, secrets resolved. What Millstream decides itself is refused by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    given: BTreeMap<String, String>,
}

/// Properties that are ours, and why.
const OWNED: [(&str, &str); 17] = [
    ("group.id", "it is the pipeline's `id`"),
    ("transactional.id", "it is the pipeline's `id`"),
    ("enable.idempotence", "every producer is transactional"),
    ("acks", "every producer is transactional"),
    ("isolation.level", "set `isolation` at the source"),
    ("auto.offset.reset", "set `start` and `on_data_loss` at the source"),
    ("enable.auto.commit", "positions are committed with the epoch"),
    ("enable.auto.offset.store", "positions are committed with the epoch"),
    ("enable.partition.eof", "Millstream needs it as it is"),
    ("partitioner", "keys are placed by murmur2, as Java's clients do"),
    ("transaction.timeout.ms", "set `commit.transaction_timeout`"),
    ("message.timeout.ms", "it follows from `commit.transaction_timeout`"),
    ("delivery.report.only.error", "Millstream needs it as it is"),
    ("bootstrap.servers", "set `kafka.brokers`"),
    ("allow.auto.create.topics", "topics are made only where `create` asks for it"),
    ("log.queue", "Millstream logs what the client says"),
    ("group.instance.id", "partitions are assigned by Millstream"),
];

/// What the names of properties with secret values contain.
const SECRET: [&str; 5] = ["password", "secret", "token", "sasl.oauthbearer.config", "ssl.key.pem"];

/// Whether the value of a property is never shown.
pub(crate) fn is_secret(name: &str) -> bool {
    name != "sasl.oauthbearer.token.endpoint.url" && SECRET.iter().any(|secret| name.contains(secret))
}

impl Properties {
    /// Checks what the pipeline file gives beside `brokers`.
    ///
    /// # Errors
    /// When a property is Millstream's own. Unknown ones are found by [`crate::KafkaCluster::connect`].
    pub fn new(brokers: &str, given: BTreeMap<String, String>) -> Result<Self, KafkaError> {
        for name in given.keys() {
            let name_known = name.strip_prefix("metadata.broker.list").map_or(name.as_str(), |_| "bootstrap.servers");
            if let Some((_, why)) = OWNED.iter().find(|(owned, _)| *owned == name_known) {
                return Err(KafkaError::Property {
                    name: name.clone(),
                    reason: format!("it cannot be set here: {why}"),
                });
            }
        }
        let mut given = given;
        given.insert("bootstrap.servers".to_owned(), brokers.to_owned());
        given.entry("client.id".to_owned()).or_insert_with(|| "millstream".to_owned());
        Ok(Self { given })
    }

    /// The brokers, as given.
    #[must_use]
    pub fn brokers(&self) -> &str {
        self.given.get("bootstrap.servers").map_or("", String::as_str)
    }

    /// The value of a property, secrets included.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// These with further ones; the later wins.
    pub(crate) fn with(&self, more: &[(&str, &str)]) -> Self {
        let mut given = self.given.clone();
        for (name, value) in more {
            given.insert((*name).to_owned(), (*value).to_owned());
        }
        Self { given }
    }

    /// These with defaults for what is not given.
    pub(crate) fn or(&self, defaults: &[(&str, &str)]) -> Self {
        let mut given = self.given.clone();
        for (name, value) in defaults {
            given.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
        }
        Self { given }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            self.given.iter().map(|(name, value)| (name, if is_secret(name) { "(hidden)" } else { value.as_str() }));
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::client::{Client, ClientKind};

    fn with(name: &str, value: &str) -> Result<Properties, KafkaError> {
        Properties::new("localhost:9092", BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn what_is_ours_is_refused_with_the_reason() {
        let text = with("group.id", "x").unwrap_err().to_string();
        assert_eq!(text, "kafka property `group.id`: it cannot be set here: it is the pipeline's `id`");
        assert!(with("transactional.id", "x").is_err());
        assert!(with("metadata.broker.list", "x").is_err());
        assert!(with("fetch.min.bytes", "10").is_ok());
    }

    #[test]
    fn an_unknown_property_is_named_with_the_one_that_was_meant() {
        let given = with("fetch.min.byte", "1").unwrap();
        let text = Client::new(&given, ClientKind::Consumer).unwrap_err().to_string();
        assert_eq!(
            text,
            "kafka property `fetch.min.byte`: librdkafka does not know it; did you mean `fetch.min.bytes`?"
        );
    }

    #[test]
    fn errors_about_secrets_do_not_show_them() {
        for (name, value) in
            [("ssl.key.pem", "hunter2"), ("sasl.oauthbearer.config", "hunter2 x"), ("ssl.key.password", "hunter2")]
        {
            let given = with(name, value).unwrap().with(&[
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanism", "OAUTHBEARER"),
                ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
            ]);
            if let Err(error) = Client::new(&given, ClientKind::Producer) {
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
        }
        let text = Client::new(
            &with("ssl.key.pem", "hunter2").unwrap().with(&[("security.protocol", "ssl")]),
            ClientKind::Producer,
        );
        assert!(text.is_err(), "a key that is none");
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", with("sasl.password", "hunter2").unwrap());
        assert!(!shown.contains("hunter2") && shown.contains("sasl.password"), "{shown}");
    }
}
