use super::emit::{checked, misuse};
use super::{Call, Fault, StateOp};
use crate::keyed::{MapOf, MapRange, UserKeys};
use crate::ports::prefix_end;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::StateKind;

/// A page of entries or elements ends at the latest with so many bytes.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// What an entry counts in a page beside its bytes: there may be many without any.
const ROW_BYTES: usize = 8;

/// Part of a range of a map, in walking order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct EntryPage {
    /// Map keys.
    pub map_keys: BytesColumn,
    /// The value of each.
    pub values: BytesColumn,
    /// Whether the range goes on after this page.
    pub more: bool,
}

/// Counts what may still go onto a page.
struct Room {
    left: usize,
    is_first: bool,
}

impl Room {
    fn new(bytes_max: u32) -> Self {
        Self { left: (bytes_max as usize).min(PAGE_BYTES_MAX), is_first: true }
    }

    /// Whether there is room for so many bytes; the first always finds it.
    fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes + ROW_BYTES);
        let fits = left.is_some() || self.is_first;
        self.is_first = false;
        self.left = left.unwrap_or(0);
        fits
    }
}

impl EntryPage {
    /// Takes an entry onto the page if there is room.
    fn push(&mut self, room: &mut Room, map_key: &[u8], value: &[u8]) -> bool {
        self.more = !room.take(map_key.len() + value.len());
        if !self.more {
            self.map_keys.push(Some(map_key));
            self.values.push(Some(value));
        }
        !self.more
    }
}

impl Call {
    /// The key of each key row.
    pub fn keys(&self, keys: &mut BytesColumn) {
        keys.gather(&self.batch.keys, &self.first_rows);
    }

    /// Checks that there is such a state of keys.
    pub(super) fn check_state(&mut self, state: u32, kind: StateKind) -> Result<(), Fault> {
        if self.is_broadcast() {
            return misuse("the state of keys is out of reach in `process-broadcast`");
        }
        self.state.check_state(state, kind)
    }

    pub(super) fn check_key_row(&self, key_row: u32) -> Result<(), Fault> {
        if (key_row as usize) < self.first_rows.len() {
            return Ok(());
        }
        misuse(format!("there is no key row {key_row} (there are {})", self.first_rows.len()))
    }

    /// The value of every key row, with what this call has staged so far.
    ///
    /// # Errors
    /// [`Fault::Misuse`] if there is no such state or it has another kind, [`Fault::Host`] if the store cannot be read.
    pub fn values(&mut self, state: u32, values: &mut BytesColumn) -> Result<(), Fault> {
        self.check_state(state, StateKind::Value)?;
        self.state.load(state)?;
        let staged = self.staged.ops.iter().any(|op| matches!(op, StateOp::Put { state: of, .. } if *of == state));
        if !staged {
            self.state.gather(state, values);
            return Ok(());
        }
        let mut last: Vec<Option<Option<(u32, u32)>>> = vec![None; self.first_rows.len()];
        for op in &self.staged.ops {
            if let StateOp::Put { state: of, key_row, value } = *op
                && of == state
                && let Some(slot) = last.get_mut(key_row as usize)
            {
                *slot = Some(value);
            }
        }
        for (key_row, staged) in last.into_iter().enumerate() {
            match staged {
                None => values.push(self.state.value(state, key_row as u32)),
                Some(value) => values.push(value.map(|range| self.staged.bytes(range))),
            }
        }
        Ok(())
    }

    /// Map entries: the value under `map_keys[i]` in the map of `key_rows[i]`, with what this call has staged so far.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn entries(
        &mut self,
        state: u32,
        key_rows: &[u32],
        map_keys: ColumnRef<'_>,
        values: &mut BytesColumn,
    ) -> Result<(), Fault> {
        self.check_state(state, StateKind::Map)?;
        let map_keys = checked(map_keys, key_rows.len(), "map keys")?;
        key_rows.iter().try_for_each(|&key_row| self.check_key_row(key_row))?;
        let user_keys =
            UserKeys { keys: self.state_keys.as_ref().unwrap_or(&self.batch.keys), first_rows: &self.first_rows };
        self.state.entries(state, key_rows, map_keys, user_keys, values)
    }

    /// A map entry of a key row, with what this call has staged so far.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn entry(&mut self, state: u32, key_row: u32, map_key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.check_state(state, StateKind::Map)?;
        self.check_key_row(key_row)?;
        let user_keys =
            UserKeys { keys: self.state_keys.as_ref().unwrap_or(&self.batch.keys), first_rows: &self.first_rows };
        let of = MapOf { state, key_row, user_key: user_keys.get(key_row) };
        Ok(self.state.entry(of, map_key)?.map(<[u8]>::to_vec))
    }

    fn walk(
        &mut self,
        (state, key_row): (u32, u32),
        range: MapRange<'_>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Fault> {
        self.check_state(state, StateKind::Map)?;
        self.check_key_row(key_row)?;
        let user_keys =
            UserKeys { keys: self.state_keys.as_ref().unwrap_or(&self.batch.keys), first_rows: &self.first_rows };
        self.state.walk(MapOf { state, key_row, user_key: user_keys.get(key_row) }, range, visit)
    }

    /// Appends a page of a range of a key row's map, with what this call has staged so far. It ends before `bytes_max` bytes are passed, but has at least one
    /// entry if there is one.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn scan(
        &mut self,
        (state, key_row): (u32, u32),
        range: MapRange<'_>,
        bytes_max: u32,
        page: &mut EntryPage,
    ) -> Result<(), Fault> {
        let mut room = Room::new(bytes_max);
        self.walk((state, key_row), range, &mut |map_key, value| page.push(&mut room, map_key, value))
    }

    /// Map keys of a key row that begin with `prefix` and come after `after`, at most `count_max`, with what this call has staged so far.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn entry_keys(&mut self, state: u32, key_row: u32, range: EntryRange<'_>) -> Result<Vec<Vec<u8>>, Fault> {
        let mut keys = Vec::new();
        // One byte more is the next key there can be.
        let after = range.after.map(|after| [after, &[0]].concat()).unwrap_or_default();
        let end = prefix_end(range.prefix);
        let within = MapRange { start: range.prefix.max(&after), end: end.as_deref(), descending: false };
        self.walk((state, key_row), within, &mut |map_key, _| {
            let has_room = keys.len() < range.count_max;
            if has_room {
                keys.push(map_key.to_vec());
            }
            has_room
        })?;
        Ok(keys)
    }

    /// Appends a page of a key row's list, from element number `first` on, and tells whether the list goes on; see [`Call::scan`].
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn elements(
        &mut self,
        (state, key_row): (u32, u32),
        first: u64,
        bytes_max: u32,
        elements: &mut BytesColumn,
    ) -> Result<bool, Fault> {
        self.check_state(state, StateKind::List)?;
        self.check_key_row(key_row)?;
        let user_keys =
            UserKeys { keys: self.state_keys.as_ref().unwrap_or(&self.batch.keys), first_rows: &self.first_rows };
        let of = MapOf { state, key_row, user_key: user_keys.get(key_row) };
        let (mut room, mut more) = (Room::new(bytes_max), false);
        self.state.walk_list(of, first, &mut |element| {
            more = !room.take(element.len());
            if !more {
                elements.push(Some(element));
            }
            !more
        })?;
        Ok(more)
    }

    fn check_broadcast(&mut self, state: u32) -> Result<(), Fault> {
        self.state.check_state(state, StateKind::Broadcast)?;
        self.state.load_table(state)
    }

    /// A number that goes up with every change of a broadcast state.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn revision(&mut self, state: u32) -> Result<u64, Fault> {
        self.check_broadcast(state)?;
        Ok(self.state.revision(state))
    }

    /// Entries of a broadcast state: the value under each map key.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn broadcast_entries(
        &mut self,
        state: u32,
        map_keys: ColumnRef<'_>,
        values: &mut BytesColumn,
    ) -> Result<(), Fault> {
        self.check_broadcast(state)?;
        let map_keys = checked(map_keys, map_keys.ends.len(), "map keys")?;
        for row in 0..map_keys.len() as u32 {
            values.push(self.state.table_entry(state, map_keys.get(row).unwrap_or_default()));
        }
        Ok(())
    }

    /// Appends a page of a range of a broadcast state; see [`Call::scan`].
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn broadcast_scan(
        &mut self,
        state: u32,
        range: MapRange<'_>,
        bytes_max: u32,
        page: &mut EntryPage,
    ) -> Result<(), Fault> {
        self.check_broadcast(state)?;
        let mut room = Room::new(bytes_max);
        self.state.walk_table(state, range, &mut |map_key, value| page.push(&mut room, map_key, value));
        Ok(())
    }
}

/// Which map keys are asked for.
#[derive(Debug, Clone, Copy)]
pub struct EntryRange<'a> {
    /// What they begin with.
    pub prefix: &'a [u8],
    /// What they come after.
    pub after: Option<&'a [u8]>,
    /// How many at most.
    pub count_max: usize,
}
