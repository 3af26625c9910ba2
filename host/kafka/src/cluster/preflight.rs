//! What would hang or fail later, said before anything starts.

use super::describe::{Operation, describe};
use super::settings::Settings;
use super::{KafkaCluster, REQUEST_MS};
use crate::error::KafkaError;
use crate::names::{changelog_topic, commits_topic, modules_topic};

/// The oldest version that is supported.
const OLDEST: (u32, u32) = (3, 7);

/// What a pipeline needs of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// The pipeline's id.
    pub id: String,
    /// Number of its changelog topic.
    pub changelog: u32,
    /// Topics it reads.
    pub sources: Vec<String>,
    /// Topics it writes that must be there: those with `create` are made at the start.
    pub sinks: Vec<String>,
}

impl KafkaCluster {
    /// Everything in the way of a pipeline, as far as it can be told without changing anything. Empty if there is nothing.
    ///
    /// # Errors
    /// None: what cannot be asked for want of rights is not held against the cluster.
    #[must_use]
    pub fn preflight(&self, needs: &Needs) -> Vec<KafkaError> {
        let mut problems = Vec::new();
        let read = |topic: &String| (topic.clone(), Operation::RD_KAFKA_ACL_OPERATION_READ, "READ");
        let write = |topic: &String| (topic.clone(), Operation::RD_KAFKA_ACL_OPERATION_WRITE, "WRITE");
        for (topic, operation, name) in needs.sources.iter().map(read).chain(needs.sinks.iter().map(write)) {
            match self.topic(&topic) {
                Err(error) => problems.push(error),
                Ok(_) => problems.extend(self.forbidden(topic, operation, name)),
            }
        }
        let own = [commits_topic(&needs.id), changelog_topic(&needs.id, needs.changelog), modules_topic(&needs.id)];
        for topic in own {
            if self.has_topic(&topic) {
                let [read, write] = [read(&topic), write(&topic)]
                    .map(|(topic, operation, name)| self.forbidden(topic, operation, name));
                problems.extend(read.into_iter().chain(write));
            }
        }
        if let Some(settings) = self.brokers.first().and_then(|broker| self.broker_settings(*broker)) {
            problems.extend(self.too_old(&settings));
            problems.extend(self.too_few(&settings));
        }
        problems
    }

    fn forbidden(&self, topic: String, operation: Operation, name: &str) -> Option<KafkaError> {
        let description = describe(&self.client, &topic, REQUEST_MS);
        let reason = || format!("the user may not {name} it; add the ACL");
        (!description.allows(operation)).then(|| KafkaError::Topic { topic, reason: reason() })
    }

    fn too_old(&self, settings: &Settings) -> Option<KafkaError> {
        // Brokers from 4.0 on have no such setting.
        let version = version_of(settings.get("inter.broker.protocol.version")?)?;
        let (major, minor) = OLDEST;
        (version < OLDEST).then(|| {
            self.error(format!(
                "its brokers speak version {}.{}; {major}.{minor} is the oldest that is supported",
                version.0, version.1
            ))
        })
    }

    /// Topics that brokers make at the first need, with more replicas than there are brokers: the client would wait for them for ever.
    fn too_few(&self, settings: &Settings) -> Vec<KafkaError> {
        let needed = [
            ("__transaction_state", "transaction.state.log.replication.factor"),
            ("__transaction_state", "transaction.state.log.min.isr"),
            ("__consumer_offsets", "offsets.topic.replication.factor"),
        ];
        let brokers = self.brokers.len() as i64;
        let too_few = needed.into_iter().filter_map(|(topic, name)| {
            let wanted = settings.number(name).filter(|wanted| *wanted > brokers)?;
            (!self.has_topic(topic)).then(|| {
                self.error(format!(
                    "it has {brokers} broker(s), and `{name}` is {wanted}: transactions cannot begin; lower it in the brokers' configuration"
                ))
            })
        });
        too_few.collect()
    }
}

/// Major and minor of a text like `3.6-IV2`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_brokers_are_understood_or_let_pass() {
        assert_eq!(version_of("3.6-IV2"), Some((3, 6)));
        assert_eq!(version_of("4.0"), Some((4, 0)));
        assert!(version_of("3.6-IV2").is_some_and(|version| version < OLDEST));
        assert!(version_of("3.7-IV4").is_some_and(|version| version >= OLDEST));
        assert_eq!(version_of("trunk"), None);
    }
}
