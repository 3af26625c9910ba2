use millstream_engine::commit::codec::decode_commit;
use millstream_engine::fakes::FakeDisk;
use millstream_engine::ports::{CellRange, ChangeSet, Meta, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use millstream_model::commit::CommitRecord;
use std::sync::{Arc, Mutex, PoisonError};

/// Every commit that was applied to a store, in order: without a log there is no other trace of them.
#[derive(Default, Clone)]
pub(crate) struct Applied(Arc<Mutex<Vec<CommitRecord>>>);

impl Applied {
    pub(crate) fn all(&self) -> Vec<CommitRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A store that keeps a list of them.
pub(crate) struct SpiedState {
    pub(crate) state: Arc<dyn StateBackend>,
    pub(crate) disk: Arc<FakeDisk>,
    pub(crate) applied: Applied,
}

impl StateBackend for SpiedState {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        self.state.read(keys, values)
    }

    fn range(&self, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        self.state.range(range, visit)
    }

    fn write(&self, changes: &[ChangeSet], meta: &[(Meta, Option<&[u8]>)], sync: bool) -> Result<(), StateError> {
        let written = self.state.write(changes, meta, sync);
        let bytes = meta.iter().find_map(|(name, value)| (*value).filter(|_| *name == Meta::Applied));
        // A process that dies in the middle has written all of it or nothing: what it was told does not count.
        if let Some(bytes) = bytes
            && self.disk.fact(Meta::Applied).as_deref() == Some(bytes)
            && let Ok(commit) = decode_commit(bytes)
        {
            self.applied.0.lock().unwrap_or_else(PoisonError::into_inner).push(commit);
        }
        written
    }

    fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StateError> {
        self.state.meta(name)
    }

    fn clear(&self) -> Result<(), StateError> {
        self.state.clear()
    }
}
