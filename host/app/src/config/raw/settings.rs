use super::Scalar;
use schemars::JsonSchema;
use serde::Deserialize;

/// When epochs are committed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commit {
    /// Time from one commit to the next; 500 ms.
    pub(crate) interval: Option<Scalar>,
    /// Bytes of outputs that end an epoch early; 64 MiB.
    pub(crate) output_bytes: Option<Scalar>,
    /// How long a Kafka transaction may stay open; 15 s.
    pub(crate) transaction_timeout: Option<Scalar>,
}

/// Where and how state is kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// The pipeline's directory; `./state/<id>`.
    pub(crate) dir: Option<String>,
    /// Memory for state: caches and buffers; 256 MiB.
    pub(crate) memory: Option<Scalar>,
}

/// When checkpoints are taken.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    /// Time from one to the next; none without it.
    pub(crate) interval: Option<Scalar>,
    /// Where they are kept; below the state directory.
    pub(crate) dir: Option<String>,
    /// How many are kept; 3.
    pub(crate) keep: Option<usize>,
}

/// What cuts batches.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// Records; 4096.
    pub(crate) records: Option<usize>,
    /// Bytes; 1 MiB.
    pub(crate) bytes: Option<Scalar>,
}

/// The door of the running pipeline.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    /// The address it listens on, always of this machine; `off`: none. Any free port by default.
    pub(crate) listen: Option<String>,
    /// Names it answers to beside those of this machine, as browsers send them: `HOST` or `HOST:PORT`.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may ask, like `https://streams.example`.
    #[serde(default)]
    pub(crate) origins: Vec<String>,
}
