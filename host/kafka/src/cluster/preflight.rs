//! What would hang or fail later, said before anything starts.

use super::describe::{Operation, describe, may_use_group};
use super::topics::Internal;
use super::{KafkaCluster, REQUEST_MS, Settings};
use crate::error::KafkaError;
use crate::metadata;
use crate::names::{changelog_topic, modules_topic};

/// The oldest version that is supported.
const OLDEST: (u32, u32) = (3, 7);

/// What a pipeline needs of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// The pipeline's id.
    pub id: String,
    /// Topics it reads.
    pub sources: Vec<String>,
    /// Topics it writes.
    pub sinks: Vec<SinkNeed>,
    /// How long its transactions may take, in milliseconds.
    pub transaction_timeout_ms: u64,
}

/// A topic that a pipeline writes.
#[derive(Debug, Clone)]
pub struct SinkNeed {
    /// Its name.
    pub topic: String,
    /// Its partitions, if the pipeline makes it where it is not there.
    pub create: Option<i32>,
    /// The largest record that it has to take at least, in bytes of key, value and headers.
    pub record_bytes_min: usize,
}

/// What a user has to be allowed.
const READ: (Operation, &str) = (Operation::RD_KAFKA_ACL_OPERATION_READ, "READ");
const WRITE: (Operation, &str) = (Operation::RD_KAFKA_ACL_OPERATION_WRITE, "WRITE");

impl KafkaCluster {
    /// Everything in the way of a pipeline, as far as it can be told without changing anything. Empty if there is nothing.
    ///
    /// What a user may do with a transactional id no broker tells; the start finds it out at once.
    #[must_use]
    pub fn preflight(&self, needs: &Needs) -> Vec<KafkaError> {
        let mut problems = Vec::new();
        if let Some(settings) = self.brokers.first().and_then(|broker| self.broker_settings(*broker)) {
            problems.extend(self.too_old(&settings));
            problems.extend(self.too_few(&settings));
            problems.extend(self.too_short(&settings, needs.transaction_timeout_ms));
        }
        for topic in &needs.sources {
            problems.extend(self.check_there(topic, &[READ]));
        }
        for sink in &needs.sinks {
            problems.extend(self.check_sink(sink));
        }
        for topic in Internal::of(&needs.id, self.newest_changelog(&needs.id)) {
            if self.has_topic(&topic.name) {
                problems.extend(self.forbidden(&topic.name, &[READ, WRITE]));
                problems.extend(self.topic_settings(&topic.name).err());
            } else {
                problems.extend(self.check_can_create(&topic.name, topic.partitions, &topic.config()).err());
            }
        }
        // Made with the first module that is swapped in.
        let modules = modules_topic(&needs.id);
        if self.has_topic(&modules) {
            problems.extend(self.forbidden(&modules, &[READ, WRITE]));
        }
        if !needs.sources.is_empty() {
            problems.extend(self.check_group(&needs.id));
        }
        problems
    }

    /// The changelog that is likely to be used; which one it is the commits topic says, which the user may not be allowed to read.
    fn newest_changelog(&self, id: &str) -> u32 {
        let names = metadata::topic_names(&self.client, REQUEST_MS).unwrap_or_default();
        let number = |name: &String| name.strip_prefix(&changelog_topic(id, 0).replace(".0", "."))?.parse().ok();
        names.iter().filter_map(number).max().unwrap_or(0)
    }

    fn check_there(&self, topic: &str, needed: &[(Operation, &str)]) -> Vec<KafkaError> {
        match self.topic(topic) {
            Err(error) => vec![error],
            Ok(_) => self.forbidden(topic, needed),
        }
    }

    fn check_sink(&self, sink: &SinkNeed) -> Vec<KafkaError> {
        if let Some(partitions) = sink.create.filter(|_| !self.has_topic(&sink.topic)) {
            return self.check_can_create(&sink.topic, partitions, &[]).err().into_iter().collect();
        }
        let mut problems = self.check_there(&sink.topic, &[WRITE]);
        if problems.is_empty() {
            match self.record_bytes_max(&sink.topic) {
                Err(error) => problems.push(error),
                Ok(bytes) if bytes < sink.record_bytes_min => problems.push(KafkaError::Topic {
                    topic: sink.topic.clone(),
                    reason: format!(
                        "it takes records of {bytes} bytes, and {} are needed: raise its `max.message.bytes`",
                        sink.record_bytes_min
                    ),
                }),
                Ok(_) => {}
            }
        }
        problems
    }

    fn forbidden(&self, topic: &str, needed: &[(Operation, &str)]) -> Vec<KafkaError> {
        let description = describe(&self.client, topic, REQUEST_MS);
        let missing: Vec<&str> =
            needed.iter().filter(|(operation, _)| !description.allows(*operation)).map(|(_, name)| *name).collect();
        if missing.is_empty() {
            return Vec::new();
        }
        let reason = format!("the user may not {} it; add the ACL", missing.join(" nor "));
        vec![KafkaError::Topic { topic: topic.to_owned(), reason }]
    }

    /// The group's offsets are a mirror, and a start asks whether somebody moved them.
    fn check_group(&self, id: &str) -> Option<KafkaError> {
        (!may_use_group(&self.client, id, REQUEST_MS)).then(|| {
            self.error(format!(
                "the user may not use group `{id}`; it needs READ on the group, which is named like the pipeline"
            ))
        })
    }

    fn too_short(&self, settings: &Settings, timeout_ms: u64) -> Option<KafkaError> {
        const NAME: &str = "transaction.max.timeout.ms";
        let most = settings.number(NAME).filter(|most| i64::try_from(timeout_ms).unwrap_or(i64::MAX) > *most)?;
        Some(self.error(format!(
            "its brokers let transactions take {most} ms (`{NAME}`), and `commit.transaction_timeout` is {timeout_ms} ms: lower that"
        )))
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
