//! Removes what has expired from the store: in the background, a slice of the cells at every cut, as tombstones that are committed with the epoch.

use super::KeyedState;
use super::held::Held;
use crate::call::Fault;
use crate::ports::{CellRange, ChangeSet, prefix_end};
use millstream_model::cell;
use millstream_model::descriptor::StateKind;
use millstream_model::key_group::KeyGroup;

/// Where the next slice begins.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    state: u32,
    /// The key group, counted from the first one of this worker.
    group: u16,
    /// Key of the last cell looked at; empty at the beginning of a group.
    last: Vec<u8>,
    /// Cells changed in the epoch before.
    changed: usize,
}

/// Cells looked at per cut. As many as half of those that changed, so that what has expired cannot outgrow what lives; more when little changes.
const SLICE_CELLS_MIN: usize = 4_096;
const SLICE_CELLS_MAX: usize = 32_768;

/// An expired cell of the store.
struct Expired {
    key: Vec<u8>,
}

impl KeyedState {
    /// Looks at one slice of the store and removes what has expired there, in the epoch that is about to end.
    pub(super) fn remove_all_expired(&mut self, changes: &mut ChangeSet) -> Result<(), Fault> {
        let states = self.states.len() as u32;
        if !self.states.iter().any(|column| column.descriptor.ttl.is_some()) {
            return Ok(());
        }
        let mut left = (self.expiry.changed / 2).clamp(SLICE_CELLS_MIN, SLICE_CELLS_MAX);
        // Every group of every state once at most: an empty store is gone through in one go.
        let mut turns = states * u32::from(self.share.groups.end - self.share.groups.start).max(1);
        while left > 0 && turns > 0 {
            let seen = self.look_at_group(left, changes)?;
            let is_over = seen < left;
            left -= seen;
            if is_over {
                turns -= 1;
                self.next_group(states);
            }
        }
        Ok(())
    }

    fn next_group(&mut self, states: u32) {
        self.expiry.last.clear();
        self.expiry.group += 1;
        if self.expiry.group >= self.share.groups.end - self.share.groups.start {
            self.expiry.group = 0;
            self.expiry.state = (self.expiry.state + 1) % states.max(1);
        }
    }

    /// Looks at up to so many cells of the group in turn; how many there were.
    fn look_at_group(&mut self, cells: usize, changes: &mut ChangeSet) -> Result<usize, Fault> {
        let (state, group) = (self.expiry.state, KeyGroup((self.share.groups.start + self.expiry.group) as u8));
        let (Some(column), Some(backend)) = (self.states.get(state as usize), self.backend.clone()) else {
            return Ok(0);
        };
        if column.descriptor.ttl.is_none() {
            return Ok(0);
        }
        let mut prefix = Vec::new();
        cell::write_group(&mut prefix, column.space, group);
        let end = prefix_end(&prefix);
        let mut last = std::mem::take(&mut self.expiry.last);
        let start = if last.is_empty() { prefix } else { last.clone() };
        let range = CellRange { start: &start, end: end.as_deref(), descending: false };
        let (mut seen, mut expired) = (0, Vec::new());
        let lives = self.lives(state);
        let looked = backend.range(range, &mut |key, stored| {
            if key == last.as_slice() {
                return true;
            }
            seen += 1;
            let user_key = cell::read_key(key).map(|key| key.user_key).unwrap_or_default();
            if !cell::is_fact_key(key) && lives.has_expired(stored, user_key) {
                expired.push(Expired { key: key.to_vec() });
            }
            if seen == cells {
                last.clear();
                last.extend_from_slice(key);
            }
            seen < cells
        });
        self.expiry.last = last;
        looked.map_err(|error| Fault::Host(error.to_string()))?;
        expired.iter().for_each(|expired| self.remove_expired(state, expired, changes));
        Ok(seen)
    }

    /// Removes a cell that has expired in the store, unless something newer is on its way there.
    fn remove_expired(&mut self, state: u32, expired: &Expired, changes: &mut ChangeSet) {
        let (Some(key), Some(column)) = (cell::read_key(&expired.key), self.states.get(state as usize)) else { return };
        let Some(at) = self.slots.find(key.user_key) else {
            changes.keys.push(Some(&expired.key));
            changes.values.push(None);
            return;
        };
        // What is known of it is newer, or the same.
        if column.descriptor.kind == StateKind::Value {
            let known = self.slots.value(at, state).filter(|held| !held.is_unknown());
            if known.is_none_or(|held| self.is_dead(state, held, key.user_key)) {
                self.slots.put(at, state, None);
            }
            return;
        }
        let known = self.slots.entries(at, state).and_then(|entries| entries.get(key.cell_key));
        if known.is_none_or(|held| self.is_dead(state, held, key.user_key)) {
            let epoch = self.slots.epoch;
            self.slots.with_entries(at, state, |entries| entries.put(key.cell_key, Held::Absent, epoch));
            self.slots.mark_dirty(at, state);
        }
    }

    /// Whether something is held and has expired.
    fn is_dead(&self, state: u32, held: &Held, user_key: &[u8]) -> bool {
        held.get().is_some_and(|held| self.lives(state).has_expired(held, user_key))
    }

    /// Notes how much an epoch changed.
    pub(super) fn note_changed(&mut self, cells: usize) {
        self.expiry.changed = cells;
    }
}
