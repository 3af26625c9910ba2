use super::held::{Entries, Held};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use millstream_model::column::BytesColumn;
use std::hash::BuildHasher;

/// All that is kept of one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    pub(super) key: Held,
    pub(super) hash: u64,
    /// The batch it was last seen in, and its key row there.
    batch: u32,
    key_row: u32,
    /// The epoch of its last change; see [`Slots::freeze_point`].
    pub(super) changed: u32,
    /// Which states changed in the open epoch, one bit each; state 31 and above share the last bit.
    pub(super) dirty: u32,
    /// Whether the slot is on the free list.
    free: bool,
}

/// Slots by key: a table of positions and a slab.
#[derive(Debug)]
pub(super) struct Slots {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    /// Values by slot and state: `slot * stride + state`.
    values: Vec<Held>,
    stride: usize,
    free: Vec<u32>,
    hasher: FixedState,
    batch: u32,
    heap_bytes: usize,
    /// Slots changed in the open epoch.
    pub(super) dirty: Vec<u32>,
    /// Number of the open epoch within this table; from 1.
    pub(super) epoch: u32,
    /// Slots changed at or before this epoch are in the store.
    pub(super) applied: u32,
    hand: usize,
    hashes: Vec<u64>,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Slots {
    pub(super) fn new(stride: usize) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            values: Vec::new(),
            stride,
            free: Vec::new(),
            hasher: FixedState::default(),
            batch: 0,
            heap_bytes: 0,
            dirty: Vec::new(),
            epoch: 1,
            applied: 0,
            hand: 0,
            hashes: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let slot = size_of::<Slot>() + self.stride * size_of::<Held>();
        self.len() * (slot + 9) + self.heap_bytes
    }

    pub(super) fn begin_batch(
        &mut self,
        keys: &BytesColumn,
        key_rows: &mut Vec<u32>,
        first_rows: &mut Vec<u32>,
        batch_slots: &mut Vec<u32>,
    ) {
        self.batch = self.batch.wrapping_add(1).max(1);
        self.hashes.clear();
        // Hashes first: the loop after it then has several independent cache misses under way at once.
        let hashes = keys.iter().map(|key| self.hasher.hash_one(key.unwrap_or_default()));
        self.hashes.extend(hashes);
        for row in 0..keys.len() as u32 {
            let key = keys.get(row).unwrap_or_default();
            let hash = self.hashes.get(row as usize).copied().unwrap_or_default();
            let position = self.find_or_insert(key, hash);
            let (batch, next) = (self.batch, first_rows.len() as u32);
            let Some(slot) = self.slots.get_mut(position as usize) else {
                continue;
            };
            if slot.batch != batch {
                slot.batch = batch;
                slot.key_row = next;
                first_rows.push(row);
                batch_slots.push(position);
            }
            key_rows.push(slot.key_row);
        }
    }

    fn find_or_insert(&mut self, key: &[u8], hash: u64) -> u32 {
        let slots = &self.slots;
        let same = |&at: &u32| slots.get(at as usize).is_some_and(|s| s.hash == hash && s.key.get() == Some(key));
        if let Some(&at) = self.index.find(hash, same) {
            return at;
        }
        let slot = Slot { key: Held::from_slice(key), hash, ..Slot::default() };
        self.heap_bytes += slot.key.heap_bytes();
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.slots.get_mut(at as usize) {
                    *place = slot;
                }
                at
            }
            None => {
                self.slots.push(slot);
                self.values.resize(self.slots.len() * self.stride, Held::Unknown);
                self.slots.len() as u32 - 1
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, at, |&at| slots.get(at as usize).map_or(0, |slot| slot.hash));
        at
    }

    pub(super) fn slot(&self, at: u32) -> Option<&Slot> {
        self.slots.get(at as usize)
    }

    #[inline]
    pub(super) fn value(&self, at: u32, state: u32) -> Option<&Held> {
        self.values.get(at as usize * self.stride + state as usize)
    }

    /// Puts a value read from the store; the slot stays as clean as it was.
    pub(super) fn fill(&mut self, at: u32, state: u32, bytes: Option<&[u8]>) {
        if let Some(value) = self.values.get_mut(at as usize * self.stride + state as usize) {
            let before = value.heap_bytes();
            value.set(bytes);
            self.heap_bytes = self.heap_bytes + value.heap_bytes() - before;
        }
    }

    /// Changes a value in the open epoch.
    #[inline]
    pub(super) fn put(&mut self, at: u32, state: u32, bytes: Option<&[u8]>) {
        self.fill(at, state, bytes);
        self.touch(at, state);
    }

    /// Looks at or fills the known entries of a map; memory is counted afterwards.
    pub(super) fn with_entries<R>(&mut self, at: u32, state: u32, visit: impl FnOnce(&mut Entries) -> R) -> Option<R> {
        let held = self.values.get_mut(at as usize * self.stride + state as usize)?;
        let before = held.heap_bytes();
        let result = visit(held.entries());
        self.heap_bytes = self.heap_bytes + held.heap_bytes() - before;
        Some(result)
    }

    /// Marks a state of a slot as changed in the open epoch.
    pub(super) fn touch(&mut self, at: u32, state: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else {
            return;
        };
        if slot.dirty == 0 {
            self.dirty.push(at);
        }
        slot.dirty |= 1 << state.min(31);
        slot.changed = self.epoch;
    }

    /// Takes the slots changed in the open epoch and begins the next one. Bits say which states changed.
    pub(super) fn take_dirty(&mut self) -> Vec<(u32, u32)> {
        self.epoch += 1;
        let mut taken = Vec::with_capacity(self.dirty.len());
        for at in self.dirty.drain(..) {
            if let Some(slot) = self.slots.get_mut(at as usize) {
                taken.push((at, std::mem::take(&mut slot.dirty)));
            }
        }
        taken
    }

    pub(super) fn clear(&mut self) {
        // Epochs are not counted from 1 again: news of one that was dropped must mean nothing to those after it.
        *self = Self { batch: self.batch, epoch: self.epoch + 1, applied: self.epoch, ..Self::new(self.stride) };
    }

    /// Frees clean slots until at most `bytes` are held: round the slab, sparing at first what the last few batches have seen.
    pub(super) fn evict(&mut self, bytes: usize) {
        self.sweep(bytes, self.batch.saturating_sub(EVICTION_GRACE_BATCHES));
        self.sweep(bytes, u32::MAX);
    }

    fn sweep(&mut self, bytes: usize, seen_before: u32) {
        let slot_bytes = size_of::<Slot>() + self.stride * size_of::<Held>() + 9;
        let budget = bytes.saturating_sub(self.heap_bytes) / slot_bytes;
        let mut steps = self.slots.len();
        while self.len() > budget && steps > 0 {
            steps -= 1;
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let Some(slot) = self.slots.get_mut(self.hand) else {
                return;
            };
            let in_store = slot.changed <= self.applied && slot.dirty == 0;
            if !slot.free && in_store && slot.batch < seen_before {
                self.free_slot(self.hand);
            }
        }
    }

    fn free_slot(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let hash = slot.hash;
        self.heap_bytes -= slot.key.heap_bytes();
        *slot = Slot { free: true, ..Slot::default() };
        if let Ok(entry) = self.index.find_entry(hash, |&position| position as usize == at) {
            entry.remove();
        }
        for value in self.values.iter_mut().skip(at * self.stride).take(self.stride) {
            self.heap_bytes -= value.heap_bytes();
            *value = Held::Unknown;
        }
        self.free.push(at as u32);
    }
}

/// Batches that a slot is spared for after it was last seen, while others can go.
const EVICTION_GRACE_BATCHES: u32 = 2;
