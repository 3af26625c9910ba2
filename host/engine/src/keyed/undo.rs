//! What the call in hand has changed in place: maps, lists and broadcast states are changed as soon as the operator says so, which makes later reads of the call see
//! it without a second look; a call that fails has its changes taken back in reverse order.

use super::KeyedState;
use super::entries::{Covered, Entry};
use millstream_model::key_group::KeyGroup;

/// Changes of the call in hand, in order.
#[derive(Debug, Default)]
pub(super) struct Undo {
    changes: Vec<Change>,
    /// Bytes of map keys.
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Change {
    /// A map entry of a slot.
    Entry { at: u32, state: u32, map_key: (u32, u32), before: Option<Entry> },
    /// What was known of a map as a whole.
    Covered { at: u32, state: u32, before: Option<Covered> },
    /// A number was given to an element.
    Number { state: u32, group: KeyGroup },
    /// An entry of a broadcast state.
    Broadcast { state: u32, map_key: (u32, u32), before: Option<Box<[u8]>> },
}

impl Undo {
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn clear(&mut self) {
        self.changes.clear();
        self.bytes.clear();
    }

    fn keep(&mut self, map_key: &[u8]) -> (u32, u32) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(map_key);
        (start, self.bytes.len() as u32)
    }

    fn bytes(&self, (start, end): (u32, u32)) -> &[u8] {
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    pub(super) fn entry(&mut self, at: u32, state: u32, map_key: &[u8], before: Option<Entry>) {
        let map_key = self.keep(map_key);
        self.changes.push(Change::Entry { at, state, map_key, before });
    }

    pub(super) fn covered(&mut self, at: u32, state: u32, before: Option<Covered>) {
        self.changes.push(Change::Covered { at, state, before });
    }

    pub(super) fn number(&mut self, state: u32, group: KeyGroup) {
        self.changes.push(Change::Number { state, group });
    }

    pub(super) fn broadcast(&mut self, state: u32, map_key: &[u8], before: Option<Box<[u8]>>) {
        let map_key = self.keep(map_key);
        self.changes.push(Change::Broadcast { state, map_key, before });
    }
}

impl KeyedState {
    /// How many changes the call in hand has made in place.
    pub(crate) fn changes(&self) -> usize {
        self.undo.len()
    }

    /// Takes back what the call in hand changed in place, down to so many changes.
    pub(crate) fn undo_to(&mut self, changes: usize) {
        let epoch = self.slots.epoch;
        while self.undo.len() > changes
            && let Some(change) = self.undo.changes.pop()
        {
            match change {
                Change::Entry { at, state, map_key, before } => {
                    let map_key = self.undo.bytes(map_key);
                    self.slots.with_entries(at, state, |entries| entries.undo(map_key, before, epoch));
                }
                Change::Covered { at, state, before } => {
                    self.slots.with_entries(at, state, |entries| entries.set_covered(before));
                }
                Change::Number { state, group } => self.give_number_back(state, group),
                Change::Broadcast { state, map_key, before } => {
                    let map_key = self.undo.bytes(map_key);
                    if let Some(table) = self.tables.get_mut(state as usize) {
                        table.undo(map_key, before);
                    }
                }
            }
        }
        if changes == 0 {
            self.undo.clear();
        }
    }

    /// Keeps what the call in hand changed in place.
    pub(super) fn keep_changes(&mut self) {
        let mut undo = std::mem::take(&mut self.undo);
        for change in &undo.changes {
            match change {
                Change::Entry { at, state, map_key: (start, end), .. } => {
                    self.slots.mark_dirty(*at, *state);
                    self.slots.dirty_bytes += (end - start) as usize + ENTRY_BYTES;
                }
                Change::Covered { .. } => {}
                Change::Number { state, group } => {
                    if let Some(facts) = self.facts.get_mut(*state as usize) {
                        facts.next_element.mark_changed(*group);
                    }
                }
                Change::Broadcast { state, map_key, .. } => {
                    if let Some(table) = self.tables.get_mut(*state as usize) {
                        table.mark_changed(undo.bytes(*map_key), self.share.carries_broadcast);
                    }
                }
            }
        }
        undo.clear();
        self.undo = undo;
    }
}

/// What a changed entry takes beside its key and a long value, nearly.
const ENTRY_BYTES: usize = 96;
