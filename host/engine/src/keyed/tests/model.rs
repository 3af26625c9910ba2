use super::{Cell, kind_of, ttl_of};
use crate::call::Mark;
use crate::keyed::ttl::clock_ms;
use millstream_model::descriptor::{StateKind, TtlRefresh};
use std::collections::{BTreeMap, BTreeSet};

/// Something that is kept, and when it was refreshed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) bytes: Vec<u8>,
    pub(super) refreshed_ms: Option<i64>,
}

/// All that there is, as of some moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer {
    /// Values, map entries, and entries of broadcast states.
    pub(super) cells: BTreeMap<Cell, Item>,
    /// Elements by state and user key.
    pub(super) lists: BTreeMap<(u32, Vec<u8>), Vec<Item>>,
    /// When each state's clock showed something first.
    pub(super) since_ms: BTreeMap<u32, i64>,
}

/// What keyed state promises, said with whole copies: a store, a frozen epoch over it, an open one over that, and a call over all.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) applied: Layer,
    pub(super) frozen: Option<Layer>,
    pub(super) open: Layer,
    pub(super) call: Layer,
    marks: Vec<Layer>,
    /// User keys changed in the open and in the frozen epoch.
    changed: [BTreeSet<Vec<u8>>; 2],
    in_call: BTreeSet<Vec<u8>>,
    pub(super) mark: Mark,
}

impl Layer {
    /// Whether something lives at a mark.
    pub(super) fn lives(&self, state: u32, item: &Item, mark: Mark) -> bool {
        let Some(ttl) = ttl_of(state) else { return true };
        let Some(now_ms) = clock_ms(&ttl, mark) else { return true };
        let refreshed_ms = item.refreshed_ms.or_else(|| self.since_ms.get(&state).copied());
        refreshed_ms.is_none_or(|refreshed_ms| !ttl.has_expired(refreshed_ms, now_ms))
    }
}

impl Model {
    pub(super) fn begin_call(&mut self, states: u32) {
        for state in 0..states {
            if let Some(now_ms) = ttl_of(state).and_then(|ttl| clock_ms(&ttl, self.mark)) {
                self.open.since_ms.entry(state).or_insert(now_ms);
            }
        }
        self.call = self.open.clone();
        self.marks.clear();
        self.in_call.clear();
    }

    fn item(&self, state: u32, bytes: Vec<u8>) -> Item {
        Item { bytes, refreshed_ms: ttl_of(state).and_then(|ttl| clock_ms(&ttl, self.mark)) }
    }

    pub(super) fn read(&self, cell: &Cell) -> Option<Vec<u8>> {
        let item = self.call.cells.get(cell).filter(|item| self.call.lives(cell.0, item, self.mark));
        item.map(|item| item.bytes.clone())
    }

    /// Entries of a user key that are there, in order.
    pub(super) fn entries(&self, state: u32, user_key: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let cells = self.call.cells.iter().filter(|((of, key, _), _)| (*of, key.as_slice()) == (state, user_key));
        let live = cells.filter(|(_, item)| self.call.lives(state, item, self.mark));
        live.map(|((_, _, map_key), item)| (map_key.clone(), item.bytes.clone())).collect()
    }

    pub(super) fn elements(&self, state: u32, user_key: &[u8]) -> Vec<Vec<u8>> {
        let items = self.call.lists.get(&(state, user_key.to_vec())).into_iter().flatten();
        let live = items.filter(|item| self.call.lives(state, item, self.mark));
        live.map(|item| item.bytes.clone()).collect()
    }

    pub(super) fn put(&mut self, cell: Cell, value: Option<Vec<u8>>) {
        self.in_call.insert(cell.1.clone());
        match value.map(|bytes| self.item(cell.0, bytes)) {
            Some(item) => self.call.cells.insert(cell, item),
            None => self.call.cells.remove(&cell),
        };
    }

    pub(super) fn append(&mut self, state: u32, user_key: &[u8], bytes: Vec<u8>) {
        self.in_call.insert(user_key.to_vec());
        let item = self.item(state, bytes);
        self.call.lists.entry((state, user_key.to_vec())).or_default().push(item);
    }

    pub(super) fn clear(&mut self, state: u32, user_key: &[u8]) {
        self.in_call.insert(user_key.to_vec());
        self.call.cells.retain(|(of, key, _), _| (*of, key.as_slice()) != (state, user_key));
        self.call.lists.remove(&(state, user_key.to_vec()));
    }

    /// Refreshes what lives: a cell, or all elements of a list.
    pub(super) fn touch(&mut self, cell: &Cell) {
        let (state, mark) = (cell.0, self.mark);
        let Some(ttl) = ttl_of(state).filter(|ttl| ttl.refresh == TtlRefresh::OnAccess) else { return };
        let Some(now_ms) = clock_ms(&ttl, mark) else { return };
        let layer = self.call.clone();
        let refresh = |item: &mut Item| {
            if layer.lives(state, item, mark) {
                item.refreshed_ms = Some(now_ms);
            }
        };
        self.in_call.insert(cell.1.clone());
        if kind_of(state) == StateKind::List {
            self.call.lists.entry((state, cell.1.clone())).or_default().iter_mut().for_each(refresh);
        } else if let Some(item) = self.call.cells.get_mut(cell) {
            refresh(item);
        }
    }

    pub(super) fn set_mark(&mut self) {
        self.marks.push(self.call.clone());
    }

    pub(super) fn undo_to(&mut self, mark: usize) {
        self.marks.truncate(mark + 1);
        self.call.clone_from(&self.marks[mark]);
    }

    pub(super) fn end_call(&mut self, applies: bool) {
        let call = std::mem::take(&mut self.call);
        let changed = std::mem::take(&mut self.in_call);
        if applies {
            self.open = call;
            self.changed[0].extend(changed);
        }
    }

    pub(super) fn freeze(&mut self) {
        self.frozen = Some(self.open.clone());
        self.changed[1] = std::mem::take(&mut self.changed[0]);
    }

    pub(super) fn apply(&mut self) {
        self.applied = self.frozen.take().unwrap_or_default();
        self.changed[1].clear();
    }

    pub(super) fn drop_epochs(&mut self) {
        self.frozen = None;
        self.open = self.applied.clone();
        self.changed = Default::default();
    }

    /// How many keys may have changes that the store does not have.
    pub(super) fn keys_held(&self) -> usize {
        let [open, frozen] = &self.changed;
        open.union(frozen).count()
    }
}
