use super::KeyedState;
use crate::call::{EntryRange, Fault};
use millstream_model::cell;
use millstream_model::column::BytesColumn;
use millstream_model::key_group::key_group;
use std::collections::BTreeMap;

impl KeyedState {
    /// A map entry of a key row, from what is held or from the store.
    pub(crate) fn entry(
        &mut self,
        (state, key_row): (u32, u32),
        user_key: &[u8],
        map_key: &[u8],
    ) -> Result<Option<Vec<u8>>, Fault> {
        let Some(&at) = self.batch_slots.get(key_row as usize) else {
            return Ok(None);
        };
        let known = self.slots.with_entries(at, state, |entries| {
            entries.known.get(map_key).map(|entry| entry.value.as_ref().map(|value| value.to_vec()))
        });
        if let Some(Some(value)) = known {
            return Ok(value);
        }
        let Some(column) = self.states.get(state as usize) else {
            return Ok(None);
        };
        let mut wanted = BytesColumn::default();
        wanted.push_with(|to| cell::write_key(to, column.space, key_group(user_key), user_key, map_key));
        let mut found = BytesColumn::default();
        self.read_stored(&wanted, &mut found)?;
        let value = found.get(0).map(|stored| self.readable(state, stored)).transpose()?;
        self.slots.with_entries(at, state, |entries| entries.insert(map_key, value, false));
        Ok(value.map(<[u8]>::to_vec))
    }

    /// Map keys of a key row in a range, in order: those of the store, under what is held, under what the call has staged (`staged`: key →
    /// whether it is there).
    pub(crate) fn entry_keys(
        &mut self,
        (state, key_row): (u32, u32),
        user_key: &[u8],
        range: EntryRange<'_>,
        mut staged: BTreeMap<Vec<u8>, bool>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let Some(&at) = self.batch_slots.get(key_row as usize) else {
            return Ok(Vec::new());
        };
        self.slots.with_entries(at, state, |entries| {
            for (map_key, entry) in &entries.known {
                staged.entry(map_key.to_vec()).or_insert(entry.value.is_some());
            }
        });
        staged.retain(|map_key, _| {
            map_key.starts_with(range.prefix) && range.after.is_none_or(|after| map_key.as_slice() > after)
        });
        let mut changed = staged.into_iter().peekable();
        let mut keys = Vec::new();
        self.scan_stored((state, user_key), range, &mut |stored| {
            while let Some((map_key, present)) = changed.next_if(|(map_key, _)| map_key.as_slice() < stored) {
                if present && keys.len() < range.count_max {
                    keys.push(map_key);
                }
            }
            let present =
                changed.next_if(|(map_key, _)| map_key.as_slice() == stored).is_none_or(|(_, present)| present);
            if present && keys.len() < range.count_max {
                keys.push(stored.to_vec());
            }
            keys.len() < range.count_max
        })?;
        let rest = changed.filter(|(_, present)| *present).map(|(map_key, _)| map_key);
        keys.extend(rest.take(range.count_max.saturating_sub(keys.len())));
        Ok(keys)
    }

    fn scan_stored(
        &self,
        (state, user_key): (u32, &[u8]),
        range: EntryRange<'_>,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), Fault> {
        let (Some(column), Some(backend)) = (self.states.get(state as usize), &self.backend) else {
            return Ok(());
        };
        let mut all = Vec::new();
        cell::write_key(&mut all, column.space, key_group(user_key), user_key, &[]);
        let whole = all.len();
        let from = |map_key: &[u8]| [all.as_slice(), map_key].concat();
        let (prefix, after) = (from(range.prefix), range.after.map(from));
        backend
            .scan(&prefix, after.as_deref(), &mut |key, _| visit(key.get(whole..).unwrap_or_default()))
            .map_err(|error| Fault::Host(error.to_string()))
    }
}
