//! Versions of operators as people and machines are shown them.

use millstream_engine::swap::shadow::{Difference, Shown};
use millstream_engine::swap::{
    EventKind, FaultPlace, GenerationStatus, Pause, Refusal, ShadowStatus, StatePlan, StateVerdict, SwapDone,
    SwapEvent, SwapPhase, SwapPlan, SwapStatus, TrialFailure,
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
    /// The version that runs beside it, or did last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowView>,
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
    pub(crate) pause: PauseView,
}

/// How long workers processed nothing for the sake of a swap: of each kind the longest that any worker stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PauseView {
    /// From the end of the last epoch of the version before until the new one could be given records, in microseconds.
    pub(crate) at_switch_us: u64,
    /// From the last record of the trial until its verdict, in microseconds.
    pub(crate) for_verdict_us: u64,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self { at_switch_us: pause.at_switch_us, for_verdict_us: pause.for_verdict_us }
    }
}

/// A version that runs beside the one that counts: what it makes of the same records is compared, and nothing of it stays. Counts are of committed epochs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ShadowView {
    /// Its module, as `sha256:…`.
    pub(crate) digest: String,
    /// When it began, in milliseconds since 1970; none: it has not yet.
    pub(crate) since_ms: Option<i64>,
    /// Why it is over, if it is.
    pub(crate) over: Option<String>,
    /// Whether the two agreed on everything so far.
    pub(crate) is_equal: bool,
    /// Records it was given.
    pub(crate) records: u64,
    /// Outputs that both made, alike in key, value, timestamp and headers.
    pub(crate) equal: u64,
    /// Outputs that only the version which counts made.
    pub(crate) only_old: u64,
    /// Outputs that only the shadow made.
    pub(crate) only_new: u64,
    /// Outputs of the same place that differ.
    pub(crate) changed: u64,
    /// Records that the version which counts rejected.
    pub(crate) rejected_old: u64,
    /// Records that the shadow rejected.
    pub(crate) rejected_new: u64,
    /// Records the shadow was at fault for.
    pub(crate) failed: u64,
    /// Its time in calls, as a multiple of that of the version that counts.
    pub(crate) time_ratio: Option<f64>,
    /// What following costs in all, calls and comparison, as a multiple of the operator's own calls.
    pub(crate) cost_ratio: Option<f64>,
    /// Its state in memory, as a multiple of that of the version that counts; all that it ever touched stays there.
    pub(crate) memory_ratio: Option<f64>,
    /// The first thing on which they do not agree.
    pub(crate) first: Option<DifferenceView>,
}

/// Where two versions do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct DifferenceView {
    /// Id of the source of the record.
    pub(crate) source: String,
    /// Its partition within the source.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) offset: i64,
    /// Name of the output; empty if the shadow failed on the record.
    pub(crate) output: String,
    /// What the version that counts made of it.
    pub(crate) old: Option<RecordView>,
    /// What the shadow made of it.
    pub(crate) new: Option<RecordView>,
    /// How the shadow failed, if it did.
    pub(crate) failure: Option<String>,
}

/// A record, as far as it is text; long ones are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RecordView {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    /// Its event time, in milliseconds since 1970.
    pub(crate) timestamp_ms: i64,
}

impl From<ShadowStatus> for ShadowView {
    fn from(status: ShadowStatus) -> Self {
        let ShadowStatus { digest, since_ms, over, tally } = status;
        let ratio = |one: u64, other: u64| (other > 0).then(|| one as f64 / other as f64);
        Self {
            digest: digest.to_string(),
            since_ms,
            over,
            is_equal: tally.is_equal(),
            records: tally.records,
            equal: tally.equal,
            only_old: tally.only_old,
            only_new: tally.only_new,
            changed: tally.changed,
            rejected_old: tally.rejected_old,
            rejected_new: tally.rejected_new,
            failed: tally.failed,
            time_ratio: ratio(tally.busy_new_ns, tally.busy_old_ns),
            cost_ratio: ratio(tally.busy_new_ns + tally.compared_ns, tally.busy_old_ns),
            memory_ratio: ratio(tally.state_new_bytes, tally.state_old_bytes),
            first: tally.first.map(DifferenceView::from),
        }
    }
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        let Difference { place, output, old, new, failure } = difference;
        let FaultPlace { source, partition, offset } = place;
        let (old, new) = (old.map(RecordView::from), new.map(RecordView::from));
        Self { source, partition, offset, output, old, new, failure }
    }
}

impl From<Shown> for RecordView {
    fn from(shown: Shown) -> Self {
        let Shown { key, value, timestamp_ms } = shown;
        Self { key, value, timestamp_ms }
    }
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
            shadow: status.shadow.map(ShadowView::from),
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
        let GenerationStatus { generation, digest, since_ms, trial_records, pause } = status;
        Self { generation: generation.0, digest: digest.to_string(), since_ms, trial_records, pause: pause.into() }
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
    pub(crate) pause: PauseView,
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
            pause: done.pause.into(),
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
