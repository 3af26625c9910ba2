//! The commit protocol: one commit record, inside the transaction that carries an epoch's outputs and state changes, is the only truth about the epoch; one
//! failure path, [`Committer::resolve`], finds out what that truth is and never asks what an error code means.
//!
//! A transaction is bracketed: `begin` is acknowledged before anything else of it is produced, the commit record is produced after every other delivery
//! is acknowledged, and nothing joins after it. So a request of an earlier transaction that arrives late can end this one only where that shows.

mod audit;
pub mod codec;
mod committer;
pub mod cut;
mod decide;
mod history;
mod resolve;
mod restore;
mod seed;
mod start;
mod stop;
mod sums;
mod take;
pub mod verify;

pub use audit::{Acknowledged, Auditor};
pub use committer::Committer;
pub use decide::Found;
pub use history::NewHistory;
pub use stop::{EpochLost, Stop};
pub use sums::{sum_changes, sum_output, sum_outputs};

use crate::ports::{ChangeSet, Clock, Sink, StateBackend, TransactionLog};
use crate::swap::plan::OlderVersions;
use millstream_model::commit::{Catalog, CommitRecord, Gap, OperatorCommit, PartitionPosition, TopicIdentity};
use millstream_model::ids::{Digest, Generation, Incarnation, Lineage, Token};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What commits go through.
pub struct CommitPorts {
    /// The transactional log. Without one, where no Kafka is in the pipeline, a commit is one synced write to the state.
    pub log: Option<Box<dyn TransactionLog>>,
    /// The store of keyed state and of what is applied to it.
    pub state: Arc<dyn StateBackend>,
    /// In the order of the plan.
    pub sinks: Vec<SinkPort>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Where a sink's records go.
pub enum SinkPort {
    /// Into the log's transaction.
    Log,
    /// Into something with a length.
    Local(Box<dyn Sink>),
}

/// Who commits, and what the commits are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The pipeline's id.
    pub id: String,
    /// Where the process runs, for people.
    pub host: String,
    /// Its process id, for people.
    pub pid: u32,
    /// Kafka's cluster id; empty without Kafka.
    pub cluster_id: String,
    /// What the sources read, by source id.
    pub topics: BTreeMap<String, TopicIdentity>,
    /// Number of the changelog topic.
    pub changelog: u32,
    /// Modules the pipeline file names, by operator id.
    pub digests: BTreeMap<String, Digest>,
    /// What ran in the commit that the plan was made by: [`crate::swap::restart::versions`]. `None` where the plan looks at no commit.
    pub planned_after: Option<BTreeMap<String, (Digest, Generation)>>,
    /// Operators with state: id and names of states.
    pub operators: Vec<(String, Vec<String>)>,
    /// In the order of the plan.
    pub sink_ids: Vec<String>,
    /// Where each Kafka sink's partitions end now, by sink id.
    pub sink_ends: BTreeMap<String, Vec<i64>>,
    /// The lineage to begin if there is none: random.
    pub fresh_lineage: Lineage,
}

/// How commits are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitterSettings {
    /// How long a transaction may stay open, in milliseconds. The end of one is repeated for up to twice that.
    pub transaction_timeout_ms: u64,
    /// Whether the store was filled from a checkpoint just now.
    pub from_checkpoint: bool,
    /// How old a store may be, in milliseconds, for the changelog to be laid over it: half the time for which the changelog tells of removed cells.
    pub base_age_ms_max: u64,
    /// Resolves in a row, without a commit, after which the pipeline stops.
    pub resolves_max: u32,
    /// The largest cell that the changelog takes, in bytes of key and value.
    pub cell_bytes_max: usize,
    /// Bytes of cells in one transaction while a history is begun with the state of a checkpoint.
    pub seed_bytes_max: usize,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self {
            transaction_timeout_ms: 15_000,
            from_checkpoint: false,
            base_age_ms_max: 12 * 3_600 * 1_000,
            resolves_max: 10,
            cell_bytes_max: usize::MAX,
            seed_bytes_max: 16 << 20,
        }
    }
}

/// A pipeline taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Positions of the newest commit; empty at a first start.
    pub positions: Vec<PartitionPosition>,
    /// Numbers of operators and states.
    pub catalog: Catalog,
    /// The newest commit.
    pub token: Option<Token>,
    /// The history.
    pub lineage: Lineage,
    /// This run.
    pub incarnation: Incarnation,
    /// Whether everything was processed before.
    pub finished: bool,
    /// Cells read from the changelog.
    pub restored_cells: u64,
}

/// An epoch as cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochEnd {
    /// How far every source partition is; `from` is filled in from the commit before.
    pub positions: Vec<PartitionPosition>,
    /// Generation and module of each operator.
    pub operators: Vec<OperatorCommit>,
    /// Changed cells; none in two sets.
    pub changes: Vec<ChangeSet>,
    /// Offsets lost.
    pub gaps: Vec<Gap>,
    /// Whether every source has come to its end.
    pub finished: bool,
    /// Versions of stored values beside the one that is written, once the epoch is committed.
    pub older_versions: BTreeMap<String, OlderVersions>,
    /// Whether somebody waits for this commit.
    pub force: bool,
}

/// What became of an epoch that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It is committed, and applied by now.
    Committed(CommitRecord),
    /// It is not: this is the newest commit.
    RolledBack(Option<CommitRecord>),
}
