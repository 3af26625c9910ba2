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
        let mut dirty = std::mem::take(&mut self.slots.dirty);
        self.slots.epoch += 1;
        for block in dirty.chunks(BLOCK_SLOTS) {
            self.slots.read_ahead_slots(block);
            for &at in block {
                self.freeze_slot(at, changes);
            }
        }
        dirty.clear();
        self.slots.dirty = dirty;
        frozen
    }

    fn freeze_slot(&mut self, at: u32, changes: &mut ChangeSet) {
        let Some(slot) = self.slots.slot_mut(at) else {
            return;
        };
        let mask = std::mem::take(&mut slot.dirty);
        for (state, column) in self.states.iter().enumerate() {
            let state = state as u32;
            if mask & (1 << state.min(31)) == 0 {
                continue;
            }
            let version = column.descriptor.version;
            let mut change = |key: &[u8], cell_key: &[u8], value: Option<&[u8]>| {
                changes.keys.push_with(|to| cell::write_key(to, column.space, key_group(key), key, cell_key));
                match value {
                    Some(bytes) => changes.values.push_with(|to| cell::write_value(to, version, bytes)),
                    None => changes.values.push(None),
                }
            };
            match column.descriptor.kind {
                StateKind::Value => {
                    if let (Some(key), Some(held)) = (self.slots.key(at), self.slots.value(at, state))
                        && !held.is_unknown()
                    {
                        change(key, &[], held.get());
                    }
                }
                StateKind::Map => self.slots.take_changed_entries(at, state, &mut change),
            }
        }
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

/// Slots whose lines of memory are read together.
const BLOCK_SLOTS: usize = 128;
