//! What the commits topic holds, and what is stored beside the state as `applied`.
//!
//! Records are postcard behind a version byte; see `engine::commit::codec`. Three constant keys per partition: `open`, `begin`, `commit`.

use crate::ids::{Digest, Generation, Incarnation, Lineage, Token};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far one source partition has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPosition {
    /// Id of the source in the pipeline file.
    pub source: String,
    /// Number of the partition within the source.
    pub partition: i32,
    /// First offset of the epoch: the `next` of the commit before.
    pub from: i64,
    /// First offset that the next epoch reads.
    pub next: i64,
    /// Leader epoch of the last record read, -1 if unknown: tells truncation of the log.
    pub leader_epoch: i32,
    /// Highest timestamp read so far, in milliseconds since 1970; the watermark is made of it. `None` before the first record.
    pub timestamp_ms_max: Option<i64>,
    /// Whether the partition was idle at the cut.
    pub idle: bool,
}

/// What a commit says of one operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorCommit {
    /// The operator's id in the pipeline file.
    pub id: String,
    /// Which switch of modules it is at.
    pub generation: Generation,
    /// The module that ran in the epoch.
    pub digest: Digest,
    /// Its watermark, in milliseconds since 1970; it never goes back behind it. Timers that are due by it may be left to fire.
    pub watermark_ms: Option<i64>,
    /// Version of each of its states, by name.
    pub state_versions: BTreeMap<String, u32>,
}

/// Offsets that were gone before they were read, let pass by `on_data_loss: earliest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Id of the source.
    pub source: String,
    /// Number of the partition.
    pub partition: i32,
    /// First offset lost.
    pub from: i64,
    /// First offset that was still there.
    pub to: i64,
}

/// The numbers of operators and states in cell keys. Given once within a lineage and never again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// By operator id: its number and its states' numbers by name.
    pub operators: BTreeMap<String, CatalogEntry>,
}

/// An operator's numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// The operator's number.
    pub number: u16,
    /// Numbers of its states by name.
    pub states: BTreeMap<String, u8>,
}

impl Catalog {
    /// The operator's entry with these states, new numbers given where there are none. `None` when the numbers are used up.
    pub fn enter(&mut self, operator: &str, states: &[&str]) -> Option<&CatalogEntry> {
        let fresh =
            self.operators.values().map(|entry| entry.number).max().map_or(Some(0), |max| max.checked_add(1))?;
        let entry = self
            .operators
            .entry(operator.to_owned())
            .or_insert_with(|| CatalogEntry { number: fresh, states: BTreeMap::new() });
        for &state in states {
            if !entry.states.contains_key(state) {
                let number = entry.states.values().max().map_or(Some(0), |max| max.checked_add(1))?;
                entry.states.insert(state.to_owned(), number);
            }
        }
        Some(entry)
    }

    /// Takes over what another catalog of the same lineage has beyond this one.
    pub fn extend(&mut self, other: &Self) {
        for (id, theirs) in &other.operators {
            let ours = self.operators.entry(id.clone()).or_insert_with(|| theirs.clone());
            for (state, number) in &theirs.states {
                ours.states.entry(state.clone()).or_insert(*number);
            }
        }
    }
}

/// `open`: a process has taken the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecord {
    /// The history it goes on with.
    pub lineage: Lineage,
    /// Its run.
    pub incarnation: Incarnation,
    /// Where it runs, for people.
    pub host: String,
    /// Its process id, for people.
    pub pid: u32,
    /// When it started, in milliseconds since 1970, for people.
    pub started_ms: i64,
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// Topic id and partition count of each source topic, by source id.
    pub topics: BTreeMap<String, TopicIdentity>,
    /// Number of the changelog topic: `<id>.changelog.<n>`.
    pub changelog: u32,
    /// Numbers of operators and states.
    pub catalog: Catalog,
    /// Digests the pipeline file names, by operator id.
    pub digests: BTreeMap<String, Digest>,
    /// Key-group function and count; never changes within a lineage.
    pub key_groups: String,
    /// Where each Kafka sink's partitions ended when the lineage began, by sink id.
    pub sink_starts: BTreeMap<String, Vec<i64>>,
    /// The generation that was committed when the pipeline file first named the digest it names, by operator id: tells a change of the file from a
    /// switch that is younger. Empty in records of format 1.
    pub named_since: BTreeMap<String, Generation>,
}

/// What tells a topic from another of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicIdentity {
    /// The topic's name, or a path.
    pub name: String,
    /// Kafka's topic id, empty if the broker does not tell.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
}

/// `begin`: an epoch's transaction has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginRecord {
    /// The epoch.
    pub token: Token,
}

/// A sum over records of a sink, in whatever order they lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTotal {
    /// How many.
    pub records: u64,
    /// Sum, wrapping, of the crc32c of each record's key followed by its value.
    pub checksum: u64,
}

/// `commit`: the only truth about an epoch. Stored beside the state as `applied`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// The epoch.
    pub token: Token,
    /// The commit before; `None` for the first of a lineage.
    pub previous: Option<Token>,
    /// Wall clock of the cut, in milliseconds since 1970, for people.
    pub committed_ms: i64,
    /// Positions of all source partitions.
    pub positions: Vec<PartitionPosition>,
    /// Generation, digest and watermark of each operator.
    pub operators: Vec<OperatorCommit>,
    /// Length of each file sink in bytes, by sink id.
    pub file_lengths: BTreeMap<String, u64>,
    /// Everything the lineage has written to each Kafka sink, by sink id: lets `verify` compare a topic and the commits.
    pub output_totals: BTreeMap<String, OutputTotal>,
    /// Cells changed in this epoch.
    pub changes: u64,
    /// Sum, wrapping, of the crc32c of every changed cell's key and value: lets `verify` compare changelog and commit.
    pub changes_checksum: u64,
    /// Gaps named since the commit before.
    pub gaps: Vec<Gap>,
    /// Whether every source has come to its end.
    pub finished: bool,
    /// Numbers of operators and states. A swap may add states, so every commit carries them; empty in commits of format 1.
    pub catalog: Catalog,
    /// Versions of stored values that may lie about beside the one that is written: by operator id, by name of the state.
    pub older_versions: BTreeMap<String, BTreeMap<String, Vec<u32>>>,
}

/// Anything that lies in a commits partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitsEntry {
    /// A process took the pipeline.
    Open(OpenRecord),
    /// A transaction began.
    Begin(BeginRecord),
    /// An epoch was committed.
    Commit(CommitRecord),
}
