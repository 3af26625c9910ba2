//! Migration tried on a few stored values before anybody agrees to a swap: nothing of it is kept.

use super::{Task, TaskParts};
use crate::ports::CallError;
use millstream_model::key_group::{KEY_GROUPS, KeyGroup};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reasons that are told of a state and version.
const REASONS_MAX: usize = 5;

/// What became of some values of a state that an older version wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Tried {
    /// Name of the state.
    pub state: String,
    /// The version.
    pub from_version: u32,
    /// Values that can be migrated.
    pub values: u64,
    /// Values that cannot.
    pub refused: u64,
    /// Why not, for the first few.
    pub reasons: Vec<String>,
}

/// Has a new instance of an operator migrate old values, from the first `cells_max` cells of each state and key group. `parts` are those it would run with, so `older_versions` are those after
/// the switch. Reads the store beside whoever runs on it.
///
/// # Errors
/// When no instance can be made, the store cannot be read, or the operator asks to stop.
pub fn try_migrations(parts: &Arc<TaskParts>, cells_max: u64) -> Result<Vec<Tried>, CallError> {
    let mut task = Task::new(parts).map_err(|error| CallError::Host(error.to_string()))?;
    let Some(mut call) = task.take_call() else { return Ok(Vec::new()) };
    let mut tried = Vec::new();
    for (state, described) in (0u32..).zip(&parts.node.descriptor.states) {
        let versions = call.state.versions_to_migrate(state).iter().map(|&from_version| Tried {
            state: described.name.clone(),
            from_version,
            values: 0,
            refused: 0,
            reasons: Vec::new(),
        });
        let mut of_state: BTreeMap<u32, Tried> = versions.map(|tried| (tried.from_version, tried)).collect();
        let groups = (0..KEY_GROUPS as u8).map(KeyGroup).filter(|_| !of_state.is_empty()).collect::<Vec<_>>();
        for group in groups {
            let slice = call.state.stale_cells((state, group), None, cells_max)?;
            for stale in &slice.stale {
                let Some(tried) = of_state.get_mut(&stale.from_version) else { continue };
                task.migrate(&mut call, stale, |_, unfit| {
                    if tried.reasons.len() < REASONS_MAX {
                        tried.reasons.push(unfit.reason.to_string());
                    }
                })?;
                let migrated = task.take_migrated();
                tried.values += migrated.values;
                tried.refused += migrated.refused;
            }
            call.state.drop_epochs();
        }
        tried.extend(of_state.into_values());
    }
    Ok(tried)
}
