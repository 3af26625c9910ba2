use super::KeyedState;
use super::entries::{Covered, MapRange};
use super::held::Held;
use crate::call::Fault;
use crate::ports::CellRange;
use millstream_model::cell;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::CheckedColumn;

/// Cells read from the store at once for a scan, at first and at most: a little more than was asked for, so that small maps are known as a whole and the next
/// scan finds what it needs.
const CHUNK_CELLS: usize = 64;
const CHUNK_CELLS_MAX: usize = 1_024;

/// A map or a list: the position of its state, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapOf<'a> {
    pub(crate) state: u32,
    pub(crate) key_row: u32,
    pub(crate) user_key: &'a [u8],
}

impl KeyedState {
    pub(super) fn slot_of(&self, key_row: u32) -> Option<u32> {
        self.batch_slots.get(key_row as usize).copied()
    }

    /// A map entry, from what is held or from the store.
    pub(crate) fn entry(&mut self, of: MapOf<'_>, map_key: &[u8]) -> Result<Option<&[u8]>, Fault> {
        let Some(at) = self.slot_of(of.key_row) else { return Ok(None) };
        self.slots.make_room(at, of.state);
        if !self.is_entry_known(at, of.state, map_key) {
            self.wanted.clear();
            let Some(column) = self.states.get(of.state as usize) else { return Ok(None) };
            let group = self.groups.of(of.user_key);
            self.wanted.push_with(|to| cell::write_key(to, column.space, group, of.user_key, map_key));
            self.load_wanted_entries(of.state, &[at])?;
        }
        Ok(self.live_entry(at, of.state, of.user_key, map_key))
    }

    /// Appends the value of an entry of each key row; one read of the store for all that are not known.
    pub(crate) fn entries(
        &mut self,
        state: u32,
        key_rows: &[u32],
        map_keys: CheckedColumn<'_>,
        user_keys: UserKeys<'_>,
        values: &mut BytesColumn,
    ) -> Result<(), Fault> {
        let Some(column) = self.states.get(state as usize) else { return Ok(()) };
        self.wanted.clear();
        let mut missing = Vec::new();
        for (row, &key_row) in (0u32..).zip(key_rows) {
            let (Some(at), Some(map_key)) = (self.slot_of(key_row), map_keys.get(row)) else { continue };
            self.slots.make_room(at, state);
            if !self.is_entry_known(at, state, map_key) {
                let user_key = user_keys.get(key_row);
                let group = self.groups.of(user_key);
                self.wanted.push_with(|to| cell::write_key(to, column.space, group, user_key, map_key));
                missing.push(at);
            }
        }
        if !missing.is_empty() {
            self.load_wanted_entries(state, &missing)?;
        }
        for (row, &key_row) in (0u32..).zip(key_rows) {
            let (at, map_key) = (self.slot_of(key_row), map_keys.get(row).unwrap_or_default());
            values.push(at.and_then(|at| self.live_entry(at, state, user_keys.get(key_row), map_key)));
        }
        Ok(())
    }

    fn is_entry_known(&self, at: u32, state: u32, map_key: &[u8]) -> bool {
        self.slots.entries(at, state).is_some_and(|entries| entries.get(map_key).is_some())
    }

    fn live_entry(&self, at: u32, state: u32, user_key: &[u8], map_key: &[u8]) -> Option<&[u8]> {
        let held = self.slots.entries(at, state)?.get(map_key)?.get()?;
        self.lives(state).live(held, user_key)
    }

    /// Reads the cells in `wanted`, each an entry of the map of a slot.
    fn load_wanted_entries(&mut self, state: u32, slots: &[u32]) -> Result<(), Fault> {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.read_stored(&self.wanted, &mut found)?;
        for (row, &at) in (0u32..).zip(slots) {
            let map_key = self.wanted.get(row).and_then(cell::read_key).map(|key| key.cell_key).unwrap_or_default();
            let value = found.get(row).map(|stored| self.readable(state, stored)).transpose()?;
            self.slots.with_entries(at, state, |entries| entries.load(map_key, value));
        }
        self.found = found;
        Ok(())
    }

    /// Shows the entries of a map in a range, in walking order, until `visit` returns false.
    pub(crate) fn walk(
        &mut self,
        of: MapOf<'_>,
        range: MapRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Fault> {
        let Some(at) = self.slot_of(of.key_row).filter(|_| !range.is_empty()) else { return Ok(()) };
        if let Some(entries) = self.slots.entries(at, of.state).filter(|entries| entries.covers(range)) {
            let lives = self.lives(of.state);
            entries.visit(range, &mut |key, held| lives.live(held, of.user_key).is_none_or(|value| visit(key, value)));
            return Ok(());
        }
        let (mut start, mut end) = (range.start.to_vec(), range.end.map(<[u8]>::to_vec));
        let mut cells = CHUNK_CELLS;
        loop {
            let rest = MapRange { start: &start, end: end.as_deref(), ..range };
            let Some(entries) = self.slots.entries(at, of.state).filter(|entries| entries.known_part(rest).is_some())
            else {
                let rest = MapRange { start: &start, end: end.as_deref(), ..range };
                self.load_chunk(at, of, rest, cells)?;
                cells = (cells * 2).min(CHUNK_CELLS_MAX);
                continue;
            };
            let Some(part) = entries.known_part(rest) else { return Ok(()) };
            let lives = self.lives(of.state);
            let goes_on = entries
                .visit(part, &mut |key, held| lives.live(held, of.user_key).is_none_or(|value| visit(key, value)));
            if !goes_on || (part.start == rest.start && part.end == rest.end) {
                return Ok(());
            }
            if range.descending {
                end = Some(part.start.to_vec());
            } else if let Some(part_end) = part.end {
                start = part_end.to_vec();
            }
        }
    }

    /// Reads entries from the end of a range at which a walk begins, beyond its other end if they are few, but none behind which all is known.
    fn load_chunk(&mut self, at: u32, of: MapOf<'_>, range: MapRange<'_>, cells: usize) -> Result<(), Fault> {
        let mut keys = std::mem::take(&mut self.wanted);
        let mut values = std::mem::take(&mut self.found);
        keys.clear();
        values.clear();
        let entries = self.slots.entries(at, of.state);
        let known = entries.and_then(|entries| entries.known_beyond(range)).map(<[u8]>::to_vec);
        let read = self.read_chunk(of, (range, known.as_deref()), cells, (&mut keys, &mut values));
        let is_all = keys.len() < cells;
        let last = keys.len().checked_sub(1).and_then(|last| keys.get(last as u32));
        let (start, end) = match (range.descending, last) {
            // One byte more is the next key there can be.
            (false, last) => {
                let end = last.filter(|_| !is_all).map(|last| [last, &[0]].concat());
                (range.start, end.or(known))
            }
            (true, last) => {
                let start = last.filter(|_| !is_all).or(known.as_deref()).unwrap_or_default();
                (start, range.end.map(<[u8]>::to_vec))
            }
        };
        let kept = read.and_then(|()| {
            self.slots.make_room(at, of.state);
            for (map_key, stored) in keys.iter().zip(values.iter()) {
                let map_key = map_key.unwrap_or_default();
                // What is known is newer than what is stored, which may be of a version that is not read any more.
                if self.slots.entries(at, of.state).is_some_and(|entries| entries.is_known(map_key)) {
                    continue;
                }
                let value = stored.map(|stored| self.readable(of.state, stored)).transpose()?;
                self.slots.with_entries(at, of.state, |entries| entries.load(map_key, value));
            }
            self.slots.with_entries(at, of.state, |entries| entries.cover(start, end.as_deref()));
            Ok(())
        });
        self.wanted = keys;
        self.found = values;
        kept
    }

    /// Appends map keys and cells of the store, from the end of the range at which a walk begins up to where all is known; not bounded by the other end.
    fn read_chunk(
        &self,
        of: MapOf<'_>,
        (range, known): (MapRange<'_>, Option<&[u8]>),
        cells: usize,
        (keys, values): (&mut BytesColumn, &mut BytesColumn),
    ) -> Result<(), Fault> {
        let (Some(column), Some(backend)) = (self.states.get(of.state as usize), &self.backend) else { return Ok(()) };
        let mut all = Vec::new();
        cell::write_key(&mut all, column.space, self.groups.of(of.user_key), of.user_key, &[]);
        let whole = all.len();
        let from = |map_key: &[u8]| [all.as_slice(), map_key].concat();
        let (start, end) = if range.descending {
            (from(known.unwrap_or_default()), range.end.map(from).or_else(|| crate::ports::prefix_end(&all)))
        } else {
            (from(range.start), known.map(from).or_else(|| crate::ports::prefix_end(&all)))
        };
        let stored = CellRange { start: &start, end: end.as_deref(), descending: range.descending };
        let mut show = |key: &[u8], value: &[u8]| {
            keys.push(Some(key.get(whole..).unwrap_or_default()));
            values.push(Some(value));
            keys.len() < cells
        };
        backend.range(stored, &mut show).map_err(|error| Fault::Host(error.to_string()))
    }

    /// Sets a map entry in the call in hand, or removes it; undone with the call.
    pub(crate) fn put_entry(&mut self, state: u32, key_row: u32, map_key: &[u8], value: Option<&[u8]>) {
        let Some(at) = self.slot_of(key_row) else { return };
        let held = match value {
            Some(value) => self.form(state, value),
            None => Held::Absent,
        };
        self.put_held(at, state, map_key, held);
    }

    /// The same with the bytes as they are to be held.
    pub(super) fn put_held(&mut self, at: u32, state: u32, map_key: &[u8], held: Held) {
        let epoch = self.slots.epoch;
        let before = self.slots.with_entries(at, state, |entries| {
            let is_absent = |known: &Held| known.get().is_none();
            if is_absent(&held) && entries.get(map_key).is_some_and(is_absent) {
                return None;
            }
            Some(entries.put(map_key, held, epoch))
        });
        if let Some(Some(before)) = before {
            self.undo.entry(at, state, map_key, before);
        }
    }

    /// Removes all entries of a map, or all elements of a list.
    pub(crate) fn clear_map(&mut self, of: MapOf<'_>) -> Result<(), Fault> {
        let Some(at) = self.slot_of(of.key_row) else { return Ok(()) };
        let (present, covers_all) = match self.slots.entries(at, of.state) {
            Some(entries) => (entries.present_keys(), entries.covers(MapRange::default())),
            None => (Vec::new(), false),
        };
        for map_key in present {
            self.put_held(at, of.state, map_key.bytes(), Held::Absent);
        }
        if covers_all {
            return Ok(());
        }
        self.remove_unknown(at, of)?;
        let before = self.slots.with_entries(at, of.state, |entries| {
            let before = entries.covered().cloned();
            entries.set_covered(Some(Covered::all()));
            before
        });
        self.undo.covered(at, of.state, before.flatten());
        Ok(())
    }

    /// Removes entries that only the store knows of: their values are not read.
    fn remove_unknown(&mut self, at: u32, of: MapOf<'_>) -> Result<(), Fault> {
        let (Some(column), Some(backend)) = (self.states.get(of.state as usize), self.backend.clone()) else {
            return Ok(());
        };
        let mut all = Vec::new();
        cell::write_key(&mut all, column.space, self.groups.of(of.user_key), of.user_key, &[]);
        let whole = all.len();
        let mut remove = |key: &[u8], _: &[u8]| {
            let map_key = key.get(whole..).unwrap_or_default();
            if !self.slots.entries(at, of.state).is_some_and(|entries| entries.is_known(map_key)) {
                self.put_held(at, of.state, map_key, Held::Absent);
            }
            true
        };
        backend.scan(&all, None, &mut remove).map_err(|error| Fault::Host(error.to_string()))
    }

    /// Starts the time to live of an entry again, if it is there.
    pub(crate) fn touch_entry(&mut self, of: MapOf<'_>, map_key: &[u8]) -> Result<(), Fault> {
        self.entry(of, map_key)?;
        let Some(at) = self.slot_of(of.key_row) else { return Ok(()) };
        let held = self.slots.entries(at, of.state).and_then(|entries| entries.get(map_key)?.get());
        let lives = self.lives(of.state);
        if let Some(touched) = held.and_then(|held| lives.touched(held, of.user_key)) {
            self.put_held(at, of.state, map_key, touched);
        }
        Ok(())
    }

    /// Starts the time to live of everything in a map or list again.
    pub(crate) fn touch_map(&mut self, of: MapOf<'_>) -> Result<(), Fault> {
        let mut map_keys = BytesColumn::default();
        self.walk(of, MapRange::default(), &mut |map_key, _| {
            map_keys.push(Some(map_key));
            true
        })?;
        map_keys.iter().flatten().try_for_each(|map_key| self.touch_entry(of, map_key))
    }
}

/// The user key of each key row of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserKeys<'a> {
    pub(crate) keys: &'a BytesColumn,
    pub(crate) first_rows: &'a [u32],
}

impl<'a> UserKeys<'a> {
    pub(crate) fn get(self, key_row: u32) -> &'a [u8] {
        self.first_rows.get(key_row as usize).and_then(|&row| self.keys.get(row)).unwrap_or_default()
    }
}
