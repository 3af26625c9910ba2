use super::codec::{decode_commit, decode_open, encode_open};
use super::decide::{Begin, StoreFacts};
use super::take::{Taken, take};
use super::{CommitPorts, Committer, CommitterSettings, Identity, Started, Stop, restore, seed};
use crate::ports::{Meta, StateBackend};
use millstream_model::commit::CommitRecord;

impl Committer {
    /// Takes the pipeline over: fences whoever had it, decides by log and store where to go on, says so in an `open` record, and brings
    /// store and sinks up to the newest commit.
    ///
    /// # Errors
    /// See [`Stop`]; nothing but an `open` record has been written then.
    pub fn start(
        mut ports: CommitPorts,
        identity: Identity,
        settings: CommitterSettings,
    ) -> Result<(Self, Started), Stop> {
        let store = store_facts(ports.state.as_ref(), &settings)?;
        let Taken { found, begin, open, needs_init } = take(&mut ports, &identity, &store)?;
        let bytes = encode_open(&open);
        let newest = if begin == Begin::Seed { None } else { found.commit };
        let owner = (open.lineage, open.incarnation);
        let mut committer = Self::new(ports, identity, settings, owner, newest);
        committer.open.needs_init = needs_init;
        committer.catalog.clone_from(&open.catalog);
        let restored_cells = committer.bring_up(begin, store.applied)?;
        let newest = committer.applied.as_ref().map(|newest| newest.token.to_string());
        tracing::info!(incarnation = open.incarnation.0, newest, ?begin, restored_cells, "took the pipeline over");
        let has_log = committer.ports.log.is_some();
        committer.ports.state.write(&[], &[(Meta::Open, Some(&bytes))], !has_log)?;
        committer.recover_sinks()?;
        let newest = committer.applied.as_ref();
        let started = Started {
            positions: newest.map(|newest| newest.positions.clone()).unwrap_or_default(),
            catalog: open.catalog,
            token: newest.map(|newest| newest.token),
            lineage: open.lineage,
            incarnation: open.incarnation,
            finished: newest.is_some_and(|newest| newest.finished),
            restored_cells,
        };
        Ok((committer, started))
    }

    /// Brings the store to the newest commit.
    fn bring_up(&mut self, begin: Begin, checkpoint: Option<CommitRecord>) -> Result<u64, Stop> {
        match (begin, checkpoint) {
            (Begin::Resume, _) => Ok(0),
            (Begin::Fresh, _) | (Begin::Seed, None) => seed::fresh(self).map(|()| 0),
            (Begin::Seed, Some(checkpoint)) => seed::from_checkpoint(self, checkpoint).map(|()| 0),
            (Begin::RestoreForward, _) => restore::from_changelog(self, false),
            (Begin::RestoreEmpty, _) => restore::from_changelog(self, true),
        }
    }
}

fn store_facts(state: &dyn StateBackend, settings: &CommitterSettings) -> Result<StoreFacts, Stop> {
    let applied = state.meta(Meta::Applied)?;
    Ok(StoreFacts {
        applied: applied.map(|bytes| decode_commit(&bytes)).transpose()?,
        open: state.meta(Meta::Open)?.map(|bytes| decode_open(&bytes)).transpose()?,
        is_restoring: state.meta(Meta::Restoring)?.is_some(),
        is_from_checkpoint: settings.from_checkpoint,
        base_age_ms_max: settings.base_age_ms_max,
    })
}
