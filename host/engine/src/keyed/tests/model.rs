use super::{COUNT, Cell, ITEMS, LAST, TAGS};
use std::collections::{BTreeMap, BTreeSet};

/// Cells changed, and to what.
pub(super) type Overlay = BTreeMap<Cell, Option<Vec<u8>>>;

/// What keyed state promises, said with maps: a store, a frozen epoch over it, an open one over that, and a call over all.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) applied: BTreeMap<Cell, Vec<u8>>,
    pub(super) frozen: Option<Overlay>,
    pub(super) open: Overlay,
    pub(super) call: Overlay,
}

impl Model {
    pub(super) fn read(&self, cell: &Cell) -> Option<Vec<u8>> {
        let changed = [Some(&self.call), Some(&self.open), self.frozen.as_ref()];
        let changed = changed.into_iter().flatten().find_map(|overlay| overlay.get(cell));
        changed.cloned().unwrap_or_else(|| self.applied.get(cell).cloned())
    }

    /// Map keys of a user key that are there, in order.
    pub(super) fn map_keys(&self, state: u32, user_key: &[u8]) -> Vec<Vec<u8>> {
        let overlays = [Some(&self.call), Some(&self.open), self.frozen.as_ref()].into_iter().flatten();
        let cells = overlays.flat_map(Overlay::keys).chain(self.applied.keys());
        let all: BTreeSet<&Cell> = cells.filter(|(of, key, _)| (*of, key.as_slice()) == (state, user_key)).collect();
        all.into_iter().filter(|cell| self.read(cell).is_some()).map(|(_, _, map_key)| map_key.clone()).collect()
    }

    pub(super) fn put(&mut self, cell: Cell, value: Option<Vec<u8>>) {
        self.call.insert(cell, value);
    }

    pub(super) fn clear(&mut self, state: u32, user_key: &[u8]) {
        let map_keys = match state {
            COUNT | LAST => vec![Vec::new()],
            ITEMS | TAGS => self.map_keys(state, user_key),
            _ => Vec::new(),
        };
        for map_key in map_keys {
            self.put((state, user_key.to_vec(), map_key), None);
        }
    }

    pub(super) fn end_call(&mut self, applies: bool) {
        let call = std::mem::take(&mut self.call);
        if applies {
            self.open.extend(call);
        }
    }

    pub(super) fn freeze(&mut self) -> &Overlay {
        self.frozen.insert(std::mem::take(&mut self.open))
    }

    pub(super) fn apply(&mut self) {
        for (cell, value) in self.frozen.take().unwrap_or_default() {
            match value {
                Some(value) => self.applied.insert(cell, value),
                None => self.applied.remove(&cell),
            };
        }
    }

    pub(super) fn drop_epochs(&mut self) {
        self.frozen = None;
        self.open.clear();
        self.call.clear();
    }

    /// Keys that the store does not have the newest of.
    pub(super) fn keys_held(&self) -> BTreeSet<&[u8]> {
        let overlays = [Some(&self.open), self.frozen.as_ref()].into_iter().flatten();
        overlays.flat_map(Overlay::keys).map(|(_, user_key, _)| user_key.as_slice()).collect()
    }
}
