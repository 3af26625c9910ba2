//! How a history begins: with nothing, or with the state of a checkpoint.
//!
//! The cells of a checkpoint go into the new changelog in transactions of their own, as many as it takes, before the first commit, which holds the positions.
//! Until that one is there nobody believes the changelog; from then on it has every cell (docs/decisions/0024).

use super::sums::sum_changes;
use super::take::end;
use super::{Committer, EpochEnd, Resolution, Stop, decide};
use crate::ports::{ChangeSet, LogError, LogErrorKind, Meta, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use millstream_model::commit::CommitRecord;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys of the changelog that are kept in memory until they are removed, in bytes.
const OTHERS_BYTES_MAX: usize = 256 << 20;

/// Pause before a transaction is tried again, in milliseconds.
const PAUSE_MS: u64 = 500;

/// What of a checkpoint is in the changelog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seeded {
    pub(super) cells: u64,
    /// Sum, wrapping, of their crc32c.
    pub(super) checksum: u64,
}

/// Begins a history without state. Its changelog has to be empty: what another history left in it would be restored as this one's.
pub(super) fn fresh(committer: &mut Committer) -> Result<(), Stop> {
    committer.ports.state.clear()?;
    let Some(log) = &mut committer.ports.log else { return Ok(()) };
    let mut has_cells = false;
    let read = log.read_changes(&mut |changes| {
        has_cells |= !changes.is_empty();
        let seen = || LogError { kind: LogErrorKind::Fatal, during: String::new(), reason: String::new() };
        if has_cells { Err(seen()) } else { Ok(()) }
    });
    if has_cells {
        // They may be of somebody who has taken the pipeline meanwhile.
        decide::check_owner(&committer.read_log()?, committer.lineage, committer.incarnation)?;
        let id = &committer.identity.id;
        return Err(Stop::Config(format!(
            "nothing is committed, and changelog {} of pipeline `{id}` holds state: were the commits deleted, or was a start from a checkpoint cut off? \
             `run --from-checkpoint` makes that start again, `millstream reset {id}` begins anew with a changelog of its own",
            committer.identity.changelog
        )));
    }
    read.map_err(Stop::from)
}

/// Begins a history with the state and positions of a checkpoint, which are in the store. Until the first commit is applied the store says that it is no fold of
/// this history.
pub(super) fn from_checkpoint(committer: &mut Committer, checkpoint: CommitRecord) -> Result<(), Stop> {
    let state = Arc::clone(&committer.ports.state);
    state.write(&[], &[(Meta::Restoring, Some(&[]))], true)?;
    committer.recover_sinks()?;
    let seeded = match committer.ports.log {
        Some(_) => {
            remove_others(committer)?;
            write_cells(committer)?
        }
        None => Seeded::default(),
    };
    loop {
        committer.open.seeded = seeded;
        // Lengths and totals are of another history; whatever sinks hold, this one has written nothing.
        let end = EpochEnd {
            positions: checkpoint.positions.clone(),
            operators: checkpoint.operators.clone(),
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

/// Removes what is in the changelog and not in the store: a start from another checkpoint may have been cut off.
fn remove_others(committer: &mut Committer) -> Result<(), Stop> {
    let state = Arc::clone(&committer.ports.state);
    let Some(log) = &mut committer.ports.log else { return Ok(()) };
    let mut others = Others::default();
    let mut failed = None;
    let read = log.read_changes(&mut |changes| {
        let taken = others.take(changes, state.as_ref()).map_err(Stop::from);
        let taken = taken
            .and_then(|()| if others.bytes > OTHERS_BYTES_MAX { Err(Stop::Config(String::new())) } else { Ok(()) });
        taken.map_err(|stop| {
            failed = Some(stop);
            LogError { kind: LogErrorKind::Fatal, during: String::new(), reason: String::new() }
        })
    });
    match failed {
        Some(Stop::Config(_)) => {
            let id = &committer.identity.id;
            return Err(Stop::Config(format!(
                "changelog {} of pipeline `{id}` holds state of another beginning, more than {} cells of it: `millstream reset {id}` begins anew with a changelog of its own",
                committer.identity.changelog,
                others.keys.len()
            )));
        }
        Some(stop) => return Err(stop),
        None => read?,
    }
    if others.keys.is_empty() {
        return Ok(());
    }
    tracing::warn!(cells = others.keys.len(), "the changelog holds state of another beginning, which is removed");
    let mut removals = ChangeSet::default();
    for key in &others.keys {
        removals.keys.push(Some(key));
        removals.values.push(None);
        if removals.bytes_len() >= committer.settings.seed_bytes_max {
            write_transaction(committer, &std::mem::take(&mut removals))?;
        }
    }
    if removals.is_empty() { Ok(()) } else { write_transaction(committer, &removals) }
}

/// Cells of a changelog that are not in a store.
#[derive(Default)]
struct Others {
    keys: BTreeSet<Vec<u8>>,
    bytes: usize,
}

impl Others {
    fn take(&mut self, changes: &ChangeSet, state: &dyn StateBackend) -> Result<(), StateError> {
        let mut stored = BytesColumn::default();
        state.read(&changes.keys, &mut stored)?;
        for ((key, value), stored) in changes.keys.iter().zip(changes.values.iter()).zip(stored.iter()) {
            let key = key.unwrap_or_default();
            if value.is_none() {
                self.bytes -= if self.keys.remove(key) { key.len() } else { 0 };
            } else if stored.is_none() && self.keys.insert(key.to_vec()) {
                self.bytes += key.len();
            }
        }
        Ok(())
    }
}

/// Writes every cell of the store, in transactions of bounded size.
fn write_cells(committer: &mut Committer) -> Result<Seeded, Stop> {
    let state = Arc::clone(&committer.ports.state);
    let mut seeded = Seeded::default();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let mut set = ChangeSet::default();
        let bytes_max = committer.settings.seed_bytes_max;
        state.scan(&[], after.as_deref(), &mut |key, value| {
            set.keys.push(Some(key));
            set.values.push(Some(value));
            set.bytes_len() < bytes_max
        })?;
        let Some(last) = (set.len() as u32).checked_sub(1).and_then(|last| set.keys.get(last)) else {
            return Ok(seeded);
        };
        after = Some(last.to_vec());
        check_sizes(committer, &set)?;
        seeded.cells += set.len() as u64;
        seeded.checksum = seeded.checksum.wrapping_add(sum_changes(&set));
        write_transaction(committer, &set)?;
        tracing::info!(cells = seeded.cells, "state of the checkpoint written to the changelog");
    }
}

/// No operator is there yet whose record could be refused.
fn check_sizes(committer: &Committer, set: &ChangeSet) -> Result<(), Stop> {
    let max = committer.settings.cell_bytes_max;
    let sizes = set.keys.iter().zip(set.values.iter());
    let sizes = sizes.map(|(key, value)| key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len));
    match sizes.max() {
        Some(bytes) if bytes > max => Err(Stop::Config(format!(
            "a value in the checkpoint's state has {bytes} bytes with its keys, and the changelog of pipeline `{}` takes {max}: raise its `max.message.bytes` and start again",
            committer.identity.id
        ))),
        _ => Ok(()),
    }
}

/// Writes cells in a transaction that holds nothing else. Where what became of it is unknown it is made again: writing a cell twice is harmless.
fn write_transaction(committer: &mut Committer, changes: &ChangeSet) -> Result<(), Stop> {
    let mut attempts = 0;
    loop {
        match try_transaction(committer, changes) {
            Ok(()) => return Ok(()),
            Err(Stop::Log(error)) if error.kind != LogErrorKind::Fatal => {
                attempts += 1;
                if attempts >= committer.settings.resolves_max {
                    return Err(Stop::ResolvesExhausted { resolves: attempts, reason: error.to_string() });
                }
                tracing::warn!(%error, "a part of the state could not be written; once more");
                committer.open.needs_init = true;
                committer.ports.clock.pause(PAUSE_MS);
            }
            Err(stop) => return Err(stop),
        }
    }
}

fn try_transaction(committer: &mut Committer, changes: &ChangeSet) -> Result<(), Stop> {
    let clock = Arc::clone(&committer.ports.clock);
    if committer.open.needs_init {
        let Some(log) = &mut committer.ports.log else { return Ok(()) };
        log.init()?;
        // Whoever took the pipeline meanwhile is not to be fenced in return.
        decide::check_owner(&committer.read_log()?, committer.lineage, committer.incarnation)?;
        committer.open.needs_init = false;
    }
    let Some(log) = &mut committer.ports.log else { return Ok(()) };
    let connections_lost = log.connections_lost();
    log.begin()?;
    log.produce_changes(changes)?;
    log.flush()?;
    end(log.as_mut(), clock.as_ref())?;
    committer.open.needs_init = log.connections_lost() != connections_lost;
    Ok(())
}
