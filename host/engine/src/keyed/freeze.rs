use super::KeyedState;
use crate::ports::ChangeSet;
use millstream_model::cell;
use millstream_model::descriptor::StateKind;

impl KeyedState {
    /// Ends the open epoch: appends its changed cells to `changes` and begins the next one. Returns the number that
    /// [`KeyedState::applied`] takes once the changes are in the store; until then the slots stay.
    pub fn freeze(&mut self, changes: &mut ChangeSet) -> u32 {
        let before = changes.len();
        if let Err(fault) = self.remove_all_expired(changes) {
            // Whoever needs what cannot be read is told.
            tracing::warn!(?fault, "expired state is not removed");
        }
        self.tidy_facts(changes);
        let frozen = self.slots.epoch;
        let mut dirty = std::mem::take(&mut self.slots.dirty);
        self.slots.epoch += 1;
        self.slots.dirty_bytes = 0;
        for block in dirty.chunks(BLOCK_SLOTS) {
            self.slots.read_ahead_slots(block);
            for &at in block {
                self.freeze_slot(at, frozen, changes);
            }
        }
        dirty.clear();
        self.slots.dirty = dirty;
        self.freeze_facts(changes);
        self.freeze_tables(changes);
        self.note_changed(changes.len() - before);
        frozen
    }

    fn freeze_slot(&mut self, at: u32, frozen: u32, changes: &mut ChangeSet) {
        let Some(slot) = self.slots.slot_mut(at) else {
            return;
        };
        let mask = std::mem::take(&mut slot.dirty);
        let groups = self.groups;
        for (state, column) in self.states.iter().enumerate() {
            let state = state as u32;
            if mask & (1 << state.min(31)) == 0 {
                continue;
            }
            let (version, is_timed) = (column.descriptor.version, column.descriptor.ttl.is_some());
            let mut change = |key: &[u8], cell_key: &[u8], value: Option<&[u8]>| {
                changes.keys.push_with(|to| cell::write_key(to, column.space, groups.of(key), key, cell_key));
                match value {
                    Some(bytes) if !is_timed => changes.values.push_with(|to| cell::write_value(to, version, bytes)),
                    // Held as it is stored.
                    value => changes.values.push(value),
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
                StateKind::Map | StateKind::List => {
                    self.slots.take_changed_entries(at, state, frozen, &mut change);
                }
                StateKind::Broadcast => {}
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

    /// Bytes changed in the open epoch, nearly.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.slots.dirty_bytes
    }
}

/// Slots whose lines of memory are read together.
const BLOCK_SLOTS: usize = 128;
