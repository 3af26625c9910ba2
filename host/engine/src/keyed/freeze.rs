use super::KeyedState;
use crate::ports::ChangeSet;
use millstream_model::cell;
use millstream_model::descriptor::StateKind;
use millstream_model::key_group::key_group;

impl KeyedState {
    /// Ends the open epoch: appends its changed cells to `changes` and begins the next one. Returns the number that
    /// [`KeyedState::applied`] takes once the changes are in the store; until then the slots stay.
    pub fn freeze(&mut self, changes: &mut ChangeSet) -> u32 {
        let frozen = self.slots.epoch;
        for (at, mask) in self.slots.take_dirty() {
            let Some(key) = self.slots.slot(at).map(|slot| slot.key.clone()) else {
                continue;
            };
            let key = key.get().unwrap_or_default();
            let group = key_group(key);
            for (state, column) in self.states.iter().enumerate() {
                let state = state as u32;
                if mask & (1 << state.min(31)) == 0 {
                    continue;
                }
                let version = column.descriptor.version;
                let mut change = |cell_key: &[u8], value: Option<&[u8]>| {
                    changes.keys.push_with(|to| cell::write_key(to, column.space, group, key, cell_key));
                    match value {
                        Some(bytes) => changes.values.push_with(|to| cell::write_value(to, version, bytes)),
                        None => changes.values.push(None),
                    }
                };
                match column.descriptor.kind {
                    StateKind::Value => {
                        if let Some(held) = self.slots.value(at, state).filter(|held| !held.is_unknown()) {
                            change(&[], held.get());
                        }
                    }
                    StateKind::Map => {
                        self.slots.with_entries(at, state, |entries| {
                            for (map_key, entry) in entries.known.iter_mut().filter(|(_, entry)| entry.dirty) {
                                entry.dirty = false;
                                change(map_key, entry.value.as_deref());
                            }
                        });
                    }
                }
            }
        }
        frozen
    }

    /// Says that the changes of a frozen epoch are in the store: its slots may be evicted from now on.
    pub fn applied(&mut self, frozen: u32) {
        self.slots.applied = self.slots.applied.max(frozen);
    }

    /// Number of keys changed in the open epoch.
    #[must_use]
    pub fn dirty_count(&self) -> usize {
        self.slots.dirty.len()
    }
}
