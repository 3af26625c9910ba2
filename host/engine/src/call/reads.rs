use super::{Call, Fault, StateOp};
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::StateKind;

impl Call {
    /// The key of each key row.
    pub fn keys(&self, keys: &mut BytesColumn) {
        keys.gather(&self.batch.keys, &self.first_rows);
    }

    /// The value of every key row, with what this call has staged so far.
    ///
    /// # Errors
    /// [`Fault::Misuse`] if there is no such state or it has another kind, [`Fault::Host`] if the store cannot be read.
    pub fn values(&mut self, state: u32, values: &mut BytesColumn) -> Result<(), Fault> {
        self.state.check_state(state, StateKind::Value)?;
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

    /// A map entry of a key row, with what this call has staged so far.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn entry(&mut self, state: u32, key_row: u32, map_key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.state.check_state(state, StateKind::Map)?;
        self.check_key_row(key_row)?;
        for op in self.staged.ops.iter().rev() {
            if let StateOp::PutEntry { state: of, key_row: row, map_key: key, value } = *op
                && (of, row) == (state, key_row)
                && self.staged.bytes(key) == map_key
            {
                return Ok(value.map(|range| self.staged.bytes(range).to_vec()));
            }
        }
        let key = self.first_rows.get(key_row as usize).and_then(|&row| self.batch.keys.get(row)).unwrap_or_default();
        self.state.entry((state, key_row), key, map_key)
    }

    /// Map keys of a key row that begin with `prefix` and come after `after`, at most `count_max`, with what this call has staged so far.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn entry_keys(&mut self, state: u32, key_row: u32, range: EntryRange<'_>) -> Result<Vec<Vec<u8>>, Fault> {
        self.state.check_state(state, StateKind::Map)?;
        self.check_key_row(key_row)?;
        let mut changes = std::collections::BTreeMap::new();
        for op in &self.staged.ops {
            if let StateOp::PutEntry { state: of, key_row: row, map_key, value } = *op
                && (of, row) == (state, key_row)
            {
                changes.insert(self.staged.bytes(map_key).to_vec(), value.is_some());
            }
        }
        let key = self.first_rows.get(key_row as usize).and_then(|&row| self.batch.keys.get(row)).unwrap_or_default();
        self.state.entry_keys((state, key_row), key, range, changes)
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
