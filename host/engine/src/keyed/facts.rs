//! Facts that a state keeps about whole key groups: see [`GroupFact`].

use super::KeyedState;
use crate::call::Fault;
use crate::ports::ChangeSet;
use millstream_model::cell::{self, GroupFact};
use millstream_model::column::BytesColumn;
use millstream_model::key_group::{KEY_GROUPS, KeyGroup};
use std::ops::Range;

/// The facts of one state.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) next_element: Numbers,
    pub(super) lives_since: Numbers,
    /// Whether facts that the state has no use for any more were looked for.
    is_tidy: bool,
}

/// One number per key group.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// By key group; empty until they were read.
    of: Vec<Option<u64>>,
    /// Groups whose number changed in the open epoch, one bit each.
    changed: u128,
    is_complete: bool,
}

/// Version of the bytes of facts.
const FACT_VERSION: u32 = 1;

impl Numbers {
    pub(super) fn get(&self, group: KeyGroup) -> Option<u64> {
        self.of.get(usize::from(group.0)).copied().flatten()
    }

    pub(super) fn set(&mut self, group: KeyGroup, number: u64) {
        if let Some(place) = self.of.get_mut(usize::from(group.0)) {
            *place = Some(number);
        }
    }

    pub(super) fn mark_changed(&mut self, group: KeyGroup) {
        self.changed |= 1 << group.0;
    }

    /// Whether every group of this worker has its number.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Gives a number to groups that have none.
    pub(super) fn complete(&mut self, groups: Range<u16>, number: u64) {
        self.is_complete = true;
        for group in groups.filter_map(|group| u8::try_from(group).ok()).map(KeyGroup) {
            if self.get(group).is_none() {
                self.set(group, number);
                self.mark_changed(group);
            }
        }
    }
}

impl Facts {
    fn of(&mut self, fact: GroupFact) -> &mut Numbers {
        match fact {
            GroupFact::NextElement => &mut self.next_element,
            GroupFact::LivesSince => &mut self.lives_since,
        }
    }
}

impl KeyedState {
    /// Reads a fact of all key groups of this worker, once.
    pub(super) fn load_facts(&mut self, state: u32, fact: GroupFact) -> Result<(), Fault> {
        let is_loaded = self.facts.get_mut(state as usize).is_none_or(|facts| !facts.of(fact).of.is_empty());
        if is_loaded {
            return Ok(());
        }
        let found = self.read_facts(state, fact)?;
        let mut of = vec![None; usize::from(KEY_GROUPS)];
        for (group, stored) in self.share.groups.clone().zip(found.iter()) {
            let number = stored.map(|stored| {
                let bytes = cell::read_value(stored).and_then(|value| value.bytes.try_into().ok());
                bytes.map(u64::from_be_bytes).ok_or_else(|| {
                    Fault::Host(format!("a fact of key group {group} is no number: the store is damaged"))
                })
            });
            if let (Some(place), Some(number)) = (of.get_mut(usize::from(group)), number) {
                *place = Some(number?);
            }
        }
        if let Some(facts) = self.facts.get_mut(state as usize) {
            facts.of(fact).of = of;
        }
        Ok(())
    }

    fn read_facts(&self, state: u32, fact: GroupFact) -> Result<BytesColumn, Fault> {
        let (mut wanted, mut found) = (BytesColumn::default(), BytesColumn::default());
        if let Some(column) = self.states.get(state as usize) {
            for group in self.groups() {
                wanted.push_with(|to| cell::write_fact_key(to, column.space, group, fact));
            }
        }
        self.read_stored(&wanted, &mut found)?;
        Ok(found)
    }

    /// Key groups of this worker.
    pub(super) fn groups(&self) -> impl Iterator<Item = KeyGroup> + use<> {
        self.share.groups.clone().filter_map(|group| u8::try_from(group).ok()).map(KeyGroup)
    }

    /// Appends the facts that changed in the epoch that ends.
    pub(super) fn freeze_facts(&mut self, changes: &mut ChangeSet) {
        for (column, facts) in self.states.iter().zip(&mut self.facts) {
            for fact in [GroupFact::NextElement, GroupFact::LivesSince] {
                let numbers = facts.of(fact);
                let mut changed = std::mem::take(&mut numbers.changed);
                while changed != 0 {
                    let group = KeyGroup(changed.trailing_zeros() as u8);
                    changed &= changed - 1;
                    let Some(number) = numbers.get(group) else { continue };
                    changes.keys.push_with(|to| cell::write_fact_key(to, column.space, group, fact));
                    changes.values.push_with(|to| cell::write_value(to, FACT_VERSION, &number.to_be_bytes()));
                }
            }
        }
    }

    /// Removes what a state kept when it had a time to live and has not any more: with the next one its cells begin to live anew. Looked for once; what
    /// cannot be read is left to the next start.
    pub(super) fn tidy_facts(&mut self, changes: &mut ChangeSet) {
        for state in 0..self.states.len() as u32 {
            let has_ttl = self.states.get(state as usize).is_some_and(|column| column.descriptor.ttl.is_some());
            let is_tidy = self.facts.get_mut(state as usize).is_none_or(|f| std::mem::replace(&mut f.is_tidy, true));
            if has_ttl || is_tidy {
                continue;
            }
            let (Ok(found), Some(column)) =
                (self.read_facts(state, GroupFact::LivesSince), self.states.get(state as usize))
            else {
                continue;
            };
            for (group, _) in self.groups().zip(found.iter()).filter(|(_, stored)| stored.is_some()) {
                changes.keys.push_with(|to| cell::write_fact_key(to, column.space, group, GroupFact::LivesSince));
                changes.values.push(None);
            }
        }
    }
}
