use millstream_engine::swap::SwapRefused;
use millstream_model::ids::{Digest, Generation};

/// Why a module does not take over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It is no operator for this pipeline.
    #[error("{0}")]
    Unfit(String),
    /// There is no module of that name.
    #[error("{0}")]
    NoModule(String),
    /// It is the one that runs.
    #[error("operator `{operator}` runs {digest} already, as generation {generation}")]
    Runs {
        /// The operator's id.
        operator: String,
        /// The module.
        digest: Digest,
        /// Its number.
        generation: Generation,
    },
    /// It reaches for more than it may.
    #[error("the new version of operator `{operator}`: {text}; if it may, swap with `--allow {}`", needed.join(","))]
    Capabilities {
        /// The operator's id.
        operator: String,
        /// What is wrong.
        text: String,
        /// The interfaces.
        needed: Vec<String>,
    },
    /// Something else was in the way.
    #[error("{0}")]
    Failed(String),
    /// The engine says no.
    #[error(transparent)]
    Engine(SwapRefused),
}
