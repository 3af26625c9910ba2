//! Broadcast states: the same for all keys, in memory as a whole on every worker. Every worker changes its own copy; the changes of one of them become cells.

use super::KeyedState;
use super::entries::MapRange;
use crate::call::Fault;
use crate::ports::ChangeSet;
use millstream_model::cell;
use millstream_model::descriptor::StateKind;
use millstream_model::key_group::KeyGroup;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Bound;

/// The entries of one broadcast state.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<Box<[u8]>, Box<[u8]>>,
    is_loaded: bool,
    /// Goes up with every change that a read can see, taken back or not.
    revision: u64,
    /// Map keys changed in the open epoch, where this worker's changes become cells.
    changed: BTreeSet<Box<[u8]>>,
    bytes: usize,
    /// Of all entries, in whatever order they came.
    digest: u64,
}

/// The group in which the cells of broadcast states lie.
const GROUP: KeyGroup = KeyGroup(0);

/// Memory of an entry beside its bytes, nearly.
const ENTRY_BYTES: usize = 96;

impl Table {
    fn put(&mut self, map_key: &[u8], value: Option<&[u8]>) -> Option<Box<[u8]>> {
        let before = match value {
            Some(value) => self.entries.insert(map_key.into(), value.into()),
            None => self.entries.remove(map_key),
        };
        let of = |value: Option<&[u8]>| value.map_or(0, |value| ENTRY_BYTES + map_key.len() + value.len());
        self.bytes = self.bytes + of(value) - of(before.as_deref());
        // The same in every table, unlike the hashes of maps.
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let of = |value: Option<&[u8]>| value.map_or(0, |value| hasher.hash_one((map_key, value)));
        self.digest = self.digest ^ of(value) ^ of(before.as_deref());
        before
    }

    /// Takes a change back.
    pub(super) fn undo(&mut self, map_key: &[u8], before: Option<Box<[u8]>>) {
        self.put(map_key, before.as_deref());
        self.revision += 1;
    }

    /// Keeps a change for good.
    pub(super) fn mark_changed(&mut self, map_key: &[u8], becomes_cell: bool) {
        if becomes_cell && !self.changed.contains(map_key) {
            self.changed.insert(map_key.into());
        }
    }

    /// Forgets everything. The next look at it may show something else, so the revision goes up.
    pub(super) fn clear(&mut self) {
        *self = Self { revision: self.revision + 1, ..Self::default() };
    }
}

impl KeyedState {
    /// What this worker's copies of broadcast states hold, by state, as far as it has looked at them: all workers hold the same at a cut.
    pub(crate) fn table_digests(&self) -> impl Iterator<Item = (u32, u64)> {
        let loaded = (0u32..).zip(&self.tables).filter(|(_, table)| table.is_loaded);
        loaded.map(|(state, table)| (state, table.digest))
    }

    /// Memory of broadcast states.
    pub(super) fn table_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.bytes).sum()
    }

    /// Reads a broadcast state from the store, once. Whatever is read is of the last commit that changed it: changes after that come from records that this worker
    /// gets as well, and reads the state for.
    pub(crate) fn load_table(&mut self, state: u32) -> Result<(), Fault> {
        let (Some(table), Some(column)) = (self.tables.get(state as usize), self.states.get(state as usize)) else {
            return Ok(());
        };
        if table.is_loaded || column.descriptor.kind != StateKind::Broadcast {
            return Ok(());
        }
        let Some(backend) = self.backend.clone() else { return Ok(()) };
        let mut prefix = Vec::new();
        cell::write_key(&mut prefix, column.space, GROUP, &[], &[]);
        let mut cells = Vec::new();
        let scanned = backend.scan(&prefix, None, &mut |key, value| {
            cells.push((key.get(prefix.len()..).unwrap_or_default().to_vec(), value.to_vec()));
            true
        });
        scanned.map_err(|error| Fault::Host(error.to_string()))?;
        let mut loaded = Table { is_loaded: true, revision: table.revision, ..Table::default() };
        for (map_key, stored) in &cells {
            loaded.put(map_key, Some(self.readable(state, stored)?));
        }
        if let Some(table) = self.tables.get_mut(state as usize) {
            *table = loaded;
        }
        Ok(())
    }

    /// See `broadcast-state.revision` of the contract.
    pub(crate) fn revision(&self, state: u32) -> u64 {
        self.tables.get(state as usize).map_or(0, |table| table.revision)
    }

    /// The value under a map key.
    pub(crate) fn table_entry(&self, state: u32, map_key: &[u8]) -> Option<&[u8]> {
        self.tables.get(state as usize)?.entries.get(map_key).map(|value| &**value)
    }

    /// Shows the entries of a range, in walking order, until `visit` returns false.
    pub(crate) fn walk_table(&self, state: u32, range: MapRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let Some(table) = self.tables.get(state as usize) else { return };
        if range.end.is_some_and(|end| end <= range.start) {
            return;
        }
        let end = range.end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = table.entries.range::<[u8], _>((Bound::Included(range.start), end));
        while let Some((key, value)) = if range.descending { entries.next_back() } else { entries.next() } {
            if !visit(key, value) {
                return;
            }
        }
    }

    /// Sets an entry in the call in hand, or removes it; undone with the call. Equal bytes are no change.
    pub(crate) fn put_table(&mut self, state: u32, map_key: &[u8], value: Option<&[u8]>) {
        let Some(table) = self.tables.get_mut(state as usize) else { return };
        if table.entries.get(map_key).map(|value| &**value) == value {
            return;
        }
        let before = table.put(map_key, value);
        table.revision += 1;
        self.undo.broadcast(state, map_key, before);
    }

    /// Removes all entries in the call in hand.
    pub(crate) fn clear_table(&mut self, state: u32) {
        let keys = self.tables.get(state as usize).map(|table| table.entries.keys().cloned().collect::<Vec<_>>());
        for map_key in keys.unwrap_or_default() {
            self.put_table(state, &map_key, None);
        }
    }

    /// Appends the cells of entries that changed in the epoch that ends.
    pub(super) fn freeze_tables(&mut self, changes: &mut ChangeSet) {
        for (column, table) in self.states.iter().zip(&mut self.tables) {
            for map_key in std::mem::take(&mut table.changed) {
                changes.keys.push_with(|to| cell::write_key(to, column.space, GROUP, &[], &map_key));
                match table.entries.get(&map_key) {
                    Some(value) => {
                        changes.values.push_with(|to| cell::write_value(to, column.descriptor.version, value));
                    }
                    None => changes.values.push(None),
                }
            }
        }
    }
}
