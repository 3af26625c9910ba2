//! What a call changes of state. Values wait for the call's end; maps, lists and broadcast states change at once and are changed back if the call fails.

use super::emit::{checked, misuse};
use super::{Call, Fault, StateOp};
use crate::keyed::{MapOf, UserKeys};
use millstream_model::column_ref::{CheckedColumn, ColumnRef};
use millstream_model::descriptor::StateKind;

/// What a cell needs in the changelog beside user key, map key and value: numbers of operator, group and state, a length, the version of the value and the time of
/// its last refresh.
const CELL_OVERHEAD_BYTES: usize = 32;

/// An element's number in its list, which is its map key.
const ELEMENT_KEY_BYTES: usize = size_of::<u64>();

impl Call {
    /// Stages values for key rows; absent removes.
    ///
    /// # Errors
    /// As [`Call::emit`].
    pub fn put_values(&mut self, state: u32, key_rows: &[u32], values: ColumnRef<'_>) -> Result<(), Fault> {
        self.check_changes()?;
        self.check_state(state, StateKind::Value)?;
        let bytes = values.bytes;
        let values = checked(values, key_rows.len(), "state values")?;
        let surely = self.surely_fits();
        // All bytes at once; those of a refused call go with it.
        let (mut start, _) = self.staged.store(bytes);
        self.staged.ops.reserve(key_rows.len());
        for (at, &key_row) in key_rows.iter().enumerate() {
            self.check_key_row(key_row)?;
            let value = values.get(at as u32).map(|bytes| (start, start + bytes.len() as u32));
            let end = value.map_or(start, |(_, end)| end);
            if (end - start) as usize > surely {
                self.check_cell(key_row, 0, (end - start) as usize)?;
            }
            start = end;
            self.staged.ops.push(StateOp::Put { state, key_row, value });
        }
        Ok(())
    }

    /// Stages map entries; absent removes.
    ///
    /// # Errors
    /// As [`Call::emit`].
    pub fn put_entries(
        &mut self,
        state: u32,
        key_rows: &[u32],
        map_keys: ColumnRef<'_>,
        values: ColumnRef<'_>,
    ) -> Result<(), Fault> {
        self.check_state(state, StateKind::Map)?;
        let map_keys = present(map_keys, key_rows.len(), "map keys")?;
        let values = checked(values, key_rows.len(), "map values")?;
        for (row, &key_row) in (0u32..).zip(key_rows) {
            self.put_checked(state, key_row, map_keys.get(row).unwrap_or_default(), values.get(row))?;
        }
        Ok(())
    }

    /// Stages one map entry, or its removal.
    ///
    /// # Errors
    /// As [`Call::emit`].
    pub fn put_entry(&mut self, state: u32, key_row: u32, map_key: &[u8], value: Option<&[u8]>) -> Result<(), Fault> {
        self.check_changes()?;
        self.check_state(state, StateKind::Map)?;
        self.put_checked(state, key_row, map_key, value)
    }

    fn put_checked(&mut self, state: u32, key_row: u32, map_key: &[u8], value: Option<&[u8]>) -> Result<(), Fault> {
        self.check_key_row(key_row)?;
        let bytes = value.map_or(0, <[u8]>::len);
        if map_key.len().saturating_add(bytes) > self.surely_fits() {
            self.check_cell(key_row, map_key.len(), bytes)?;
        }
        self.state.put_entry(state, key_row, map_key, value);
        Ok(())
    }

    /// Bytes of map key and value of a cell that need no closer look.
    fn surely_fits(&self) -> usize {
        let limits = &self.rules.limits;
        let key = limits.key_bytes_max as usize;
        let room = self.rules.sizes.of_changelog().saturating_sub(key + CELL_OVERHEAD_BYTES);
        (limits.state_value_bytes_max as usize).min(key).min(room)
    }

    /// Sizes of state are checked here, before anything joins the epoch: too large is a failure of that record.
    fn check_cell(&self, key_row: u32, map_key: usize, value: usize) -> Result<(), Fault> {
        let key = self.first_rows.get(key_row as usize).map_or(0, |row| self.batch.keys.value_len(*row));
        let Err(reason) = self.cell_fits(key, map_key, value) else { return Ok(()) };
        let mut rows = (0u32..).zip(&self.key_rows).filter(|(_, of)| **of == key_row).map(|(row, _)| row);
        match (rows.next(), rows.next()) {
            (Some(row), None) => Err(Fault::Refuse { row, reason }),
            // Which of several records made it large shows when they come apart.
            _ => Err(Fault::Limit { limit: "state_value", reason }),
        }
    }

    /// Whether a cell is within all limits, by the lengths of its parts in bytes; if not, why.
    pub(super) fn cell_fits(&self, key: usize, map_key: usize, value: usize) -> Result<(), String> {
        let (limits, room) = (&self.rules.limits, self.rules.sizes.of_changelog());
        let (key_max, value_max) = (limits.key_bytes_max as usize, limits.state_value_bytes_max as usize);
        let cell = key.saturating_add(map_key).saturating_add(value).saturating_add(CELL_OVERHEAD_BYTES);
        if map_key > key_max {
            return Err(format!("a map key in state has {map_key} bytes, `limits.key` allows {key_max}"));
        }
        if value > value_max {
            return Err(format!("a value in state has {value} bytes, `limits.state_value` allows {value_max}"));
        }
        if cell > room {
            return Err(format!(
                "a value in state has {cell} bytes with its keys, the changelog takes {room} (the topic's `max.message.bytes`)"
            ));
        }
        Ok(())
    }

    /// Appends elements to the lists of key rows, in order.
    ///
    /// # Errors
    /// As [`Call::emit`].
    pub fn append_elements(&mut self, state: u32, key_rows: &[u32], elements: ColumnRef<'_>) -> Result<(), Fault> {
        self.check_changes()?;
        self.check_state(state, StateKind::List)?;
        let elements = present(elements, key_rows.len(), "list elements")?;
        let surely = self.surely_fits();
        for (row, &key_row) in (0u32..).zip(key_rows) {
            self.check_key_row(key_row)?;
            let element = elements.get(row).unwrap_or_default();
            if element.len() + ELEMENT_KEY_BYTES > surely {
                self.check_cell(key_row, ELEMENT_KEY_BYTES, element.len())?;
            }
            let user_keys =
                UserKeys { keys: self.state_keys.as_ref().unwrap_or(&self.batch.keys), first_rows: &self.first_rows };
            let of = MapOf { state, key_row, user_key: user_keys.get(key_row) };
            self.state.append(of, element)?;
        }
        Ok(())
    }

    /// Stages the removal of all that a state holds for key rows; of a map or a list, entry by entry.
    ///
    /// # Errors
    /// As [`Call::emit`], and [`Fault::Host`] if a map cannot be read.
    pub fn clear_state(&mut self, state: u32, key_rows: &[u32]) -> Result<(), Fault> {
        self.check_changes()?;
        let kind = self.state.check_any_state(state)?.descriptor.kind;
        if kind == StateKind::Broadcast {
            return misuse("a broadcast state is no key's: `broadcast-state.clear` empties it");
        }
        self.check_state(state, kind)?;
        for &key_row in key_rows {
            self.check_key_row(key_row)?;
            if kind == StateKind::Value {
                self.staged.ops.push(StateOp::Put { state, key_row, value: None });
                continue;
            }
            let user_keys =
                UserKeys { keys: self.state_keys.as_ref().unwrap_or(&self.batch.keys), first_rows: &self.first_rows };
            self.state.clear_map(MapOf { state, key_row, user_key: user_keys.get(key_row) })?;
        }
        Ok(())
    }

    /// Starts the time to live again of what the operator has read, in a state that is refreshed on access: of the value of each key row, of the entry `map_keys[i]`
    /// of `key_rows[i]`, or of every element of the lists. Nothing happens where there is nothing, or in another state.
    ///
    /// # Errors
    /// As [`Call::emit`], and [`Fault::Host`] if the state cannot be read.
    pub fn touch(&mut self, state: u32, key_rows: &[u32], map_keys: Option<ColumnRef<'_>>) -> Result<(), Fault> {
        let kind = self.state.check_any_state(state)?.descriptor.kind;
        self.check_state(state, kind)?;
        key_rows.iter().try_for_each(|&key_row| self.check_key_row(key_row))?;
        let map_keys = match (kind, map_keys) {
            (StateKind::Map, Some(map_keys)) => Some(present(map_keys, key_rows.len(), "map keys")?),
            (StateKind::Value | StateKind::List, None) => None,
            (StateKind::Broadcast, _) => return misuse("a broadcast state has no time to live"),
            (StateKind::Map, None) => return misuse("of a map, what was read is named by map keys"),
            (_, Some(_)) => return misuse(format!("a state of kind `{}` has no map keys", kind.name())),
        };
        if !self.state.is_touched(state) {
            return Ok(());
        }
        if kind == StateKind::Value {
            self.state.load(state)?;
            self.staged.ops.extend(key_rows.iter().map(|&key_row| StateOp::Touch { state, key_row }));
            return Ok(());
        }
        let user_keys =
            UserKeys { keys: self.state_keys.as_ref().unwrap_or(&self.batch.keys), first_rows: &self.first_rows };
        for (row, &key_row) in (0u32..).zip(key_rows) {
            let of = MapOf { state, key_row, user_key: user_keys.get(key_row) };
            match &map_keys {
                Some(map_keys) => self.state.touch_entry(of, map_keys.get(row).unwrap_or_default())?,
                None => self.state.touch_map(of)?,
            }
        }
        Ok(())
    }
}

/// A column in which no row is absent.
pub(super) fn present<'a>(column: ColumnRef<'a>, rows: usize, what: &str) -> Result<CheckedColumn<'a>, Fault> {
    match column.absent.first() {
        Some(row) => misuse(format!("{what}: row {row} is absent")),
        None => checked(column, rows, what),
    }
}
