use super::codec::encode_commit;
use super::{Committer, EpochEnd, Resolution, Stop, decide};
use crate::ports::{ChangeSet, LogError, LogErrorKind, Meta, StateBackend, StateError, TransactionLog};
use millstream_model::commit::CommitRecord;
use std::sync::Arc;

/// Cells of a store written to the changelog at a time.
const SEED_CELLS: usize = 10_000;

/// Lays the changelog over the store, emptied before if it is no base, and returns the number of cells read. While that goes on the store says that it is no fold
/// of anything: a restore that is cut off is made again, and writing a cell twice is harmless.
pub(super) fn from_changelog(committer: &mut Committer, is_empty: bool) -> Result<u64, Stop> {
    let state = Arc::clone(&committer.ports.state);
    let applied = committer.applied.as_ref().map(encode_commit).unwrap_or_default();
    let Some(log) = &mut committer.ports.log else { return Ok(0) };
    if is_empty {
        state.clear()?;
    }
    state.write(&[], &[(Meta::Restoring, Some(&[]))], true)?;
    let cells = read_changelog(log.as_mut(), state.as_ref())?;
    // Had somebody taken the pipeline meanwhile, there would be changes of later commits among these.
    decide::at_resolve(&committer.read_log()?, &committer.resolving())?;
    state.write(&[], &[(Meta::Applied, Some(&applied)), (Meta::Restoring, None)], true)?;
    Ok(cells)
}

fn read_changelog(log: &mut dyn TransactionLog, state: &dyn StateBackend) -> Result<u64, Stop> {
    let mut cells = 0;
    let mut failed = None;
    let read = log.read_changes(&mut |changes| {
        fail::fail_point!("mid_restore");
        cells += changes.len() as u64;
        state.write(std::slice::from_ref(changes), &[], false).map_err(|error| {
            let stopped =
                LogError { kind: LogErrorKind::Fatal, during: "restoring state".to_owned(), reason: error.to_string() };
            failed = Some(error);
            stopped
        })
    });
    match failed {
        Some(error) => Err(error.into()),
        None => read.map(|()| cells).map_err(Stop::from),
    }
}

/// Begins a history with the state and positions of a checkpoint: its first commit holds them all, so that the changelog has every cell. Until that commit is applied
/// the store says that it is no fold of this history.
pub(super) fn seed(committer: &mut Committer, checkpoint: CommitRecord) -> Result<(), Stop> {
    let state = Arc::clone(&committer.ports.state);
    state.write(&[], &[(Meta::Restoring, Some(&[]))], true)?;
    committer.recover_sinks()?;
    loop {
        // Lengths and totals are of another history; whatever sinks hold, this one has written nothing.
        let end = EpochEnd {
            positions: checkpoint.positions.clone(),
            operators: checkpoint.operators.clone(),
            changes: all_cells(state.as_ref())?,
            finished: checkpoint.finished,
            older_versions: checkpoint.older_versions.clone(),
            force: true,
            ..EpochEnd::default()
        };
        if committer.commit(end).is_ok() {
            return Ok(());
        }
        // As often as any epoch: `resolve` ends it.
        if let Resolution::Committed(_) = committer.resolve()? {
            return Ok(());
        }
    }
}

fn all_cells(state: &dyn StateBackend) -> Result<Vec<ChangeSet>, StateError> {
    let mut sets = Vec::new();
    let mut set = ChangeSet::default();
    state.scan(&[], None, &mut |key, value| {
        set.keys.push(Some(key));
        set.values.push(Some(value));
        if set.len() >= SEED_CELLS {
            sets.push(std::mem::take(&mut set));
        }
        true
    })?;
    sets.push(set);
    Ok(sets)
}
