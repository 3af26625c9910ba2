//! Lists: maps whose keys are numbers that rise within a key group, so that appending needs no look at the list, and none at the store.

use super::KeyedState;
use super::entries::MapRange;
use super::maps::MapOf;
use crate::call::Fault;
use millstream_model::cell::GroupFact;
use millstream_model::key_group::KeyGroup;

/// Where a page of a list ended: the next page of the same list goes on from there.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListPlace {
    state: u32,
    key_row: u32,
    /// Number of the element among those that live.
    index: u64,
    map_key: [u8; 8],
}

impl KeyedState {
    /// Appends an element to a list; undone with the call.
    pub(crate) fn append(&mut self, of: MapOf<'_>, element: &[u8]) -> Result<(), Fault> {
        self.load_facts(of.state, GroupFact::NextElement)?;
        let group = self.groups.of(of.user_key);
        let Some(facts) = self.facts.get_mut(of.state as usize) else { return Ok(()) };
        let number = facts.next_element.get(group).unwrap_or(0);
        facts.next_element.set(group, number + 1);
        self.undo.number(of.state, group);
        self.put_entry(of.state, of.key_row, &number.to_be_bytes(), Some(element));
        Ok(())
    }

    pub(super) fn give_number_back(&mut self, state: u32, group: KeyGroup) {
        if let Some(facts) = self.facts.get_mut(state as usize) {
            let number = facts.next_element.get(group).unwrap_or(0);
            facts.next_element.set(group, number.saturating_sub(1));
        }
    }

    /// Shows the elements of a list from number `first` on, until `visit` returns false.
    pub(crate) fn walk_list(
        &mut self,
        of: MapOf<'_>,
        first: u64,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), Fault> {
        let place = self
            .list_place
            .filter(|place| (place.state, place.key_row) == (of.state, of.key_row) && place.index <= first);
        let (mut index, start) = place.map_or((0, [0; 8]), |place| (place.index, place.map_key));
        let mut end = None;
        let range = MapRange { start: if place.is_some() { &start } else { &[] }, ..MapRange::default() };
        self.walk(of, range, &mut |map_key, element| {
            let goes_on = index < first || visit(element);
            if goes_on {
                index += 1;
            } else {
                end = map_key.try_into().ok();
            }
            goes_on
        })?;
        self.list_place = end.map(|map_key| ListPlace { state: of.state, key_row: of.key_row, index, map_key });
        Ok(())
    }
}
