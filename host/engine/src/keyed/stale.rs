//! Stored values of versions that have to be migrated: found before a call reads them, or by a sweep through the store.
//!
//! A guest cannot be asked for anything while it runs, so all that a call may read of its keys is migrated before: the value of each key, and every entry of each
//! key's map. What lies over the store, be it of the open epoch or the frozen one, is newer than a stale value and hides it.

use super::KeyedState;
use super::held::Held;
use crate::call::Fault;
use crate::swap::plan::OlderVersions;
use crate::swap::sweep::to_migrate;
use millstream_model::cell::{self, CellValue};
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::StateKind;
use millstream_model::key_group::KeyGroup;
use std::collections::{BTreeMap, HashMap};

/// Bytes of stale values that are found at a time; one value may pass it.
const FOUND_BYTES_MAX: usize = 1 << 20;

/// Refused values that are remembered; beyond it they are migrated in vain again.
const REFUSED_MAX: usize = 100_000;

/// What of the operator's stored state has to be migrated.
#[derive(Debug, Default)]
pub(super) struct Migrating {
    /// By state: the versions. Empty: there is nothing to migrate.
    versions: Vec<Vec<u32>>,
    refused: Refused,
}

/// Values that `migrate` has refused, and why: the same bytes would be refused again.
#[derive(Debug, Default)]
struct Refused {
    /// By the key of the cell.
    cells: HashMap<Box<[u8]>, Unfit>,
    /// By what the cells of a key's map begin with: one of them.
    maps: HashMap<Box<[u8]>, Unfit>,
}

/// Why a value cannot be migrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// For a person.
    pub(crate) reason: Box<str>,
    /// Whether the operator failed on it; else it rejected it.
    pub(crate) is_fault: bool,
}

/// A stored value as the operator takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// As it is: what is held of it.
    Readable(&'a [u8]),
    /// After it is migrated.
    Stale(CellValue<'a>),
    /// Not at all: the version that wrote it.
    Foreign(u32),
}

/// Values of one state that one older version wrote.
#[derive(Debug, Default)]
pub(crate) struct Stale {
    /// Position of the state in the descriptor.
    pub(crate) state: u32,
    /// The version that wrote them.
    pub(crate) from_version: u32,
    /// Their bytes.
    pub(crate) values: BytesColumn,
    /// When they were refreshed, in a state with a time to live.
    refreshed_ms: Vec<Option<i64>>,
    /// Keys of their cells.
    cells: BytesColumn,
    /// Slots of their keys.
    slots: Vec<u32>,
}

/// A search for stale values of the keys of a call: where it has come.
#[derive(Debug, Default)]
pub(crate) struct Search {
    state: u32,
    key_row: usize,
    /// The cell of the key row's map to go on behind.
    after: Option<Vec<u8>>,
    found: Vec<Stale>,
    /// Key rows with values that cannot be migrated, and why.
    pub(crate) unfit: BTreeMap<u32, Unfit>,
}

/// What a look at a part of the store has shown.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// Cells looked at.
    pub(crate) seen: u64,
    /// Those to be migrated.
    pub(crate) stale: Vec<Stale>,
    /// Those that were refused before, by version.
    pub(crate) refused: BTreeMap<u32, u64>,
    /// Where to go on; `None` at the end.
    pub(crate) after: Option<Vec<u8>>,
}

impl Stale {
    fn add<'a>(found: &'a mut Vec<Self>, state: u32, cell: &[u8], value: &CellValue<'_>) -> &'a mut Self {
        let of = (state, value.version);
        let at = found.iter().position(|stale| (stale.state, stale.from_version) == of).unwrap_or_else(|| {
            found.push(Self { state: of.0, from_version: of.1, ..Self::default() });
            found.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        let stale = &mut found[at];
        stale.cells.push(Some(cell));
        stale.values.push(Some(value.bytes));
        stale.refreshed_ms.push(value.refreshed_ms);
        stale
    }

    fn bytes(found: &[Self]) -> usize {
        found.iter().map(Self::bytes_len).sum()
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Bytes of the values and of the keys of their cells.
    pub(crate) fn bytes_len(&self) -> usize {
        self.values.bytes_len() + self.cells.bytes_len()
    }
}

impl KeyedState {
    /// Says which versions of values may lie in the store beside those the operator writes, by name of the state.
    pub fn set_older_versions(&mut self, older: &OlderVersions) {
        let of = |name: &str| older.get(name).map_or(&[][..], Vec::as_slice);
        let descriptors = self.states.iter().map(|column| &column.descriptor);
        let versions: Vec<_> = descriptors.map(|state| to_migrate(state, of(&state.name))).collect();
        if versions.iter().all(Vec::is_empty) {
            self.migrating = Migrating::default();
        } else {
            self.migrating.versions = versions;
        }
    }

    /// Whether stale values may lie in the store.
    #[must_use]
    pub fn is_migrating(&self) -> bool {
        !self.migrating.versions.is_empty()
    }

    /// The versions of a state's values that have to be migrated.
    #[must_use]
    pub fn versions_to_migrate(&self, state: u32) -> &[u32] {
        self.migrating.versions.get(state as usize).map_or(&[], Vec::as_slice)
    }

    /// What a stored cell means to the operator.
    pub(super) fn judge<'a>(&self, state: u32, stored: &'a [u8]) -> Result<Stored<'a>, Fault> {
        let described = self.states.get(state as usize).map(|column| &column.descriptor);
        let (Some(described), Some(value)) = (described, cell::read_value(stored)) else {
            return Err(Fault::Host("a stored cell has no version: the store is damaged".to_owned()));
        };
        if value.version == described.version || described.reads_versions.contains(&value.version) {
            return Ok(Stored::Readable(if described.ttl.is_some() { stored } else { value.bytes }));
        }
        if self.versions_to_migrate(state).contains(&value.version) {
            return Ok(Stored::Stale(value));
        }
        Ok(Stored::Foreign(value.version))
    }

    /// The next stale values among those that the call in hand may read; `None`: there are no more. Each is to be settled before the next are asked for.
    pub(crate) fn next_stale(&mut self, search: &mut Search) -> Result<Option<Stale>, Fault> {
        loop {
            if let Some(stale) = search.found.pop() {
                return Ok(Some(stale));
            }
            let Some(column) = self.states.get(search.state as usize) else {
                return Ok(None);
            };
            let is_over = match column.descriptor.kind {
                _ if self.versions_to_migrate(search.state).is_empty() => true,
                StateKind::Value => self.find_values(search).map(|()| true)?,
                StateKind::Map | StateKind::List => self.find_entries(search)?,
                // Not migrated: refused when the operator is opened.
                StateKind::Broadcast => true,
            };
            if is_over {
                *search = Search { state: search.state + 1, key_row: 0, after: None, ..std::mem::take(search) };
            }
        }
    }

    /// Reads the values of all key rows that are not known, as [`KeyedState::load`] does.
    fn find_values(&mut self, search: &mut Search) -> Result<(), Fault> {
        let state = search.state;
        let missing = self.read_unknown(state)?;
        let (wanted, found) = (std::mem::take(&mut self.wanted), std::mem::take(&mut self.found));
        for (row, &at) in (0u32..).zip(&missing) {
            let judged = found.get(row).map(|stored| self.judge(state, stored)).transpose()?;
            match judged {
                None => self.slots.fill(at, state, None),
                Some(Stored::Readable(bytes)) => self.slots.fill(at, state, Some(bytes)),
                // Told by whoever reads it.
                Some(Stored::Foreign(_)) => {}
                Some(Stored::Stale(value)) => {
                    let cell = wanted.get(row).unwrap_or_default();
                    match self.migrating.refused.cells.get(cell) {
                        Some(unfit) => drop(search.unfit.insert(self.key_row_of(at), unfit.clone())),
                        None => Stale::add(&mut search.found, state, cell, &value).slots.push(at),
                    }
                }
            }
        }
        (self.wanted, self.found) = (wanted, found);
        Ok(())
    }

    /// Looks through the maps of the key rows, from where the search has come. False: enough was found for now.
    fn find_entries(&mut self, search: &mut Search) -> Result<bool, Fault> {
        let state = search.state;
        while let Some(&at) = self.batch_slots.get(search.key_row) {
            let key_row = search.key_row as u32;
            if !self.is_map_migrated(at, state) {
                let map = self.map_prefix(at, state);
                if let Some(unfit) = self.migrating.refused.maps.get(map.as_slice()) {
                    search.unfit.insert(key_row, unfit.clone());
                } else {
                    search.after = self.find_entries_of(&map, at, search)?;
                    if search.after.is_some() {
                        return Ok(false);
                    }
                    let is_migrated = !search.unfit.contains_key(&key_row);
                    self.slots.with_entries(at, state, |entries| entries.is_migrated = is_migrated);
                }
            }
            search.key_row += 1;
        }
        Ok(true)
    }

    /// Looks through one map; tells the cell to go on behind if it did not come to the end.
    fn find_entries_of(&self, map: &[u8], at: u32, search: &mut Search) -> Result<Option<Vec<u8>>, Fault> {
        let Some(backend) = &self.backend else { return Ok(None) };
        let (state, key_row) = (search.state, self.key_row_of(at));
        let known = self.slots.value(at, state);
        let after = search.after.take();
        let (mut fault, mut stopped_at) = (None, None);
        let scanned = backend.scan(map, after.as_deref(), &mut |cell, stored| {
            let map_key = cell.get(map.len()..).unwrap_or_default();
            if known.is_some_and(|held| held.knows(map_key)) {
                return true;
            }
            match self.judge(state, stored) {
                Ok(Stored::Readable(_) | Stored::Foreign(_)) => true,
                Ok(Stored::Stale(value)) => {
                    if let Some(unfit) = self.migrating.refused.cells.get(cell) {
                        search.unfit.insert(key_row, unfit.clone());
                        return true;
                    }
                    Stale::add(&mut search.found, state, cell, &value).slots.push(at);
                    let goes_on = Stale::bytes(&search.found) < FOUND_BYTES_MAX;
                    stopped_at = (!goes_on).then(|| cell.to_vec());
                    goes_on
                }
                Err(error) => {
                    fault = Some(error);
                    false
                }
            }
        });
        scanned.map_err(|error| Fault::Host(error.to_string()))?;
        fault.map_or(Ok(stopped_at), Err)
    }

    fn is_map_migrated(&self, at: u32, state: u32) -> bool {
        matches!(self.slots.value(at, state), Some(Held::Map(entries)) if entries.is_migrated)
    }

    /// What the cells of the map of a slot's key begin with.
    fn map_prefix(&self, at: u32, state: u32) -> Vec<u8> {
        let mut prefix = Vec::new();
        if let (Some(column), Some(key)) = (self.states.get(state as usize), self.slots.key(at)) {
            cell::write_key(&mut prefix, column.space, self.groups.of(key), key, &[]);
        }
        prefix
    }

    fn key_row_of(&self, at: u32) -> u32 {
        self.slots.key_row(at).unwrap_or(u32::MAX)
    }

    /// Looks at cells of a state in a key group, at most `cells_max` of them behind `after`, for stale values that nothing newer lies over.
    pub(crate) fn stale_cells(
        &mut self,
        (state, group): (u32, KeyGroup),
        after: Option<&[u8]>,
        cells_max: u64,
    ) -> Result<Slice, Fault> {
        let mut slice = Slice::default();
        let (Some(column), Some(backend)) = (self.states.get(state as usize), &self.backend) else {
            return Ok(slice);
        };
        let (mut prefix, mut fault) = (Vec::new(), None);
        cell::write_group(&mut prefix, column.space, group);
        let scanned = backend.scan(&prefix, after, &mut |cell, stored| {
            slice.seen += 1;
            if let Err(error) = self.look(state, cell, stored, &mut slice) {
                fault = Some(error);
                return false;
            }
            let goes_on = slice.seen < cells_max && Stale::bytes(&slice.stale) < FOUND_BYTES_MAX;
            slice.after = (!goes_on).then(|| cell.to_vec());
            goes_on
        });
        scanned.map_err(|error| Fault::Host(error.to_string()))?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        for stale in &mut slice.stale {
            let keys = stale.cells.iter().map(|cell| cell::read_key(cell.unwrap_or_default()));
            stale.slots.extend(keys.map(|key| self.slots.enter(key.map_or(&[], |key| key.user_key))));
        }
        Ok(slice)
    }

    fn look(&self, state: u32, cell: &[u8], stored: &[u8], slice: &mut Slice) -> Result<(), Fault> {
        if cell::is_fact_key(cell) {
            return Ok(());
        }
        let Stored::Stale(value) = self.judge(state, stored)? else {
            return Ok(());
        };
        let Some(key) = cell::read_key(cell) else {
            return Err(Fault::Host("a stored cell has no key: the store is damaged".to_owned()));
        };
        let held = self.slots.find(key.user_key).and_then(|at| self.slots.value(at, state));
        if held.is_some_and(|held| held.knows(key.cell_key)) {
            return Ok(());
        }
        if self.migrating.refused.cells.contains_key(cell) {
            *slice.refused.entry(value.version).or_default() += 1;
        } else {
            Stale::add(&mut slice.stale, state, cell, &value);
        }
        Ok(())
    }

    /// Puts a migrated value into the open epoch; absent removes it.
    pub(crate) fn settle(&mut self, stale: &Stale, row: u32, value: Option<&[u8]>) {
        let (Some(&at), state) = (stale.slots.get(row as usize), stale.state) else { return };
        let Some(descriptor) = self.states.get(state as usize).map(|column| &column.descriptor) else { return };
        // Rewriting refreshes nothing.
        let refreshed_ms = stale.refreshed_ms.get(row as usize).copied().flatten();
        let timed = value.filter(|_| descriptor.ttl.is_some()).map(|value| {
            let mut timed = Vec::new();
            cell::write_timed_value(&mut timed, descriptor.version, refreshed_ms, value);
            timed
        });
        let value = timed.as_deref().or(value);
        if descriptor.kind == StateKind::Value {
            self.slots.put(at, state, value);
            return;
        }
        let map_key = stale.cells.get(row).and_then(cell::read_key).map_or(&[][..], |key| key.cell_key);
        let (held, epoch) = (Held::from_option(value), self.slots.epoch);
        self.slots.with_entries(at, state, |entries| entries.put(map_key, held, epoch));
        self.slots.mark_dirty(at, state);
    }

    /// Remembers that a value cannot be migrated: it keeps its bytes. Tells its key row in the call in hand.
    pub(crate) fn refuse(&mut self, stale: &Stale, row: u32, unfit: &Unfit) -> u32 {
        let (Some(&at), Some(cell)) = (stale.slots.get(row as usize), stale.cells.get(row)) else {
            return u32::MAX;
        };
        if self.migrating.refused.cells.len() < REFUSED_MAX {
            self.migrating.refused.cells.insert(cell.into(), unfit.clone());
        }
        if self.states.get(stale.state as usize).is_some_and(|column| column.descriptor.kind != StateKind::Value) {
            let map = self.map_prefix(at, stale.state);
            if self.migrating.refused.maps.len() < REFUSED_MAX {
                self.migrating.refused.maps.insert(map.into(), unfit.clone());
            }
            self.slots.with_entries(at, stale.state, |entries| entries.is_migrated = false);
        }
        self.key_row_of(at)
    }
}
