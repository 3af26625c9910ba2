use super::plan::Refusal;
use super::probation::ProbationRules;
use super::status::ShadowStatus;
use super::trial::{TrialFailure, TrialRules};
use crate::ports::{OpenError, OperatorFactory};
use millstream_model::ids::{Digest, Generation};
use std::sync::Arc;

/// Told once how a swap went; called from the thread that commits, so it must not block.
pub type SwapAnswer = Box<dyn FnOnce(Result<SwapDone, SwapRefused>) + Send>;

/// Asks for a module to take over a running operator. Reading, compiling, checking and opening the module came before: they made the factory.
pub struct SwapRequest {
    /// The operator's id in the pipeline file. Its name within the component, its configuration and its limits are the factory's matter.
    pub operator: String,
    /// Makes instances of the new module, and has its descriptor and digest.
    pub factory: Arc<dyn OperatorFactory>,
    /// What its trial demands.
    pub rules: TrialRules,
    /// What is demanded of it afterwards.
    pub probation: ProbationRules,
    /// Who asks.
    pub kind: SwapKind,
    /// Hears how it went: after the commit that makes the switch durable, or once it is certain that there will be none.
    pub done: SwapAnswer,
}

impl std::fmt::Debug for SwapRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest = self.factory.digest();
        f.debug_struct("SwapRequest")
            .field("operator", &self.operator)
            .field("digest", &digest)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Who asks for a swap, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SwapKind {
    /// A person or a pipeline deploys a new version: it is tried.
    Deploy,
    /// Code that ran before comes back: it is not tried.
    Return,
    /// The pipeline file named another module at the start than the commit before: tried like a deploy.
    Restart,
}

/// A switch that is committed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SwapDone {
    /// The operator's id.
    pub operator: String,
    /// The number of the version that runs now.
    pub generation: Generation,
    /// Its module.
    pub digest: Digest,
    /// Records it was given in its trial. 0: nothing came, so it is unproven.
    pub trial_records: u64,
    /// How long workers stood for it.
    pub pause: Pause,
    /// Why there is no way back to the version before, if there is none.
    pub no_return: Vec<Refusal>,
    /// What else is worth knowing: states that vanished, versions that are migrated.
    pub notes: Vec<String>,
}

/// How long workers processed nothing for the sake of a swap: of each kind the longest that any worker stood, as far as they had told by its commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pause {
    /// From a worker's part of the last epoch of the version before until the new one may be given records, in microseconds.
    pub at_switch_us: u64,
    /// From the last record of the trial until its verdict, in microseconds.
    pub for_verdict_us: u64,
}

impl SwapDone {
    /// Whether the new version processed anything before it was let go on.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.trial_records > 0
    }
}

/// Hears of a shadow; called from any thread.
pub type ShadowAnswer = Box<dyn FnOnce(Result<ShadowStatus, SwapRefused>) + Send>;

/// Why a module does not take over. The version that ran goes on as if nothing had been asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SwapRefused {
    /// There is no such operator.
    #[error("there is no operator `{operator}`; the pipeline has {}", list(known))]
    NoOperator {
        /// What was asked for.
        operator: String,
        /// The operators there are.
        known: Vec<String>,
    },
    /// Another swap is under way.
    #[error("a swap of operator `{operator}` is under way ({phase}): one at a time; ask again when it is over")]
    Busy {
        /// Whose.
        operator: String,
        /// How far it is.
        phase: &'static str,
    },
    /// The module does not fit: nothing was tried.
    #[error("operator `{operator}` cannot be replaced by this module: {}", list(refusals))]
    Plan {
        /// The operator's id.
        operator: String,
        /// Each thing that does not fit.
        refusals: Vec<Refusal>,
    },
    /// A rule makes no sense.
    #[error("the rules of the swap: {0}")]
    Rules(String),
    /// The module could not be made ready.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to go back to, or it could not read what was written since.
    #[error("operator `{operator}` cannot go back: {reason}")]
    NoReturn {
        /// The operator's id.
        operator: String,
        /// Why, and what to do.
        reason: String,
    },
    /// It failed its trial. Nothing of it was ever written anywhere.
    #[error("the new version of operator `{operator}` failed its trial: {failure}")]
    Trial {
        /// The operator's id.
        operator: String,
        /// What it failed on.
        failure: TrialFailure,
    },
    /// There is no shadow that could be ended.
    #[error("operator `{operator}` has no shadow")]
    NoShadow {
        /// The operator's id.
        operator: String,
    },
    /// The run ended first.
    #[error("the run ended before the swap of operator `{operator}` was decided{}", .failure.as_ref().map(|failure| format!("; its trial had failed: {failure}")).unwrap_or_default())]
    Ended {
        /// The operator's id.
        operator: String,
        /// A failure that was being confirmed.
        failure: Option<TrialFailure>,
    },
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
