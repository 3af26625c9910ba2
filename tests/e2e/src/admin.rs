//! What the outside client can do besides reading and writing records.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use crate::client::{field, parse};
use crate::{Isolation, Offsets, OutsideClient, Positions, Topic, Transaction};

impl OutsideClient {
    /// Makes a topic with settings of its own.
    ///
    /// # Errors
    /// If it exists or a setting is refused.
    pub fn create_topic(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        let request = json!({"op": "create_topic", "topic": topic, "partitions": partitions, "configs": configs});
        self.call(&request).map(drop)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.call(&json!({"op": "delete_topic", "topic": topic})).map(drop)
    }

    /// Raises the number of partitions.
    ///
    /// # Errors
    /// If the topic has as many already.
    pub fn add_partitions(&self, topic: &str, partitions: i32) -> Result<()> {
        self.call(&json!({"op": "add_partitions", "topic": topic, "partitions": partitions})).map(drop)
    }

    /// Changes settings of a topic.
    ///
    /// # Errors
    /// If one is refused.
    pub fn alter_topic(&self, topic: &str, configs: &[(&str, &str)]) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.call(&json!({"op": "alter_topic", "topic": topic, "configs": configs})).map(drop)
    }

    /// Identity, partitions and settings of a topic.
    ///
    /// # Errors
    /// If there is none.
    pub fn describe_topic(&self, topic: &str) -> Result<Topic> {
        parse(self.call(&json!({"op": "describe_topic", "topic": topic}))?)
    }

    /// The names of all topics, sorted.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn topics(&self) -> Result<Vec<String>> {
        field(self.call(&json!({"op": "topics"}))?, "topics")
    }

    /// First and last offsets of a topic.
    ///
    /// # Errors
    /// If there is no such topic.
    pub fn offsets(&self, topic: &str, isolation: Isolation) -> Result<Offsets> {
        let committed = isolation == Isolation::Committed;
        parse(self.call(&json!({"op": "offsets", "topic": topic, "committed": committed}))?)
    }

    /// Deletes the records before the given offsets, as retention would.
    ///
    /// # Errors
    /// If an offset is out of range.
    pub fn delete_records(&self, topic: &str, before: &Positions) -> Result<()> {
        self.call(&json!({"op": "delete_records", "topic": topic, "before": before})).map(drop)
    }

    /// Offsets that a group has committed on a topic.
    ///
    /// # Errors
    /// If the coordinator does not answer.
    pub fn group_offsets(&self, group: &str, topic: &str) -> Result<Positions> {
        field(self.call(&json!({"op": "group_offsets", "group": group, "topic": topic}))?, "offsets")
    }

    /// Sets the offsets of a group, as an operator with `kafka-consumer-groups --reset-offsets` would.
    ///
    /// # Errors
    /// If the group has members, or does not exist where the broker wants it to.
    pub fn set_group_offsets(&self, group: &str, topic: &str, offsets: &Positions) -> Result<()> {
        let request = json!({"op": "set_group_offsets", "group": group, "topic": topic, "offsets": offsets});
        self.call(&request).map(drop)
    }

    /// All transactional ids the broker knows, with their states.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn transactions(&self) -> Result<Vec<Transaction>> {
        field(self.call(&json!({"op": "transactions"}))?, "transactions")
    }

    /// Allows a user (see [`KafkaOptions::users`](crate::KafkaOptions::users)) some operations on a resource: `type` is "topic", "group", "transactional_id" or
    /// "cluster". A name that ends with `*` stands for all that begin alike.
    ///
    /// # Errors
    /// If the broker has no ACLs.
    pub fn allow(&self, user: &str, (kind, name): (&str, &str), operations: &[&str]) -> Result<()> {
        let (name, prefixed) = name.strip_suffix('*').map_or((name, false), |prefix| (prefix, true));
        let request = json!({
            "op": "allow", "user": user, "type": kind, "name": name, "prefixed": prefixed, "operations": operations,
        });
        self.call(&request).map(drop)
    }
}
