//! Versions of operators as people and machines are shown them.

use millstream_engine::swap::{
    EventKind, GenerationStatus, Refusal, StatePlan, StateVerdict, SwapDone, SwapEvent, SwapPhase, SwapPlan,
    SwapStatus, TrialFailure,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Which version of an operator runs, and what becomes of it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct VersionStatus {
    /// The number of the version that runs; it rises by one at every switch, back or forth.
    pub(crate) generation: u64,
    /// Its module, as `sha256:…`.
    pub(crate) digest: String,
    pub(crate) swap: SwapProgress,
    /// Whether `rollback` would find a version to go back to.
    pub(crate) can_return: bool,
    /// What happened last to a version of the operator.
    pub(crate) last_event: Option<Event>,
}

/// How far a swap is.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct SwapProgress {
    /// `steady`, `armed`, `trial`, `confirming` or `probation`.
    pub(crate) phase: &'static str,
    /// Records of the trial or the probation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records: Option<u64>,
    /// Records after which it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<u64>,
    /// Cells whose version the sweep in the background has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cells_migrated: Option<u64>,
    /// Cells there are, estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cells: Option<u64>,
}

/// What happened to a version of an operator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// `refused`, `again`, `switched`, `returned`, `settled` or `stuck`.
    #[schema(value_type = String)]
    pub(crate) kind: EventKind,
    /// The module it is about, as `sha256:…`.
    pub(crate) digest: String,
    /// Why, as a sentence.
    pub(crate) reason: String,
}

/// A version that runs or ran in this process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GenerationView {
    pub(crate) generation: u64,
    /// Its module, as `sha256:…`.
    pub(crate) digest: String,
    /// When the commit was that made it durable, in milliseconds since 1970; none for the one that the process started with.
    pub(crate) since_ms: Option<i64>,
    /// Records it was given in its trial.
    pub(crate) trial_records: u64,
}

impl From<SwapStatus> for VersionStatus {
    fn from(status: SwapStatus) -> Self {
        let (records, of) = match status.phase {
            SwapPhase::Trial { records, of } | SwapPhase::Probation { records, of } => (Some(records), Some(of)),
            SwapPhase::Steady | SwapPhase::Armed | SwapPhase::Confirming => (None, None),
        };
        let swap = SwapProgress {
            phase: status.phase.name(),
            records,
            of,
            cells_migrated: status.migration.map(|migration| migration.done),
            cells: status.migration.map(|migration| migration.total),
        };
        Self {
            generation: status.generation.0,
            digest: status.digest.to_string(),
            swap,
            can_return: status.can_return,
            last_event: status.event.map(Event::from),
        }
    }
}

impl From<SwapEvent> for Event {
    fn from(event: SwapEvent) -> Self {
        Self { at_ms: event.at_ms, kind: event.kind, digest: event.digest.to_string(), reason: event.reason }
    }
}

impl From<GenerationStatus> for GenerationView {
    fn from(status: GenerationStatus) -> Self {
        let GenerationStatus { generation, digest, since_ms, trial_records } = status;
        Self { generation: generation.0, digest: digest.to_string(), since_ms, trial_records }
    }
}

/// One reason why a module does not fit, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Misfit {
    /// What does not fit, like "state `seen`".
    pub(crate) what: String,
    /// Why not.
    pub(crate) reason: String,
    /// What to do instead.
    pub(crate) advice: String,
}

impl From<&Refusal> for Misfit {
    fn from(refusal: &Refusal) -> Self {
        let Refusal { what, reason, advice } = refusal.clone();
        Self { what, reason, advice }
    }
}

/// What a swap does, told before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PlanView {
    pub(crate) states: Vec<StateView>,
    /// Why there is no way back after the trial; empty: there is one.
    pub(crate) no_return: Vec<Misfit>,
    /// What else a person should know before.
    pub(crate) notes: Vec<String>,
}

/// What becomes of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StateView {
    pub(crate) name: String,
    /// `same`, `readable`, `migrates`, `new` or `vanished`.
    pub(crate) verdict: &'static str,
    /// The version that is written.
    pub(crate) version: u32,
    /// Versions that are read as they are or migrated.
    pub(crate) from: Vec<u32>,
}

impl From<&SwapPlan> for PlanView {
    fn from(plan: &SwapPlan) -> Self {
        Self {
            states: plan.states.iter().map(StateView::from).collect(),
            no_return: plan.no_return.iter().map(Misfit::from).collect(),
            notes: plan.notes.clone(),
        }
    }
}

impl From<&StatePlan> for StateView {
    fn from(state: &StatePlan) -> Self {
        let (verdict, from) = match &state.verdict {
            StateVerdict::Same => ("same", Vec::new()),
            StateVerdict::Readable { from } => ("readable", from.clone()),
            StateVerdict::Migrates { from } => ("migrates", from.clone()),
            StateVerdict::New => ("new", Vec::new()),
            StateVerdict::Vanished => ("vanished", Vec::new()),
        };
        Self { name: state.name.clone(), verdict, version: state.version, from }
    }
}

/// A switch that is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Switched {
    /// The operator's id.
    pub(crate) operator: String,
    /// The number of the version that runs now.
    pub(crate) generation: u64,
    /// Its module, as `sha256:…`.
    pub(crate) digest: String,
    /// Records it was given in its trial.
    pub(crate) trial_records: u64,
    /// Whether it processed any before it was let go on.
    pub(crate) is_proven: bool,
    /// Why there is no way back to the version before; empty: there is one.
    pub(crate) no_return: Vec<Misfit>,
    /// What else is worth knowing.
    pub(crate) notes: Vec<String>,
}

impl From<SwapDone> for Switched {
    fn from(done: SwapDone) -> Self {
        Self {
            generation: done.generation.0,
            digest: done.digest.to_string(),
            trial_records: done.trial_records,
            is_proven: done.is_proven(),
            no_return: done.no_return.iter().map(Misfit::from).collect(),
            notes: done.notes,
            operator: done.operator,
        }
    }
}

/// What a version failed its trial on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Failed {
    /// What it did.
    pub(crate) reason: String,
    /// Id of the source of the record, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The record's partition within the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partition: Option<i32>,
    /// The record's offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<i64>,
}

impl From<&TrialFailure> for Failed {
    fn from(failure: &TrialFailure) -> Self {
        let place = failure.place.as_ref();
        Self {
            reason: failure.reason.clone(),
            source: place.map(|place| place.source.clone()),
            partition: place.map(|place| place.partition),
            offset: place.map(|place| place.offset),
        }
    }
}
