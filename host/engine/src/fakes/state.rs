use super::{Chance, Life};
use crate::ports::{CellRange, ChangeSet, Meta, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cells and facts at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Image {
    cells: BTreeMap<Vec<u8>, Vec<u8>>,
    facts: BTreeMap<u8, Vec<u8>>,
}

/// One atomic write.
#[derive(Debug, Clone)]
struct Write {
    /// Whether everything before is removed.
    clears: bool,
    changes: Vec<ChangeSet>,
    facts: Vec<(Meta, Option<Vec<u8>>)>,
}

impl Image {
    fn apply(&mut self, write: &Write) {
        if write.clears {
            *self = Self::default();
        }
        for changes in &write.changes {
            for (key, value) in changes.keys.iter().zip(changes.values.iter()) {
                let key = key.unwrap_or_default();
                match value {
                    Some(value) => drop(self.cells.insert(key.to_vec(), value.to_vec())),
                    None => drop(self.cells.remove(key)),
                }
            }
        }
        for (name, value) in &write.facts {
            match value {
                Some(value) => drop(self.facts.insert(*name as u8, value.clone())),
                None => drop(self.facts.remove(&(*name as u8))),
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Disk {
    /// What survives a loss of power.
    synced: Image,
    /// What came after, in order.
    unsynced: Vec<Write>,
    /// Both.
    now: Image,
}

/// A directory with a store: outlives processes.
#[derive(Debug, Default)]
pub struct FakeDisk(Mutex<Disk>);

impl FakeDisk {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine loses power: of the writes that were not synced only so many of the first are there afterwards as chance has it.
    pub fn lose_power(&self, chance: &mut Chance) {
        let mut disk = self.lock();
        let kept = chance.below(disk.unsynced.len() as u64 + 1) as usize;
        let mut image = std::mem::take(&mut disk.synced);
        disk.unsynced.drain(..).take(kept).for_each(|write| image.apply(&write));
        disk.now = image.clone();
        disk.synced = image;
    }

    /// Somebody removes the directory.
    pub fn wipe(&self) {
        *self.lock() = Disk::default();
    }

    /// A copy of the directory.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }

    /// Puts a copy in the place of what is there.
    pub fn replace(&self, copy: &Self) {
        let copied = copy.lock().clone();
        *self.lock() = copied;
    }

    /// All cells.
    #[must_use]
    pub fn cells(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.lock().now.cells.clone()
    }

    /// A fact.
    #[must_use]
    pub fn fact(&self, name: Meta) -> Option<Vec<u8>> {
        self.lock().now.facts.get(&(name as u8)).cloned()
    }
}

/// A process's hands on a [`FakeDisk`].
#[derive(Clone)]
pub struct FakeState {
    disk: Arc<FakeDisk>,
    life: Life,
}

impl FakeState {
    /// The store as a process with this life has it.
    #[must_use]
    pub fn new(disk: &Arc<FakeDisk>, life: &Life) -> Self {
        Self { disk: Arc::clone(disk), life: life.clone() }
    }

    fn live(&self) -> Result<(), StateError> {
        if self.life.step() {
            return Ok(());
        }
        Err(StateError { path: "fake".to_owned(), reason: "the process is dead".to_owned() })
    }

    fn put(&self, write: Write, sync: bool) -> Result<(), StateError> {
        self.live()?;
        let mut guard = self.disk.lock();
        let disk = &mut *guard;
        disk.now.apply(&write);
        disk.unsynced.push(write);
        if sync {
            disk.unsynced.drain(..).for_each(|write| disk.synced.apply(&write));
        }
        drop(guard);
        self.live()
    }
}

impl StateBackend for FakeState {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        self.live()?;
        let disk = self.disk.lock();
        for key in keys.iter() {
            values.push(disk.now.cells.get(key.unwrap_or_default()).map(Vec::as_slice));
        }
        Ok(())
    }

    fn range(&self, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        self.live()?;
        let disk = self.disk.lock();
        show(&disk.now.cells, range, visit);
        Ok(())
    }

    fn write(&self, changes: &[ChangeSet], meta: &[(Meta, Option<&[u8]>)], sync: bool) -> Result<(), StateError> {
        let facts = meta.iter().map(|(name, value)| (*name, value.map(<[u8]>::to_vec))).collect();
        self.put(Write { clears: false, changes: changes.to_vec(), facts }, sync)
    }

    fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StateError> {
        self.live()?;
        Ok(self.disk.fact(name))
    }

    fn clear(&self) -> Result<(), StateError> {
        self.put(Write { clears: true, changes: Vec::new(), facts: Vec::new() }, true)
    }
}

/// Shows the cells of a range; see [`StateBackend::range`].
fn show(cells: &BTreeMap<Vec<u8>, Vec<u8>>, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
    let end = range.end.map_or(Bound::Unbounded, Bound::Excluded);
    if range.end.is_some_and(|end| end <= range.start) {
        return;
    }
    let mut cells = cells.range::<[u8], _>((Bound::Included(range.start), end));
    while let Some((key, value)) = if range.descending { cells.next_back() } else { cells.next() } {
        if !visit(key, value) {
            return;
        }
    }
}
