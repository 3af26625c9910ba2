use super::codec::encode_commit;
use super::{Committer, Stop, decide};
use crate::ports::{LogError, LogErrorKind, Meta, StateBackend, TransactionLog};
use std::sync::Arc;

/// Lays the changelog over the store, emptied before if it is no base, and returns the number of cells read. While that goes on the store says that it is no fold
/// of anything: a restore that is cut off is made again, and writing a cell twice is harmless.
pub(super) fn from_changelog(committer: &mut Committer, is_empty: bool) -> Result<u64, Stop> {
    let state = Arc::clone(&committer.ports.state);
    let applied = committer.applied.as_ref().map(encode_commit).unwrap_or_default();
    let Some(log) = &mut committer.ports.log else { return Ok(0) };
    tracing::info!(base = !is_empty, "restoring state from the changelog");
    if is_empty {
        state.clear()?;
    }
    state.write(&[], &[(Meta::Restoring, Some(&[]))], true)?;
    let cells = read_changelog(log.as_mut(), state.as_ref())?;
    // Had somebody taken the pipeline meanwhile, there would be changes of later commits among these.
    decide::at_resolve(&committer.read_log()?, &committer.resolving())?;
    state.write(&[], &[(Meta::Applied, Some(&applied)), (Meta::Restoring, None)], true)?;
    tracing::info!(cells, "state is restored");
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
