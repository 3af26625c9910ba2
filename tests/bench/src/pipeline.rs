//! Topic to topic, exactly once: the `millstream` binary and the bare loop over the same backlog.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use millstream_e2e::{Kafka, MillstreamOptions, Workplace};
use millstream_kafka::{KafkaCluster, Properties};

use crate::bare::Copy;
use crate::job::Taken;
use crate::role::Role;
use crate::usage::{Usage, peak_rss_mib};

/// Partitions of every topic.
pub const PARTITIONS: i32 = 4;

/// Time between commits of both, in milliseconds.
pub const COMMIT_MS: u64 = 500;

/// Longest time for a backlog.
const BACKLOG_TIME_MAX: Duration = Duration::from_secs(180);

/// Processor time that a window has at least: the kernel counts hundredths of a second.
const CPU_S_MIN: f64 = 0.2;

/// A broker and what is asked of it.
pub struct Broker {
    kafka: &'static Kafka,
    cluster: KafkaCluster,
    topics: AtomicU32,
}

impl Broker {
    /// The broker that `tests/kafka/kafka.sh with` started, or one of this process.
    ///
    /// # Errors
    /// If there is none.
    pub fn find() -> Result<Self> {
        let kafka = Kafka::shared()?;
        let properties = Properties::new(kafka.bootstrap(), BTreeMap::new())?;
        Ok(Self { kafka, cluster: KafkaCluster::connect(&properties)?, topics: AtomicU32::new(0) })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.kafka.bootstrap()
    }

    /// Makes a topic with a name of its own.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn topic(&self, name: &str) -> Result<String> {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{name}-{}-{number}", std::process::id());
        self.cluster.create_topic(&name, PARTITIONS)?;
        Ok(name)
    }

    /// Removes a topic.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn remove(&self, topic: &str) -> Result<()> {
        Ok(self.cluster.delete_topics(&[topic])?)
    }

    /// Offsets used so far, of all partitions together; those of commit markers are among them.
    ///
    /// # Errors
    /// If the broker does not tell.
    pub fn end(&self, topic: &str) -> Result<u64> {
        Ok(self.cluster.ends(topic)?.iter().map(|end| end.unsigned_abs()).sum())
    }
}

/// Measures a process that fills `output`, between a tenth and nineteen twentieths of the `records` it has to write. The window opens and closes right after a commit.
fn watch(broker: &Broker, process: u32, output: &str, records: u64) -> Result<Taken> {
    let began_at = Instant::now();
    let mut seen = 0;
    let started = Usage { at: began_at, cpu: Duration::ZERO };
    let mut first: Option<(u64, Usage)> = None;
    loop {
        std::thread::sleep(Duration::from_millis(25));
        // A topic that was just made may have no leader yet; if it never has one the time is over at some point.
        let end = broker.end(output).unwrap_or(seen);
        let usage = Usage::of(process)?;
        if end > seen {
            seen = end;
            if end >= records / 20 * 19 {
                // A backlog that is done within a moment is measured from the start of the process.
                let long = first.filter(|(_, began)| usage.cpu_s_since(began) > CPU_S_MIN);
                let (from, began) = long.unwrap_or((0, started));
                return Ok(Taken {
                    records: end - from,
                    cpu_s: usage.cpu_s_since(&began),
                    wall_s: usage.wall_s_since(&began),
                    peak_rss_mib: peak_rss_mib(process)?,
                });
            }
            if first.is_none() && end >= records / 10 {
                first = Some((end, usage));
            }
        }
        if began_at.elapsed() > BACKLOG_TIME_MAX {
            bail!("only {end} of {records} records came within {BACKLOG_TIME_MAX:?}");
        }
    }
}

/// The bare loop.
///
/// # Errors
/// If it fails.
pub fn copy_bare(broker: &Broker, input: &str, records: u64) -> Result<Taken> {
    let output = broker.topic("bare")?;
    let copy = Copy {
        brokers: broker.address().to_owned(),
        from: input.to_owned(),
        to: output.clone(),
        partitions: PARTITIONS,
        group: output.clone(),
        commit_ms: COMMIT_MS,
    };
    let mut process = Role::Copy(copy).start()?;
    let taken = watch(broker, process.id(), &output, records);
    process.kill()?;
    broker.remove(&output)?;
    taken
}

/// The pipeline with one operator.
///
/// # Errors
/// If it fails.
pub fn copy_through(broker: &Broker, input: &str, records: u64) -> Result<Taken> {
    let output = broker.topic("identity")?;
    let workplace = Workplace::with_pipeline(&yaml(broker, (&output, input, &output), "identity", ""))?;
    let run = workplace.start(&MillstreamOptions::default())?;
    let taken = watch(broker, run.id(), &output, records);
    run.kill()?;
    broker.remove(&output)?;
    taken.map_err(|error| error.context(run.log_end()))
}

/// The pipeline file of an operator between two topics.
#[must_use]
pub fn yaml(broker: &Broker, (id, input, output): (&str, &str, &str), module: &str, key_by: &str) -> String {
    let path = match module {
        "count" => millstream_e2e::plugin(module),
        _ => millstream_e2e::guest(module),
    };
    format!(
        "id: {id}\nkafka: {{ brokers: \"{brokers}\" }}\n\
         sources:\n  in: {{ topic: {input}, start: earliest }}\n\
         operators:\n  subject: {{ module: {path:?}, inputs: [in]{key_by} }}\n\
         sinks:\n  out: {{ topic: {output}, inputs: [subject] }}\n\
         commit: {{ interval: {COMMIT_MS}ms }}\nstate: {{ dir: ./state }}\n",
        brokers = broker.address(),
    )
}
