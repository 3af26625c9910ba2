use super::change::present;
use super::emit::{checked, misuse};
use super::{Call, Fault};
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::StateKind;

impl Call {
    /// Stages entries of a broadcast state; absent removes. Only for records of a broadcast input.
    ///
    /// # Errors
    /// As [`Call::emit`].
    pub fn put_broadcast(&mut self, state: u32, map_keys: ColumnRef<'_>, values: ColumnRef<'_>) -> Result<(), Fault> {
        self.check_written(state)?;
        let rows = map_keys.ends.len();
        let map_keys = present(map_keys, rows, "map keys")?;
        let values = checked(values, rows, "map values")?;
        for row in 0..rows as u32 {
            let (map_key, value) = (map_keys.get(row).unwrap_or_default(), values.get(row));
            // Nobody says which record an entry is of: the batch is narrowed down to it.
            self.cell_fits(0, map_key.len(), value.map_or(0, <[u8]>::len))
                .map_err(|reason| Fault::Limit { limit: "state_value", reason })?;
            self.state.put_table(state, map_key, value);
        }
        Ok(())
    }

    /// Stages the removal of all entries of a broadcast state. Only for records of a broadcast input.
    ///
    /// # Errors
    /// As [`Call::emit`].
    pub fn clear_broadcast(&mut self, state: u32) -> Result<(), Fault> {
        self.check_written(state)?;
        self.state.clear_table(state);
        Ok(())
    }

    fn check_written(&mut self, state: u32) -> Result<(), Fault> {
        self.state.check_state(state, StateKind::Broadcast)?;
        if !self.is_broadcast() {
            return misuse("a broadcast state is written in `process-broadcast` alone");
        }
        self.state.load_table(state)
    }
}
