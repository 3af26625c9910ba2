//! Keyed state of one operator on one worker: the open epoch, the frozen one and the cache in a single table of slots, so that the hot path is one
//! lookup per record.
//!
//! A slot holds the newest values of one key. It is *dirty* from its first change in the open epoch until that epoch's cut, *frozen* from the cut until the
//! commit is applied to the store, *clean* otherwise. Only clean slots are evicted: what is not in the table is in the store. When an epoch is
//! dropped the whole table is, and reads begin again at the store, which holds no write of an undecided epoch.
//!
//! What is in the table has no version: it is of the one the operator writes, or of one it reads as it is. A stored value of a version that has to be migrated is *stale*; it
//! gets into the table only rewritten, as a change of the open epoch ([`stale`]).

mod entries;
mod evict;
mod freeze;
mod held;
mod index;
mod slots;
pub(crate) mod stale;
mod values;

use crate::call::Fault;
use crate::ports::StateBackend;
use crate::swap::plan::OlderVersions;
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::{StateDescriptor, StateKind};
use slots::Slots;
use stale::Migrating;
use std::sync::Arc;

/// One state of the operator, with its number in cell keys.
#[derive(Debug, Clone)]
pub struct StateColumn {
    /// What the operator said of it.
    pub descriptor: StateDescriptor,
    /// Where its cells lie.
    pub space: CellSpace,
}

/// See the module.
#[derive(Default)]
pub struct KeyedState {
    states: Vec<StateColumn>,
    backend: Option<Arc<dyn StateBackend>>,
    slots: Slots,
    migrating: Migrating,
    /// Slot of each key row of the call in hand.
    batch_slots: Vec<u32>,
    /// Buffers of loads.
    wanted: BytesColumn,
    found: BytesColumn,
}

impl KeyedState {
    /// The state of an operator whose cells lie in `backend`.
    #[must_use]
    pub fn new(states: Vec<StateColumn>, backend: Arc<dyn StateBackend>) -> Self {
        let slots = Slots::new(states.len());
        Self { states, backend: Some(backend), slots, ..Self::default() }
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

    pub(crate) fn check_state(&self, state: u32, kind: StateKind) -> Result<(), Fault> {
        let column = self.check_any_state(state)?;
        if column.descriptor.kind == kind {
            return Ok(());
        }
        Err(Fault::Misuse(format!("state `{}` is not of kind {kind:?}", column.descriptor.name)))
    }

    /// Bytes of memory the table holds, nearly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes()
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
    }

    /// Makes room until at most `memory_bytes_max` are held, as far as clean slots go. Between calls only.
    pub fn evict(&mut self, memory_bytes_max: usize) {
        self.batch_slots.clear();
        self.slots.evict(memory_bytes_max);
    }
}

#[cfg(test)]
mod tests;
