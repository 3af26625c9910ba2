use super::entries::Entries;
use super::held::Held;
use super::index::Index;
use foldhash::fast::RandomState;
use millstream_model::column::BytesColumn;
use std::hash::{BuildHasher, Hasher};

/// All that is kept of one key, in one line of the processor's cache as far as key and first value are short.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Slot {
    /// Unknown: the slot is free.
    pub(super) key: Held,
    /// The value of the first state; those of the others are in [`Slots::others`].
    value: Held,
    /// The batch it was last seen in, and its key row there.
    pub(super) batch: u32,
    key_row: u32,
    /// The epoch of its last change.
    pub(super) changed: u32,
    /// Which states changed in the open epoch, one bit each; state 31 and above share the last bit.
    pub(super) dirty: u32,
}

const _: () = assert!(size_of::<Slot>() == 64, "a slot is one line of the cache");

/// Slots of a chunk. The slab grows by chunks, so that nothing is ever copied and the memory is what the slots take.
const CHUNK_SLOTS: usize = 1 << 14;

/// Rows that are looked up together: their lines of the index and of slots fit into the first-level cache.
const BLOCK_ROWS: usize = 128;

/// Slots by key: an index and a slab.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) index: Index,
    chunks: Vec<Vec<Slot>>,
    /// Values of all states but the first, by slot: `slot * (states - 1) + state - 1`, in chunks of as many slots.
    others: Vec<Vec<Held>>,
    states: usize,
    pub(super) free: Vec<u32>,
    pub(super) slot_count: usize,
    hasher: RandomState,
    pub(super) batch: u32,
    pub(super) heap_bytes: usize,
    /// Slots changed in the open epoch.
    pub(super) dirty: Vec<u32>,
    /// Bytes of what changed in the open epoch, nearly.
    pub(super) dirty_bytes: usize,
    /// Number of the open epoch within this table; from 1.
    pub(super) epoch: u32,
    /// Slots changed at or before this epoch are in the store.
    pub(super) applied: u32,
    /// Where eviction goes on, and the batches at which its round and the one before began.
    pub(super) hand: usize,
    pub(super) rounds: (u32, u32),
    tags: Vec<u32>,
    guesses: Vec<u32>,
    /// What reading ahead gave: kept, so that it is not optimised away.
    touched: u64,
}

impl Slots {
    pub(super) fn new(states: usize) -> Self {
        Self { states, epoch: 1, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.slot_count - self.free.len()
    }

    /// Memory of one slot, without what it has on the heap.
    pub(super) fn slot_bytes(&self) -> usize {
        size_of::<Slot>() + self.states.saturating_sub(1) * size_of::<Held>()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lists = (self.free.capacity() + self.dirty.capacity()) * size_of::<u32>();
        self.len() * self.slot_bytes() + self.index.memory_bytes() + self.heap_bytes + lists
    }

    pub(super) fn begin_batch(
        &mut self,
        keys: &BytesColumn,
        key_rows: &mut Vec<u32>,
        first_rows: &mut Vec<u32>,
        batch_slots: &mut Vec<u32>,
    ) {
        self.next_batch();
        for first in (0..keys.len()).step_by(BLOCK_ROWS) {
            let rows = first as u32..keys.len().min(first + BLOCK_ROWS) as u32;
            self.read_ahead(keys, rows.clone());
            for (at, row) in rows.enumerate() {
                let key = keys.get(row).unwrap_or_default();
                let guess = self.guesses.get(at).copied().unwrap_or(NONE);
                let position = match self.slot(guess) {
                    Some(slot) if slot.key.is(key) => guess,
                    _ => self.find_or_insert(key, self.tags.get(at).copied().unwrap_or_default()),
                };
                let (batch, next) = (self.batch, first_rows.len() as u32);
                let Some(slot) = self.slot_mut(position) else {
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
    }

    /// Reads the lines that a block of rows will need in loops that do little else: the processor then waits for many at once, where
    /// one look-up after the other would have it wait for each.
    fn read_ahead(&mut self, keys: &BytesColumn, rows: std::ops::Range<u32>) {
        self.tags.clear();
        let tags = rows.map(|row| tag(&self.hasher, keys.get(row).unwrap_or_default()));
        self.tags.extend(tags);
        let lines = self.tags.iter().fold(0, |sum: u64, &tag| sum.wrapping_add(self.index.touch(tag)));
        self.guesses.clear();
        self.guesses.extend(self.tags.iter().map(|&tag| self.index.find(tag, |_| true).unwrap_or(NONE)));
        let guesses = std::mem::take(&mut self.guesses);
        self.read_ahead_slots(&guesses);
        self.guesses = guesses;
        self.touched = self.touched.wrapping_add(lines);
    }

    /// Reads the lines of slots, for the same reason.
    pub(super) fn read_ahead_slots(&mut self, slots: &[u32]) {
        let lines = slots.iter().map(|&at| self.slot(at).map_or(0, |slot| u64::from(slot.batch)));
        self.touched = lines.fold(self.touched, u64::wrapping_add);
    }

    fn next_batch(&mut self) {
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            // Once in 2^32 batches: no slot may seem to have been seen in this one.
            self.chunks.iter_mut().flatten().for_each(|slot| slot.batch = 0);
            self.batch = 1;
            self.rounds = (0, 0);
        }
    }

    fn find_or_insert(&mut self, key: &[u8], tag: u32) -> u32 {
        let is_it = |at: u32| self.slot(at).is_some_and(|slot| slot.key.is(key));
        if let Some(at) = self.index.find(tag, is_it) {
            return at;
        }
        let slot = Slot { key: Held::from_slice(key), ..Slot::default() };
        self.heap_bytes += slot.key.heap_bytes();
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.slot_mut(at) {
                    *place = slot;
                }
                at
            }
            None => self.push(slot),
        };
        self.index.insert(tag, at);
        at
    }

    /// The slot of a key, if there is one.
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        self.index.find(tag(&self.hasher, key), |at| self.slot(at).is_some_and(|slot| slot.key.is(key)))
    }

    /// The slot of a key that no batch asked for: it goes first when room is made.
    pub(super) fn enter(&mut self, key: &[u8]) -> u32 {
        self.find_or_insert(key, tag(&self.hasher, key))
    }

    /// The key row of a slot in the batch in hand.
    pub(super) fn key_row(&self, at: u32) -> Option<u32> {
        self.slot(at).filter(|slot| slot.batch == self.batch).map(|slot| slot.key_row)
    }

    fn push(&mut self, slot: Slot) -> u32 {
        if self.slot_count.is_multiple_of(CHUNK_SLOTS) {
            // The small tables of small operators grow as they need; later chunks are filled for sure.
            let slots = if self.slot_count == 0 { 0 } else { CHUNK_SLOTS };
            self.chunks.push(Vec::with_capacity(slots));
            self.others.push(Vec::with_capacity(slots * self.states.saturating_sub(1)));
        }
        if let (Some(chunk), Some(others)) = (self.chunks.last_mut(), self.others.last_mut()) {
            chunk.push(slot);
            others.resize_with(others.len() + self.states.saturating_sub(1), Held::default);
        }
        self.slot_count += 1;
        self.slot_count as u32 - 1
    }

    #[inline]
    pub(super) fn slot(&self, at: u32) -> Option<&Slot> {
        self.chunks.get(at as usize / CHUNK_SLOTS)?.get(at as usize % CHUNK_SLOTS)
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, at: u32) -> Option<&mut Slot> {
        self.chunks.get_mut(at as usize / CHUNK_SLOTS)?.get_mut(at as usize % CHUNK_SLOTS)
    }

    pub(super) fn key(&self, at: u32) -> Option<&[u8]> {
        self.slot(at)?.key.get()
    }

    #[inline]
    fn other(&self, at: u32, state: u32) -> usize {
        at as usize % CHUNK_SLOTS * (self.states - 1) + state as usize - 1
    }

    #[inline]
    pub(super) fn value(&self, at: u32, state: u32) -> Option<&Held> {
        if state == 0 {
            return self.slot(at).map(|slot| &slot.value);
        }
        self.others.get(at as usize / CHUNK_SLOTS)?.get(self.other(at, state))
    }

    #[inline]
    fn value_mut(&mut self, at: u32, state: u32) -> Option<&mut Held> {
        if state == 0 {
            return self.slot_mut(at).map(|slot| &mut slot.value);
        }
        let other = self.other(at, state);
        self.others.get_mut(at as usize / CHUNK_SLOTS)?.get_mut(other)
    }

    /// Puts a value read from the store; the slot stays as clean as it was.
    #[inline]
    pub(super) fn fill(&mut self, at: u32, state: u32, bytes: Option<&[u8]>) {
        if let Some(value) = self.value_mut(at, state) {
            let before = value.heap_bytes();
            value.set(bytes);
            let after = value.heap_bytes();
            self.heap_bytes = self.heap_bytes + after - before;
        }
    }

    /// Changes a value in the open epoch.
    #[inline]
    pub(super) fn put(&mut self, at: u32, state: u32, bytes: Option<&[u8]>) {
        self.fill(at, state, bytes);
        self.mark_dirty(at, state);
    }

    /// The known entries of a map, if anything is known of it.
    #[inline]
    pub(super) fn entries(&self, at: u32, state: u32) -> Option<&Entries> {
        match self.value(at, state)? {
            Held::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Changes the known entries of a map; memory is counted afterwards.
    pub(super) fn with_entries<R>(&mut self, at: u32, state: u32, visit: impl FnOnce(&mut Entries) -> R) -> Option<R> {
        let held = self.value_mut(at, state)?;
        let before = held.heap_bytes();
        let result = visit(held.entries());
        let after = held.heap_bytes();
        self.heap_bytes = self.heap_bytes + after - before;
        Some(result)
    }

    /// Forgets entries of a map that the store has as well, if many were read from it. Entries looked at before this may be unknown after it.
    #[inline]
    pub(super) fn make_room(&mut self, at: u32, state: u32) {
        let applied = self.applied;
        if self.entries(at, state).is_some_and(Entries::is_full) {
            self.with_entries(at, state, |entries| entries.trim(applied));
        }
    }

    /// Forgets entries of maps that the store has as well, of a slot that is to stay, where they take more than `bytes`.
    pub(super) fn trim_maps(&mut self, at: u32, bytes: usize) {
        let applied = self.applied;
        for state in 0..self.states as u32 {
            if self.entries(at, state).is_some_and(|entries| entries.memory_bytes() > bytes) {
                self.with_entries(at, state, |entries| entries.trim(applied));
            }
        }
    }

    /// Shows the entries of a map that changed in the epoch that ends, with the key of the slot.
    pub(super) fn take_changed_entries(
        &mut self,
        at: u32,
        state: u32,
        epoch: u32,
        mut change: impl FnMut(&[u8], &[u8], Option<&[u8]>),
    ) {
        let Some(mut held) = self.value_mut(at, state).map(std::mem::take) else {
            return;
        };
        let before = held.heap_bytes();
        if let (Some(key), Held::Map(entries)) = (self.key(at), &mut held) {
            entries.take_changed(epoch, self.applied, |map_key, value| change(key, map_key, value));
        }
        self.heap_bytes = self.heap_bytes + held.heap_bytes() - before;
        if let Some(place) = self.value_mut(at, state) {
            *place = held;
        }
    }

    /// Marks a state of a slot as changed in the open epoch.
    #[inline]
    pub(super) fn mark_dirty(&mut self, at: u32, state: u32) {
        let epoch = self.epoch;
        let Some(slot) = self.slot_mut(at) else {
            return;
        };
        let is_first = slot.dirty == 0;
        slot.dirty |= 1 << state.min(31);
        slot.changed = epoch;
        if is_first {
            let bytes = slot.key.heap_bytes() + slot.value.value_bytes();
            self.dirty.push(at);
            self.dirty_bytes += self.slot_bytes() + bytes;
        }
    }

    /// Forgets all that is held of a key; its slot waits for another one.
    pub(super) fn free_slot(&mut self, at: u32) {
        let Some(slot) = self.slot_mut(at) else {
            return;
        };
        let slot = std::mem::take(slot);
        let key_tag = tag(&self.hasher, slot.key.get().unwrap_or_default());
        self.index.remove(key_tag, at);
        self.heap_bytes -= slot.key.heap_bytes() + slot.value.heap_bytes();
        for state in 1..self.states as u32 {
            let value = self.value_mut(at, state).map(std::mem::take);
            self.heap_bytes -= value.map_or(0, |value| value.heap_bytes());
        }
        self.free.push(at);
    }

    /// Moves all that is held of a key to a free slot.
    pub(super) fn move_slot(&mut self, from: u32, to: u32) {
        let key_tag = tag(&self.hasher, self.key(from).unwrap_or_default());
        self.index.move_slot(key_tag, from, to);
        let slot = self.slot_mut(from).map(std::mem::take).unwrap_or_default();
        if let Some(place) = self.slot_mut(to) {
            *place = slot;
        }
        for state in 1..self.states as u32 {
            let value = self.value_mut(from, state).map(std::mem::take).unwrap_or_default();
            if let Some(place) = self.value_mut(to, state) {
                *place = value;
            }
        }
    }

    /// Gives back all slots from `slots` on, which are free.
    pub(super) fn truncate(&mut self, slots: usize) {
        self.slot_count = slots;
        let (chunks, rest) = (slots.div_ceil(CHUNK_SLOTS), (slots + CHUNK_SLOTS - 1) % CHUNK_SLOTS + 1);
        self.chunks.truncate(chunks);
        self.others.truncate(chunks);
        if let (Some(chunk), Some(others)) = (self.chunks.last_mut(), self.others.last_mut()) {
            chunk.truncate(rest);
            others.truncate(rest * self.states.saturating_sub(1));
        }
    }

    pub(super) fn clear(&mut self) {
        // Epochs are not counted from 1 again: news of one that was dropped must mean nothing to those after it.
        *self = Self { batch: self.batch, epoch: self.epoch + 1, applied: self.epoch, ..Self::new(self.states) };
    }
}

/// No slot.
const NONE: u32 = u32::MAX;

#[inline]
fn tag(hasher: &RandomState, key: &[u8]) -> u32 {
    // Not `hash_one`, which hashes the length once more: foldhash lets it turn the seed.
    let mut state = hasher.build_hasher();
    state.write(key);
    (state.finish() >> 32) as u32
}
