use super::Scalar;
use schemars::JsonSchema;
use serde::Deserialize;

/// An operator.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operator {
    /// The Wasm module: a path, or `name@version` or a digest from the plugin store.
    pub(crate) module: String,
    /// Which operator of the module, if it has several.
    pub(crate) operator: Option<String>,
    /// What it reads: ids of sources and operators, `operator.output` for one of several outputs.
    pub(crate) inputs: Vec<String>,
    /// `key`: each key goes to one instance. Implied by state.
    pub(crate) key_by: Option<KeyBy>,
    /// Its configuration.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(crate) config: Option<serde_json::Value>,
    /// What it may use.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// What happens to records it cannot process.
    pub(crate) on_error: Option<OnError>,
    /// How often a call that asks for it is repeated.
    pub(crate) retries: Option<u32>,
    /// What happens to records without a key.
    pub(crate) null_key: Option<NullKey>,
    /// That the timestamps of its outputs say what time it is to those behind it, and what is expected of their order.
    pub(crate) watermark: Option<OutputWatermark>,
    /// The windows that it works in.
    pub(crate) window: Option<Window>,
    /// What a module of the simple world does not say itself.
    pub(crate) declare: Option<Declare>,
}

/// What is expected of the order of an operator's timestamps.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputWatermark {
    /// How much earlier than the latest before it an output may be.
    pub(crate) disorder: Scalar,
}

/// Windows of an operator, kept by the host: one of `tumbling` and `sliding`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// Windows one after the other: their length.
    pub(crate) tumbling: Option<Scalar>,
    /// Windows that overlap: their length.
    pub(crate) sliding: Option<Scalar>,
    /// Of sliding windows: the time from the beginning of one to that of the next.
    pub(crate) every: Option<Scalar>,
    /// Where windows begin, counted from 1970 UTC: `-2h` for days at +02:00. None by default.
    pub(crate) offset: Option<Scalar>,
    /// How long after its end a window still takes records, and fires again; not at all by default.
    pub(crate) lateness: Option<Scalar>,
    /// How long after its first record since it last fired a window fires early, on the wall clock; never by default.
    pub(crate) early: Option<Scalar>,
}

/// What a module of the simple world does not say itself.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declare {
    /// Names of its inputs, in the order of the operator's `inputs`; one, `in`, by default.
    pub(crate) inputs: Option<Vec<String>>,
    /// Names of its outputs; one, `out`, by default.
    pub(crate) outputs: Option<Vec<String>>,
    /// Version of the bytes in its state; 1 by default.
    pub(crate) state_version: Option<u32>,
    /// Other versions of them that it reads as they are.
    #[serde(default)]
    pub(crate) reads_versions: Vec<u32>,
}

/// What a record is assigned to an instance by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyBy {
    /// The record's key.
    Key,
}

/// What happens to a record that an operator cannot process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// It goes to `dead_letters`.
    DeadLetter,
    /// It is counted and dropped.
    Skip,
    /// The pipeline stops at the last commit.
    Stop,
}

/// What happens to a record without a key at a keyed operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NullKey {
    /// It is refused: see `on_error`.
    Reject,
    /// It is counted and dropped.
    Drop,
    /// Its key is taken as empty.
    Empty,
}

/// What an operator may use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Memory of an instance.
    pub(crate) memory: Option<Scalar>,
    /// Time of a call.
    pub(crate) batch_time: Option<Scalar>,
    /// What each record adds to it.
    pub(crate) record_time: Option<Scalar>,
    /// Length of a key.
    pub(crate) key: Option<Scalar>,
    /// Length of an emitted value.
    pub(crate) value: Option<Scalar>,
    /// Length of a value in state.
    pub(crate) state_value: Option<Scalar>,
    /// Records that one may emit.
    pub(crate) outputs_per_record: Option<u32>,
    /// Bytes that a call may emit.
    pub(crate) output_bytes: Option<Scalar>,
    /// How often in a row a key's timers may set another one that is due at once.
    pub(crate) timer_rounds: Option<u32>,
    /// Lines per second.
    pub(crate) log_lines: Option<u32>,
    /// Length of a line.
    pub(crate) log_line: Option<Scalar>,
    /// Bytes that one request hands to the host.
    pub(crate) request: Option<Scalar>,
    /// Call stack.
    pub(crate) stack: Option<Scalar>,
    /// Core instances of a component.
    pub(crate) instances: Option<u32>,
    /// Tables of an instance.
    pub(crate) tables: Option<u32>,
    /// Names of its own metrics.
    pub(crate) metrics: Option<u32>,
}
