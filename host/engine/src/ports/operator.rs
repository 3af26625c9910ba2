use crate::call::Call;
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::Descriptor;
use millstream_model::ids::Digest;

/// An operator instance on one worker: a function from a batch and the state of its keys to effects.
pub trait Operator: Send {
    /// Processes the batch of `call` and stages effects in it. The call is given back in every case; what it staged counts
    /// only with `Ok`.
    ///
    /// After [`CallError::Panic`], [`CallError::Trap`], [`CallError::Timeout`] and [`CallError::Limit`] the implementation replaces its
    /// instance, so that the next call finds a fresh one.
    ///
    /// # Errors
    /// See [`CallError`]; the variant says what the engine does next.
    fn process(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>);

    /// Fires the timers of `call` ([`Call::fired`]): as [`Operator::process`], for timers.
    ///
    /// # Errors
    /// As [`Operator::process`].
    fn on_timers(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        (call, Err(CallError::Host("the operator has no timers".to_owned())))
    }

    /// Fires the windows of `call` ([`Call::window`]): as [`Operator::process`], for windows.
    ///
    /// # Errors
    /// As [`Operator::process`].
    fn on_windows(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        (call, Err(CallError::Host("the operator does not work inside windows".to_owned())))
    }

    /// Rewrites values, or values of map entries, that an older version of a state wrote: row `i` of the result replaces row `i`, absent removes it. Asked for the
    /// versions in the state's `migrates_versions` only, between calls of [`Operator::process`], and any number of times with the same bytes.
    ///
    /// # Errors
    /// As [`Operator::process`]; [`CallError::Reject`] names rows that keep their old bytes.
    fn migrate(&mut self, old: OldValues<'_>) -> Result<BytesColumn, CallError> {
        Err(CallError::Host(format!(
            "{} value(s) of version {} in state {}: the operator migrates none",
            old.values.len(),
            old.from_version,
            old.state
        )))
    }
}

/// Values that an older version of a state wrote.
#[derive(Debug, Clone, Copy)]
pub struct OldValues<'a> {
    /// Position of the state in the descriptor.
    pub state: u32,
    /// The version that wrote them.
    pub from_version: u32,
    /// Their bytes; all present.
    pub values: &'a BytesColumn,
    /// Time the call may take in milliseconds; running longer is [`CallError::Timeout`].
    pub time_limit_ms: u64,
}

/// Makes instances of one configured operator: a compiled module, its name and its configuration. Shared by all workers.
pub trait OperatorFactory: Send + Sync {
    /// What the operator said of itself when it was staged.
    fn descriptor(&self) -> &Descriptor;

    /// sha256 of the module.
    fn digest(&self) -> Digest;

    /// Makes an instance.
    ///
    /// # Errors
    /// When the module cannot be instantiated, its `open` fails, or it describes itself otherwise than when it was staged.
    fn instantiate(&self) -> Result<Box<dyn Operator>, OpenError>;
}

/// Why an operator could not be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operator `{operator}`: {reason}")]
pub struct OpenError {
    /// The operator's id in the pipeline file.
    pub operator: String,
    /// What was wrong and what to do.
    pub reason: String,
}

/// Why a call did not succeed, told apart by what the engine does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// These rows cannot be processed: the engine takes them out, applies the error policy and calls again with the rest.
    #[error("{} record(s) rejected", .0.len())]
    Reject(Vec<(u32, String)>),
    /// The operator is at fault for these rows, as it would be alone with each: the engine applies the error policy and calls again with the rest.
    #[error("failed on {} record(s)", .0.len())]
    Blame(Vec<(u32, String)>),
    /// Something other than the rows is at fault and may pass: the engine repeats the call, as often as `retries` says.
    #[error("asked for a retry: {0}")]
    Retry(String),
    /// The operator must not go on: the engine stops the pipeline at the last commit.
    #[error("asked to stop: {0}")]
    Stop(String),
    /// The guest gave up by itself and said why (a panic, an exception nobody caught, an abort): the engine halves the batch until the record at
    /// fault is alone.
    #[error("gave up: {text}{}", below(.backtrace))]
    Panic {
        /// What it said.
        text: String,
        /// Symbolised frames of the guest, innermost first, one a line.
        backtrace: Option<String>,
    },
    /// The guest was ended by the runtime (a bad memory access, a full call stack) or broke the contract: halved like a panic.
    #[error("trapped: {reason}{}", below(.backtrace))]
    Trap {
        /// The trap, or the rule that was broken.
        reason: String,
        /// Symbolised frames of the guest, innermost first, one a line.
        backtrace: Option<String>,
    },
    /// The call took longer than `limits.batch_time` allows: halved like a panic.
    #[error("ran longer than {limit_ms} ms (`limits.batch_time`){}", said(.last_words))]
    Timeout {
        /// What the call had, in milliseconds.
        limit_ms: u64,
        /// The end of what it wrote to standard error meanwhile.
        last_words: Option<String>,
    },
    /// The call hit a limit that is not to be pinned on a row: halved like a panic.
    #[error("hit `limits.{limit}`: {reason}")]
    Limit {
        /// Name of the setting.
        limit: &'static str,
        /// What happened.
        reason: String,
    },
    /// The host failed under the call (state could not be read): no record is to blame, the pipeline stops.
    #[error("{0}")]
    Host(String),
}

/// A backtrace below the line it belongs to.
fn below(backtrace: &Option<String>) -> String {
    backtrace.as_deref().map(|trace| format!("\n{trace}")).unwrap_or_default()
}

fn said(last_words: &Option<String>) -> String {
    last_words.as_deref().map(|words| format!("; its last words: {words}")).unwrap_or_default()
}

impl CallError {
    /// Whether the engine knows what to do about it without smaller batches.
    #[must_use]
    pub fn names_its_rows(&self) -> bool {
        matches!(self, Self::Reject(_) | Self::Blame(_) | Self::Retry(_) | Self::Stop(_) | Self::Host(_))
    }
}
