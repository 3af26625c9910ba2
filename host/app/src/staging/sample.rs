//! What a new version would do with values of older ones: tried on some, changed in none.

use super::{Refused, Staged};
use millstream_engine::run::Control;
use millstream_engine::swap::StateVerdict;
use millstream_engine::task::Tried;
use serde::Serialize;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use utoipa::ToSchema;

/// How long the trying may take: a few thousand values, but a module may need all of its time for each.
const PATIENCE: Duration = Duration::from_secs(60);

/// How values of one version went through `migrate`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Sample {
    /// The state.
    pub(crate) state: String,
    /// The version that wrote the values.
    pub(crate) from: u32,
    /// Values tried.
    pub(crate) tried: u64,
    /// Values that it rejected: records of their keys would be refused.
    pub(crate) rejected: u64,
    /// What it said about the first few, or how it failed.
    pub(crate) problems: Vec<String>,
}

impl From<Tried> for Sample {
    fn from(tried: Tried) -> Self {
        let Tried { state, from_version, values, refused, reasons } = tried;
        Self { state, from: from_version, tried: values + refused, rejected: refused, problems: reasons }
    }
}

/// Tries values of every state that is migrated.
pub(super) fn sample(control: &Control, staged: &Staged) -> Result<Vec<Sample>, Refused> {
    if !staged.plan.states.iter().any(|state| matches!(state.verdict, StateVerdict::Migrates { .. })) {
        return Ok(Vec::new());
    }
    let (done, tried) = channel();
    let answer = move |tried| {
        // Whoever waits is below.
        let _ = done.send(tried);
    };
    control.try_migrations(&staged.operator, Arc::clone(&staged.made.factory), Box::new(answer));
    let tried = tried.recv_timeout(PATIENCE).map_err(|error| {
        Refused::Failed(match error {
            RecvTimeoutError::Timeout => "trying its migrations took longer than a minute".to_owned(),
            RecvTimeoutError::Disconnected => "its migrations could not be tried: no thread could be had".to_owned(),
        })
    })?;
    Ok(tried.map_err(Refused::Engine)?.into_iter().map(Sample::from).collect())
}
