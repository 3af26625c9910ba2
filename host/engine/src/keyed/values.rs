use super::KeyedState;
use crate::call::{Fault, StateOp};
use millstream_model::cell;
use millstream_model::column::BytesColumn;
use millstream_model::key_group::key_group;

impl KeyedState {
    /// Makes the values of a state known for every key row, with one read of the store for all that are not.
    pub(crate) fn load(&mut self, state: u32, keys: &BytesColumn, first_rows: &[u32]) -> Result<(), Fault> {
        let Some(column) = self.states.get(state as usize) else {
            return Ok(());
        };
        self.wanted.clear();
        let mut missing = Vec::new();
        for (key_row, &at) in self.batch_slots.iter().enumerate() {
            if self.slots.value(at, state).is_some_and(super::held::Held::is_unknown) {
                let key = first_rows.get(key_row).and_then(|&row| keys.get(row)).unwrap_or_default();
                self.wanted.push_with(|to| cell::write_key(to, column.space, key_group(key), key, &[]));
                missing.push(at);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.read_stored(&self.wanted, &mut found)?;
        for (row, &at) in missing.iter().enumerate() {
            let value = found.get(row as u32).map(|stored| self.readable(state, stored)).transpose()?;
            self.slots.fill(at, state, value);
        }
        self.found = found;
        Ok(())
    }

    /// Reads cells of the store; one row for each, or a fault.
    pub(super) fn read_stored(&self, wanted: &BytesColumn, found: &mut BytesColumn) -> Result<(), Fault> {
        if let Some(backend) = &self.backend {
            backend.read(wanted, found).map_err(|error| Fault::Host(error.to_string()))?;
        }
        if found.len() == wanted.len() {
            return Ok(());
        }
        Err(Fault::Host(format!("the store answered {} of {} cells", found.len(), wanted.len())))
    }

    /// The operator's bytes within a stored cell.
    pub(super) fn readable<'a>(&self, state: u32, stored: &'a [u8]) -> Result<&'a [u8], Fault> {
        let described = self.states.get(state as usize).map(|column| &column.descriptor);
        let (Some(described), Some((version, bytes))) = (described, cell::read_value(stored)) else {
            return Err(Fault::Host("a stored cell has no version: the store is damaged".to_owned()));
        };
        if version == described.version || described.reads_versions.contains(&version) {
            return Ok(bytes);
        }
        let reason = format!(
            "state `{}` holds version {version}, the operator reads {} and {:?}",
            described.name, described.version, described.reads_versions
        );
        Err(Fault::Host(reason))
    }

    /// Appends the value of every key row; [`KeyedState::load`] came before.
    pub(crate) fn gather(&self, state: u32, values: &mut BytesColumn) {
        values.reserve(self.batch_slots.len(), 0);
        for &at in &self.batch_slots {
            match self.slots.value(at, state) {
                Some(held) => held.push_to(values),
                None => values.push(None),
            }
        }
    }

    /// The value of a key row; [`KeyedState::load`] came before.
    pub(crate) fn value(&self, state: u32, key_row: u32) -> Option<&[u8]> {
        self.slots.value(*self.batch_slots.get(key_row as usize)?, state)?.get()
    }

    /// Merges staged changes into the open epoch.
    pub(crate) fn apply(&mut self, ops: &[StateOp], arena: &[u8]) {
        let bytes = |(start, end): (u32, u32)| arena.get(start as usize..end as usize).unwrap_or_default();
        for op in ops {
            match *op {
                StateOp::Put { state, key_row, value } => {
                    let Some(&at) = self.batch_slots.get(key_row as usize) else {
                        continue;
                    };
                    self.slots.put(at, state, value.map(bytes));
                }
                StateOp::PutEntry { state, key_row, map_key, value } => {
                    let Some(&at) = self.batch_slots.get(key_row as usize) else {
                        continue;
                    };
                    self.slots.mark_dirty(at, state);
                    self.slots
                        .with_entries(at, state, |entries| entries.insert(bytes(map_key), value.map(bytes), true));
                }
            }
        }
    }
}
