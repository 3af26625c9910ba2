use super::KeyedState;
use super::stale::Stored;
use crate::call::{Fault, StateOp};
use millstream_model::cell;
use millstream_model::column::BytesColumn;
use millstream_model::key_group::key_group;

impl KeyedState {
    /// Makes the values of a state known for every key row, with one read of the store for all that are not.
    pub(crate) fn load(&mut self, state: u32) -> Result<(), Fault> {
        let missing = self.read_unknown(state)?;
        if missing.is_empty() {
            return Ok(());
        }
        let found = std::mem::take(&mut self.found);
        for (row, &at) in missing.iter().enumerate() {
            let value = found.get(row as u32).map(|stored| self.readable(state, stored)).transpose()?;
            self.slots.fill(at, state, value);
        }
        self.found = found;
        Ok(())
    }

    /// Reads the cells of a state that are not known for every key row, and tells their slots: row by row, keys are in `wanted` and values in `found`.
    pub(super) fn read_unknown(&mut self, state: u32) -> Result<Vec<u32>, Fault> {
        let mut missing = Vec::new();
        let Some(column) = self.states.get(state as usize) else {
            return Ok(missing);
        };
        self.wanted.clear();
        for &at in &self.batch_slots {
            if self.slots.value(at, state).is_some_and(super::held::Held::is_unknown) {
                let key = self.slots.key(at).unwrap_or_default();
                self.wanted.push_with(|to| cell::write_key(to, column.space, key_group(key), key, &[]));
                missing.push(at);
            }
        }
        if missing.is_empty() {
            return Ok(missing);
        }
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.read_stored(&self.wanted, &mut found)?;
        self.found = found;
        Ok(missing)
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
        let (version, what) = match self.judge(state, stored)? {
            Stored::Readable(bytes) => return Ok(bytes),
            Stored::Stale(version, _) => (version, "was not migrated before it was read"),
            Stored::Foreign(version) => (version, "the operator neither reads nor migrates"),
        };
        let name = self.states.get(state as usize).map_or("", |column| &column.descriptor.name);
        Err(Fault::Host(format!("state `{name}` holds version {version}, which {what}")))
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
