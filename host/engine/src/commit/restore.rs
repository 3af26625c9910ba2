use super::{Committer, EpochEnd, Stop};
use crate::ports::{ChangeSet, LogError, LogErrorKind, Meta, StateBackend, StateError, TransactionLog};
use millstream_model::commit::CommitRecord;

/// Cells of a store written to the changelog at a time.
const SEED_CELLS: usize = 10_000;

/// Lays the changelog over the store, emptied before if it is no base, and returns the number of cells read. A restore that is cut off leaves a store that says so, or one whose
/// `applied` still is the old one: it is repeated, and writing a cell twice is harmless.
pub(super) fn from_changelog(
    log: &mut dyn TransactionLog,
    state: &dyn StateBackend,
    is_empty: bool,
    applied: &[u8],
) -> Result<u64, Stop> {
    if is_empty {
        state.clear()?;
        state.write(&[], &[(Meta::Restoring, Some(&[]))], true)?;
    }
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
    if let Some(error) = failed {
        return Err(error.into());
    }
    read?;
    state.write(&[], &[(Meta::Applied, Some(applied)), (Meta::Restoring, None)], true)?;
    Ok(cells)
}

/// Begins a history with the state and positions of a checkpoint: its first commit holds them all, so that the changelog has every cell.
pub(super) fn seed(committer: &mut Committer, checkpoint: CommitRecord) -> Result<(), Stop> {
    let changes = all_cells(committer.ports.state.as_ref())?;
    let mut record = checkpoint;
    // Lengths and totals are of another history; whatever sinks hold, this one has written nothing.
    record.file_lengths.clear();
    record.output_totals.clear();
    committer.recover_sinks()?;
    let end = EpochEnd {
        positions: record.positions,
        operators: record.operators,
        changes,
        finished: record.finished,
        force: true,
        ..EpochEnd::default()
    };
    let committed = committer.commit(end);
    match committed {
        Ok(_) => Ok(()),
        Err(_) => match committer.resolve()? {
            super::Resolution::Committed(_) => Ok(()),
            super::Resolution::RolledBack(_) => Err(Stop::Config(
                "the checkpoint could not be written to the new changelog: start again with --from-checkpoint"
                    .to_owned(),
            )),
        },
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
