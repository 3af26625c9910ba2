use crate::ports::{CellRange, ChangeSet, Meta, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a failing store answers; either way nothing may be taken for absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    None,
    /// An error.
    Error,
    /// Fewer rows than were asked for.
    Short,
}

/// Cells in a map, reads that fail on demand.
#[derive(Default)]
pub(super) struct FakeStore {
    cells: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    fails: AtomicBool,
    is_short: AtomicBool,
    cells_read: AtomicUsize,
}

impl FakeStore {
    pub(super) fn fail(&self, failure: Failure) {
        self.fails.store(failure == Failure::Error, Ordering::Relaxed);
        self.is_short.store(failure == Failure::Short, Ordering::Relaxed);
    }

    /// Cells asked for so far, one by one or in a scan.
    pub(super) fn cells_read(&self) -> usize {
        self.cells_read.load(Ordering::Relaxed)
    }

    pub(super) fn cells(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    pub(super) fn apply(&self, changes: &ChangeSet) {
        self.write(std::slice::from_ref(changes), &[], false).unwrap();
    }

    fn check(&self) -> Result<(), StateError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StateError { path: "fake".to_owned(), reason: "told to fail".to_owned() });
        }
        Ok(())
    }
}

impl StateBackend for FakeStore {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        self.check()?;
        self.cells_read.fetch_add(keys.len(), Ordering::Relaxed);
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = usize::from(self.is_short.load(Ordering::Relaxed));
        for key in keys.iter().take(keys.len().saturating_sub(missing)) {
            values.push(cells.get(key.unwrap()).map(Vec::as_slice));
        }
        Ok(())
    }

    fn range(&self, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        self.check()?;
        if range.end.is_some_and(|end| end <= range.start) {
            return Ok(());
        }
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let end = range.end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut cells = cells.range::<[u8], _>((Bound::Included(range.start), end));
        while let Some((key, value)) = if range.descending { cells.next_back() } else { cells.next() } {
            self.cells_read.fetch_add(1, Ordering::Relaxed);
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: &[ChangeSet], _: &[(Meta, Option<&[u8]>)], _: bool) -> Result<(), StateError> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for set in changes {
            for (key, value) in set.keys.iter().zip(set.values.iter()) {
                match value {
                    Some(value) => cells.insert(key.unwrap().to_vec(), value.to_vec()),
                    None => cells.remove(key.unwrap()),
                };
            }
        }
        Ok(())
    }

    fn meta(&self, _: Meta) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn clear(&self) -> Result<(), StateError> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}
