use super::trial::Tally;
use millstream_model::ids::{Digest, Generation};
use millstream_model::plan::OperatorNode;
use serde::Serialize;

/// Which version of an operator runs, and what becomes of it; a snapshot for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SwapStatus {
    /// The operator's id.
    pub operator: String,
    /// The version that runs.
    pub generation: Generation,
    /// Its module, as `sha256:…`.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// How far a swap is.
    pub phase: SwapPhase,
    /// How far the sweep of old versions of values is, while there is one.
    pub migration: Option<MigrationStatus>,
    /// What the version that runs did in committed epochs of this process.
    pub done: Tally,
    /// Whether `rollback` would find a version to go back to.
    pub can_return: bool,
    /// What happened last.
    pub event: Option<SwapEvent>,
    /// The generations of this process, the newest last; the last 20.
    pub history: Vec<GenerationStatus>,
}

/// Generations that are remembered for people.
const HISTORY_MAX: usize = 20;

impl SwapStatus {
    /// That of an operator with which a process begins.
    #[must_use]
    pub fn of(node: &OperatorNode) -> Self {
        let first =
            GenerationStatus { generation: node.generation, digest: node.digest, since_ms: None, trial_records: 0 };
        Self {
            operator: node.id.clone(),
            generation: node.generation,
            digest: node.digest,
            phase: SwapPhase::Steady,
            migration: None,
            done: Tally::default(),
            can_return: false,
            event: None,
            history: vec![first],
        }
    }

    /// Says that another version runs.
    pub(crate) fn switch(&mut self, to: GenerationStatus) {
        (self.generation, self.digest) = (to.generation, to.digest);
        self.history.push(to);
        let excess = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..excess);
    }
}

/// How far a swap of an operator is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "name")]
pub enum SwapPhase {
    /// None is under way.
    #[default]
    Steady,
    /// Instances are made, or are there and wait for the next commit boundary.
    Armed,
    /// The first epoch of the new version runs, or is being committed.
    Trial {
        /// Records it was given.
        records: u64,
        /// Records after which it is judged.
        of: u64,
    },
    /// The trial failed on a record; the version before is processing it again.
    Confirming,
    /// The new version goes on and may still be taken back by itself.
    Probation {
        /// Records committed.
        records: u64,
        /// Records after which it is over.
        of: u64,
    },
}

impl SwapPhase {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Armed => "armed",
            Self::Trial { .. } => "trial",
            Self::Confirming => "confirming",
            Self::Probation { .. } => "probation",
        }
    }
}

/// How far the sweep of old versions of values is, as of the last commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MigrationStatus {
    /// Cells seen.
    pub done: u64,
    /// Cells there are, taken from those that were seen: keys are spread evenly. `None` before there is anything to go by.
    pub total: Option<u64>,
    /// Cells migrated by the sweep; those that records touched first are not among them.
    pub migrated: u64,
    /// Cells that cannot be migrated: they keep their bytes, and records of their keys are refused. A sweep that is through stays here as long as there are any.
    pub refused: u64,
}

/// What happened to a swap, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SwapEvent {
    /// Wall clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// What.
    pub kind: EventKind,
    /// The module it is about.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// Why, as a sentence; empty where there is nothing to say.
    pub reason: String,
}

/// See [`SwapEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A swap was refused or failed its trial; the version before goes on.
    Refused,
    /// The trial failed on a record on which the version before failed as well: tried again behind it.
    Again,
    /// A new version took over.
    Switched,
    /// The version before took over again.
    Returned,
    /// Probation is over, well.
    Settled,
    /// Probation failed, and there is no way back.
    Stuck,
}

/// A version that runs or ran in this process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerationStatus {
    /// Its number.
    pub generation: Generation,
    /// Its module.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// Wall clock of the commit that made it durable, in milliseconds since 1970; `None` for the one the process started with.
    pub since_ms: Option<i64>,
    /// Records it was given in its trial.
    pub trial_records: u64,
}

fn as_text<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}
