use super::KeyedState;
use super::held::Held;
use super::stale::Stored;
use crate::call::{Fault, StateOp};
use millstream_model::cell::{self, CellValue};
use millstream_model::column::BytesColumn;

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
                let group = self.groups.of(key);
                self.wanted.push_with(|to| cell::write_key(to, column.space, group, key, &[]));
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

    /// What is held of a stored cell: the operator's bytes, or all of it in a state with a time to live.
    pub(super) fn readable<'a>(&self, state: u32, stored: &'a [u8]) -> Result<&'a [u8], Fault> {
        let (version, what) = match self.judge(state, stored)? {
            Stored::Readable(bytes) => return Ok(bytes),
            Stored::Stale(CellValue { version, .. }) => (version, "was not migrated before it was read"),
            Stored::Foreign(version) => (version, "the operator neither reads nor migrates"),
        };
        let name = self.states.get(state as usize).map_or("", |column| &column.descriptor.name);
        Err(Fault::Host(format!("state `{name}` holds version {version}, which {what}")))
    }

    /// Appends the value of every key row; [`KeyedState::load`] came before.
    pub(crate) fn gather(&self, state: u32, values: &mut BytesColumn) {
        values.reserve(self.batch_slots.len(), 0);
        if self.states.get(state as usize).is_some_and(|column| column.descriptor.ttl.is_some()) {
            (0..self.batch_slots.len() as u32).for_each(|key_row| values.push(self.value(state, key_row)));
            return;
        }
        for &at in &self.batch_slots {
            match self.slots.value(at, state) {
                Some(held) => held.push_to(values),
                None => values.push(None),
            }
        }
    }

    /// The value of a key row; [`KeyedState::load`] came before.
    pub(crate) fn value(&self, state: u32, key_row: u32) -> Option<&[u8]> {
        let at = self.slot_of(key_row)?;
        self.lives(state).live(self.slots.value(at, state)?.get()?, self.slots.key(at)?)
    }

    /// Merges staged changes into the open epoch.
    pub(crate) fn apply(&mut self, ops: &[StateOp], arena: &[u8]) {
        self.keep_changes();
        let bytes = |(start, end): (u32, u32)| arena.get(start as usize..end as usize).unwrap_or_default();
        let mut timed = Vec::new();
        for op in ops {
            let Some(&at) = self.batch_slots.get(op.key_row() as usize) else {
                continue;
            };
            match *op {
                StateOp::Put { state, value, .. } => {
                    let value = value.map(bytes);
                    match self.states.get(state as usize).and_then(|column| column.descriptor.ttl) {
                        None => self.slots.put(at, state, value),
                        Some(ttl) => {
                            let version = self.states.get(state as usize).map_or(0, |c| c.descriptor.version);
                            timed.clear();
                            let now_ms = super::ttl::clock_ms(&ttl, self.mark);
                            cell::write_timed_value(&mut timed, version, now_ms, value.unwrap_or_default());
                            self.slots.put(at, state, value.is_some().then_some(timed.as_slice()));
                        }
                    }
                }
                StateOp::Touch { state, .. } => {
                    let held = self.slots.value(at, state).and_then(Held::get).zip(self.slots.key(at));
                    let touched = held.and_then(|(held, user_key)| self.lives(state).touched(held, user_key));
                    if let Some(touched) = touched {
                        self.slots.put(at, state, touched.get());
                    }
                }
            }
        }
    }
}
