//! The client that is not ours.

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::wire::{Kind, decode, encode, read_frame, write_frame};
use crate::{Process, Record, kafka};

/// Partition → offset.
pub type Positions = BTreeMap<i32, i64>;

/// What a reader sees of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Only what was committed, up to the first transaction that is still open.
    Committed,
    /// Everything that was ever written.
    Uncommitted,
}

/// First and last offsets of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Offsets {
    /// First offset that is still there.
    pub first: Positions,
    /// One past the last record; with [`Isolation::Committed`] the last stable offset.
    pub last: Positions,
}

/// A topic as the broker describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Topic {
    /// Changes when a topic is deleted and made again.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
    /// All settings that have effect.
    pub configs: BTreeMap<String, Option<String>>,
}

/// A transactional id as its coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Transaction {
    /// The transactional id.
    pub id: String,
    /// The producer id it has now.
    pub producer_id: i64,
    /// "Ongoing", `PrepareCommit`, `CompleteCommit`, "Empty" and so on.
    pub state: String,
}

/// Apache Kafka's Java client in a process of its own; see `tests/kafka/client`. Calls from several threads take turns.
#[derive(Debug)]
pub struct OutsideClient {
    channel: Mutex<Channel>,
    bootstrap: String,
}

#[derive(Debug)]
struct Channel {
    requests: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
    frame: Vec<u8>,
    // Only held: the process ends with it.
    _process: Process,
}

/// Records are sent in runs of about this size.
const RUN_BYTES: usize = 512 * 1024;

impl OutsideClient {
    /// Starts a client for the broker at `bootstrap`.
    ///
    /// # Errors
    /// If the jars are missing (run `make setup`) or Java does not start.
    pub fn start(bootstrap: &str) -> Result<Self> {
        let classpath = kafka::classpath()?;
        let mut command = Command::new("java");
        command.args(["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", kafka::path("log4j2.properties")));
        command.args(["-cp", &classpath, "OutsideClient", bootstrap]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::spawn("the outside client", command)?;
        let (requests, answers) = process.pipes().context("the outside client has no pipes")?;
        let channel = Channel {
            requests: BufWriter::with_capacity(RUN_BYTES, requests),
            answers: BufReader::with_capacity(RUN_BYTES, answers),
            frame: Vec::new(),
            _process: process,
        };
        Ok(Self { channel: Mutex::new(channel), bootstrap: bootstrap.to_owned() })
    }

    /// The address it was started with.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Writes records and waits until all are acknowledged; gives their number.
    ///
    /// # Errors
    /// If one is refused.
    pub fn produce(&self, topic: &str, records: impl IntoIterator<Item = Record>) -> Result<u64> {
        self.produce_request(&json!({"op": "produce", "topic": topic}), records)
    }

    /// Begins a transaction. The first one of an id fences whoever used the id before.
    ///
    /// # Errors
    /// If the coordinator refuses, or the id has a transaction open.
    pub fn begin(&self, transaction: &str) -> Result<()> {
        self.call(&json!({"op": "begin", "transaction": transaction})).map(drop)
    }

    /// Writes records inside the open transaction of an id and waits until all are acknowledged.
    ///
    /// # Errors
    /// If one is refused, or the producer was fenced.
    pub fn produce_in(&self, transaction: &str, topic: &str, records: impl IntoIterator<Item = Record>) -> Result<u64> {
        let request = json!({"op": "produce", "topic": topic, "transaction": transaction});
        self.produce_request(&request, records)
    }

    /// Commits the open transaction of an id.
    ///
    /// # Errors
    /// If it could not be committed, or the producer was fenced.
    pub fn commit(&self, transaction: &str) -> Result<()> {
        self.call(&json!({"op": "commit", "transaction": transaction})).map(drop)
    }

    /// Aborts the open transaction of an id.
    ///
    /// # Errors
    /// If the producer was fenced.
    pub fn abort(&self, transaction: &str) -> Result<()> {
        self.call(&json!({"op": "abort", "transaction": transaction})).map(drop)
    }

    /// Everything that is in a topic now, in no order between partitions.
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub fn consume_all(&self, topic: &str, isolation: Isolation) -> Result<Vec<Record>> {
        self.consume_from(topic, isolation, &Positions::new(), 0, Duration::ZERO).map(|(records, _)| records)
    }

    /// The same, after waiting until at least `count` records can be read.
    ///
    /// # Errors
    /// If there are fewer after `timeout`.
    pub fn consume_at_least(
        &self,
        topic: &str,
        isolation: Isolation,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Record>> {
        let (records, _) = self.consume_from(topic, isolation, &Positions::new(), count, timeout)?;
        if records.len() < count {
            bail!("topic {topic:?} has {} of {count} records after {timeout:?}", records.len());
        }
        Ok(records)
    }

    /// Reads on from `from` (partitions that are not in it: from their beginning) to the present end, and further until
    /// there are `count` records or `timeout` is over. Gives the records and where to read on.
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub fn consume_from(
        &self,
        topic: &str,
        isolation: Isolation,
        from: &Positions,
        count: usize,
        timeout: Duration,
    ) -> Result<(Vec<Record>, Positions)> {
        let request = json!({
            "op": "consume", "topic": topic, "committed": isolation == Isolation::Committed,
            "from": from, "min": count, "timeout_ms": u64::try_from(timeout.as_millis())?,
        });
        let mut records = Vec::new();
        let answer = self.lock().call(&request, &mut records)?;
        let next = field(answer, "next")?;
        Ok((records, next))
    }

    /// One request with its answer.
    pub(crate) fn call(&self, request: &Value) -> Result<Value> {
        self.lock().call(request, &mut Vec::new())
    }

    fn produce_request(&self, request: &Value, records: impl IntoIterator<Item = Record>) -> Result<u64> {
        let mut channel = self.lock();
        channel.send(Kind::Json, &serde_json::to_vec(request)?)?;
        let mut run = Vec::with_capacity(RUN_BYTES * 2);
        for record in records {
            encode(&record, &mut run);
            if run.len() >= RUN_BYTES {
                channel.send(Kind::Records, &run)?;
                run.clear();
            }
        }
        if !run.is_empty() {
            channel.send(Kind::Records, &run)?;
        }
        channel.send(Kind::End, &[])?;
        let answer = channel.answer(request, &mut Vec::new())?;
        field(answer, "produced")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    fn call(&mut self, request: &Value, records: &mut Vec<Record>) -> Result<Value> {
        self.send(Kind::Json, &serde_json::to_vec(request)?)?;
        self.answer(request, records)
    }

    fn send(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        write_frame(&mut self.requests, kind, bytes).context("the outside client is gone")
    }

    fn answer(&mut self, request: &Value, records: &mut Vec<Record>) -> Result<Value> {
        self.requests.flush().context("the outside client is gone")?;
        loop {
            if read_frame(&mut self.answers, &mut self.frame)? == Kind::Records {
                decode(&self.frame, records)?;
                continue;
            }
            let answer: Value = serde_json::from_slice(&self.frame).context("an answer that is not JSON")?;
            if let Some(error) = answer.get("error").and_then(Value::as_str) {
                bail!("kafka: {error}, in answer to {request}");
            }
            return Ok(answer);
        }
    }
}

/// An answer as a whole.
pub(crate) fn parse<T: DeserializeOwned>(answer: Value) -> Result<T> {
    serde_json::from_value(answer).context("an answer of another shape")
}

/// One field of an answer.
pub(crate) fn field<T: DeserializeOwned>(mut answer: Value, name: &str) -> Result<T> {
    let value = answer.get_mut(name).map(Value::take);
    parse(value.with_context(|| format!("an answer without {name:?}"))?)
}
