//! What a new version would do with values of older ones: tried on some, changed in none.

use super::Staged;
use millstream_engine::commit::codec::decode_commit;
use millstream_engine::ports::{CallError, Meta, Operator, StateBackend};
use millstream_engine::swap::StateVerdict;
use millstream_model::cell::{self, CellSpace};
use millstream_model::column::BytesColumn;
use millstream_model::key_group::KEY_GROUPS;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Values that are tried of each key group. Taken from all of them, since neighbours are alike.
const VALUES_PER_GROUP: usize = 8;

/// Cells that are looked at for them in each key group.
const CELLS_PER_GROUP: usize = 64;

/// How values of one version went through `migrate`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Sample {
    /// The state.
    pub(crate) state: String,
    /// The version that wrote the values.
    pub(crate) from: u32,
    /// Values tried.
    pub(crate) tried: usize,
    /// Values that it rejected: records of their keys would be refused.
    pub(crate) rejected: usize,
    /// The first thing it said about one, or how it failed.
    pub(crate) problem: Option<String>,
}

/// Tries values of every state that is migrated.
pub(super) fn sample(store: &dyn StateBackend, staged: &Staged) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    for state in &staged.plan.states {
        let StateVerdict::Migrates { from } = &state.verdict else { continue };
        let Some(space) = space(store, &staged.operator, &state.name)? else { continue };
        let mut values = values(store, space)?;
        let states = &staged.made.factory.descriptor().states;
        let index = (0..).zip(states).find(|(_, other)| other.name == state.name).map(|(index, _)| index);
        for version in from {
            let values = values.remove(version).unwrap_or_default();
            let mut operator = staged.made.factory.instantiate().map_err(|error| error.to_string())?;
            let tried = tried(operator.as_mut(), (index.unwrap_or_default(), *version), &values);
            samples.push(Sample { state: state.name.clone(), from: *version, ..tried });
        }
    }
    Ok(samples)
}

/// Where the cells of a state lie, if it ever had any.
fn space(store: &dyn StateBackend, operator: &str, state: &str) -> Result<Option<CellSpace>, String> {
    let applied = store.meta(Meta::Applied).map_err(|error| error.to_string())?;
    let Some(applied) = applied else { return Ok(None) };
    let commit = decode_commit(&applied).map_err(|error| error.to_string())?;
    let entry = commit.catalog.operators.get(operator);
    Ok(entry.and_then(|entry| Some(CellSpace { operator: entry.number, state: *entry.states.get(state)? })))
}

/// Some values of a state, by the version that wrote them.
fn values(store: &dyn StateBackend, space: CellSpace) -> Result<BTreeMap<u32, BytesColumn>, String> {
    let mut found: BTreeMap<u32, BytesColumn> = BTreeMap::new();
    for group in 0..KEY_GROUPS {
        let [high, low] = space.operator.to_be_bytes();
        let prefix = [high, low, group as u8, space.state];
        let (mut taken, mut seen) = (BTreeMap::<u32, usize>::new(), 0);
        let mut visit = |_: &[u8], value: &[u8]| {
            seen += 1;
            if let Some((version, bytes)) = cell::read_value(value) {
                let taken = taken.entry(version).or_default();
                if *taken < VALUES_PER_GROUP {
                    *taken += 1;
                    found.entry(version).or_default().push(Some(bytes));
                }
            }
            seen < CELLS_PER_GROUP
        };
        store.scan(&prefix, None, &mut visit).map_err(|error| error.to_string())?;
    }
    Ok(found)
}

fn tried(operator: &mut dyn Operator, (state, from): (u32, u32), values: &BytesColumn) -> Sample {
    let mut sample = Sample { tried: values.len(), ..Sample::default() };
    if values.is_empty() {
        return sample;
    }
    match operator.migrate(state, from, values) {
        Ok(_) => {}
        Err(CallError::Reject(rows)) => {
            sample.rejected = rows.len();
            sample.problem = rows.into_iter().next().map(|(_, reason)| reason);
        }
        Err(error) => {
            sample.rejected = sample.tried;
            sample.problem = Some(error.to_string());
        }
    }
    sample
}
