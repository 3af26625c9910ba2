use super::KeyedState;
use super::held::Held;
use super::maps::UserKeys;
use crate::call::{Fault, StateOp};
use millstream_model::cell::{self, CellValue};
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

    /// What is held of a stored cell: the operator's bytes, or all of it in a state with a time to live.
    pub(super) fn readable<'a>(&self, state: u32, stored: &'a [u8]) -> Result<&'a [u8], Fault> {
        let described = self.states.get(state as usize).map(|column| &column.descriptor);
        let (Some(described), Some(CellValue { version, bytes, .. })) = (described, cell::read_value(stored)) else {
            return Err(Fault::Host("a stored cell has no version: the store is damaged".to_owned()));
        };
        if version == described.version || described.reads_versions.contains(&version) {
            return Ok(if described.ttl.is_some() { stored } else { bytes });
        }
        let reason = format!(
            "state `{}` holds version {version}, the operator reads {} and {:?}",
            described.name, described.version, described.reads_versions
        );
        Err(Fault::Host(reason))
    }

    /// Appends the value of every key row; [`KeyedState::load`] came before.
    pub(crate) fn gather(&self, state: u32, user_keys: UserKeys<'_>, values: &mut BytesColumn) {
        values.reserve(self.batch_slots.len(), 0);
        if self.states.get(state as usize).is_some_and(|column| column.descriptor.ttl.is_some()) {
            (0..self.batch_slots.len() as u32).for_each(|key_row| values.push(self.value(state, key_row, user_keys)));
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
    pub(crate) fn value(&self, state: u32, key_row: u32, user_keys: UserKeys<'_>) -> Option<&[u8]> {
        let held = self.slots.value(*self.batch_slots.get(key_row as usize)?, state)?.get()?;
        self.lives(state).live(held, user_keys.get(key_row))
    }

    /// Merges staged changes into the open epoch.
    pub(crate) fn apply(&mut self, ops: &[StateOp], arena: &[u8], user_keys: UserKeys<'_>) {
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
                StateOp::Touch { state, key_row } => {
                    let held = self.slots.value(at, state).and_then(Held::get);
                    let lives = self.lives(state);
                    let touched = held.and_then(|held| lives.touched(held, user_keys.get(key_row)));
                    if let Some(touched) = touched {
                        self.slots.put(at, state, touched.get());
                    }
                }
            }
        }
    }
}
