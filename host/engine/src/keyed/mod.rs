//! Keyed state of one operator on one worker: the open epoch, the frozen one and the cache in a single table of slots, so that the hot path is one
//! lookup per record.
//!
//! A slot holds the newest values of one key. It is *dirty* from its first change in the open epoch until that epoch's cut, *frozen* from the cut until the
//! commit is applied to the store, *clean* otherwise. Only clean slots are evicted: what is not in the table is in the store. When an epoch is
//! dropped the whole table is, and reads begin again at the store, which holds no write of an undecided epoch.
//!
//! Values change when a call has succeeded. Maps, and lists, which are maps whose keys are numbers, change in place as the operator says so, and are changed back
//! if the call fails.
//!
//! What is in the table has no version: it is of the one the operator writes, or of one it reads as it is. A stored value of a version that has to be migrated is *stale*; it
//! gets into the table only rewritten, as a change of the open epoch ([`stale`]).

mod broadcast;
mod entries;
mod evict;
mod expiry;
mod facts;
mod freeze;
pub(crate) mod groups;
mod held;
mod index;
mod lists;
mod maps;
mod slots;
pub(crate) mod stale;
mod ttl;
mod undo;
mod values;

pub use entries::MapRange;
pub(crate) use maps::{MapOf, UserKeys};

use crate::call::{Fault, Mark};
use crate::ports::StateBackend;
use crate::swap::plan::OlderVersions;
use groups::Groups;
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::{StateDescriptor, StateKind};
use millstream_model::key_group::KEY_GROUPS;
use slots::Slots;
use stale::Migrating;
use std::ops::Range;
use std::sync::Arc;

/// One state of the operator, with its number in cell keys.
#[derive(Debug, Clone)]
pub struct StateColumn {
    /// What the operator said of it.
    pub descriptor: StateDescriptor,
    /// Where its cells lie.
    pub space: CellSpace,
}

/// What of an operator's state is one worker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its key groups.
    pub groups: Range<u16>,
    /// Whether its changes of broadcast states become cells: those of exactly one worker do.
    pub carries_broadcast: bool,
}

impl Default for Share {
    fn default() -> Self {
        Self { groups: 0..KEY_GROUPS, carries_broadcast: true }
    }
}

impl Share {
    /// The share of one of several workers.
    #[must_use]
    pub fn of(worker: usize, workers: u32) -> Self {
        let is_own = |group: &u16| millstream_model::KeyGroup(*group as u8).part_of(workers) as usize == worker;
        let start = (0..KEY_GROUPS).find(is_own).unwrap_or(KEY_GROUPS);
        let end = (0..KEY_GROUPS).rfind(is_own).map_or(start, |last| last + 1);
        Self { groups: start..end, carries_broadcast: worker == 0 }
    }
}

/// See the module.
#[derive(Default)]
pub struct KeyedState {
    states: Vec<StateColumn>,
    backend: Option<Arc<dyn StateBackend>>,
    share: Share,
    groups: Groups,
    slots: Slots,
    /// Broadcast states, by position among all states; the others' are empty.
    tables: Vec<broadcast::Table>,
    facts: Vec<facts::Facts>,
    /// What the call in hand changed in place.
    undo: undo::Undo,
    /// Where the last page of a list ended in the call in hand.
    list_place: Option<lists::ListPlace>,
    /// Of the call in hand, or the last one.
    mark: Mark,
    expiry: expiry::Expiry,
    migrating: Migrating,
    /// Slot of each key row of the call in hand.
    batch_slots: Vec<u32>,
    /// Buffers of loads.
    wanted: BytesColumn,
    found: BytesColumn,
}

impl KeyedState {
    /// The state of an operator whose cells lie in `backend`; all of it, unless [`KeyedState::share`] says otherwise.
    #[must_use]
    pub fn new(states: Vec<StateColumn>, backend: Arc<dyn StateBackend>) -> Self {
        let mut state = Self { slots: Slots::new(states.len()), backend: Some(backend), ..Self::default() };
        state.tables.resize_with(states.len(), Default::default);
        state.facts.resize_with(states.len(), Default::default);
        state.states = states;
        state
    }

    /// Says which share of it is this worker's, before the first call.
    pub fn share(&mut self, share: Share) {
        self.share = share;
    }

    /// Says that keys have so many bytes at their end that are the host's, before the first call.
    pub fn extend_keys(&mut self, tail_bytes: usize) {
        self.groups = Groups { tail_bytes };
    }

    /// Says when the call in hand takes place.
    pub(crate) fn begin_call(&mut self, mark: Mark) {
        self.undo_to(0);
        self.list_place = None;
        self.batch_slots.clear();
        self.mark = mark;
        for state in 0..self.states.len() as u32 {
            // What cannot be read now is tried again, and told, when the state is used in this call.
            let _ = self.note_clock(state);
        }
    }

    /// The states, in the order of the descriptor.
    #[must_use]
    pub fn states(&self) -> &[StateColumn] {
        &self.states
    }

    /// Takes other descriptors of the same states: what is held of them stays. What the operator before could not migrate, this one may.
    pub fn describe(&mut self, states: Vec<StateColumn>, older: &OlderVersions) {
        self.states = states;
        self.migrating = Migrating::default();
        self.set_older_versions(older);
    }

    /// Numbers the keys of a batch in order of first appearance.
    pub fn begin_batch(&mut self, keys: &BytesColumn, key_rows: &mut Vec<u32>, first_rows: &mut Vec<u32>) {
        key_rows.clear();
        first_rows.clear();
        self.batch_slots.clear();
        self.slots.begin_batch(keys, key_rows, first_rows, &mut self.batch_slots);
    }

    pub(crate) fn check_any_state(&self, state: u32) -> Result<&StateColumn, Fault> {
        let count = self.states.len();
        self.states
            .get(state as usize)
            .ok_or_else(|| Fault::Misuse(format!("there is no state {state} (there are {count})")))
    }

    /// Checks that there is such a state of such a kind, and gets it ready.
    pub(crate) fn check_state(&mut self, state: u32, kind: StateKind) -> Result<(), Fault> {
        let descriptor = &self.check_any_state(state)?.descriptor;
        if descriptor.kind != kind {
            let (name, is) = (&descriptor.name, descriptor.kind.name());
            return Err(Fault::Misuse(format!("state `{name}` is of kind `{is}`, not `{}`", kind.name())));
        }
        if descriptor.ttl.is_some() {
            self.note_clock(state)?;
        }
        Ok(())
    }

    /// Bytes of memory the state holds, nearly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.table_bytes()
    }

    /// Number of keys in the table.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.slots.len()
    }

    /// Forgets everything: the open epoch, the frozen one and the cache.
    pub fn drop_epochs(&mut self) {
        self.slots.clear();
        self.batch_slots.clear();
        self.undo.clear();
        self.list_place = None;
        self.tables.iter_mut().for_each(broadcast::Table::clear);
        self.facts.iter_mut().for_each(|facts| *facts = facts::Facts::default());
        self.expiry = expiry::Expiry::default();
    }

    /// Makes room until at most `memory_bytes_max` are held, as far as clean slots go. Between calls only.
    pub fn evict(&mut self, memory_bytes_max: usize) {
        self.batch_slots.clear();
        self.slots.evict(memory_bytes_max.saturating_sub(self.table_bytes()));
    }
}

#[cfg(test)]
mod tests;
