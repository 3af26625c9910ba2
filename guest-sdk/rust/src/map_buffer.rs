//! Entries of a map state during a call: what was read, and what records wrote and is not yet staged.

use crate::buffer::StateBuffer;
use crate::column::Column;
use std::any::Any;
use std::fmt::Debug;
use std::marker::PhantomData;

/// Bytes of keys and values after which everything is handed over between two records.
const FULL_BYTES: usize = 2 << 20;

/// How the host is asked for entries and told of them: of maps, which belong to keys, or of broadcast states, which do not.
pub(crate) trait Link: Debug + 'static {
    fn entries(state: u32, key_rows: &[u32], map_keys: &Column) -> Column;
    fn put_entries(state: u32, key_rows: &[u32], map_keys: &Column, values: &Column);
    fn touch(state: u32, key_rows: &[u32], map_keys: &Column);
    fn clear(state: u32, key_row: u32);
}

/// A map state during a call: entries by key row and map key, in an open hash table over arenas that are kept from call to call, so that a record whose entries are known
/// allocates nothing.
#[derive(Debug)]
pub(crate) struct MapBuffer<L> {
    state: u32,
    /// Whether the host is to be told what was read.
    tells_reads: bool,
    /// Position of a slot plus one, or 0.
    index: Vec<u32>,
    slots: Vec<Slot>,
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Slots with a value that the host does not have, in the order in which they came to have it.
    dirty: Vec<u32>,
    /// Slots that the record in hand wrote, as they were before.
    undo: Vec<Before>,
    /// Number of the record in hand within the call, from 1.
    record: u32,
    /// By key row: which clearing of its map slots have to be of to count.
    cleared: Vec<u32>,
    clearings: u32,
    /// Key rows whose map the record in hand cleared, and what stood in `cleared` before.
    undo_cleared: Vec<(u32, u32)>,
    /// Slots that were read, where the host is to be told; up to `reads_kept` by records that are done.
    reads: Vec<u32>,
    reads_kept: usize,
    staged: Staged,
    asked: Column,
    /// Of a broadcast state: its revision, if it was asked for in this call.
    pub(crate) revision: Option<u64>,
    link: PhantomData<fn() -> L>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    key_row: u32,
    /// The clearing of its map it came after.
    clearing: u32,
    key: (u32, u32),
    value: Known,
    is_dirty: bool,
    /// The last record that wrote it, and where in `undo` it is noted.
    record: u32,
    undo: u32,
}

/// How a slot was before the record in hand wrote it.
#[derive(Debug, Clone, Copy)]
struct Before {
    slot: u32,
    value: Known,
    is_dirty: bool,
}

/// What is known of a value.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// Nothing: the host has not been asked.
    Nothing,
    Absent,
    /// These bytes of the arena.
    Bytes(u32, u32),
}

/// What is staged: kept for its memory.
#[derive(Debug, Default)]
struct Staged {
    key_rows: Vec<u32>,
    map_keys: Column,
    values: Column,
}

impl Staged {
    fn clear(&mut self) {
        self.key_rows.clear();
        self.map_keys.clear();
        self.values.clear();
    }
}

fn hash(key_row: u32, key: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = key.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let seed = u64::from(key_row) << 32 | key.len() as u64;
    let mixed = words.fold(seed, |hash, word| (hash.rotate_left(26) ^ word).wrapping_mul(K));
    (mixed ^ mixed >> 32) as u32
}

impl<L: Link> MapBuffer<L> {
    pub(crate) fn new(state: u32, tells_reads: bool) -> Self {
        Self {
            state,
            tells_reads,
            index: Vec::new(),
            slots: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
            dirty: Vec::new(),
            undo: Vec::new(),
            record: 1,
            cleared: Vec::new(),
            clearings: 0,
            undo_cleared: Vec::new(),
            reads: Vec::new(),
            reads_kept: 0,
            staged: Staged::default(),
            asked: Column::default(),
            revision: None,
            link: PhantomData,
        }
    }

    fn bytes(arena: &[u8], (from, to): (u32, u32)) -> &[u8] {
        arena.get(from as usize..to as usize).unwrap_or_default()
    }

    fn slot(&self, at: u32) -> Option<&Slot> {
        self.slots.get(at as usize)
    }

    fn clearing(&self, key_row: u32) -> u32 {
        self.cleared.get(key_row as usize).copied().unwrap_or_default()
    }

    /// The slot of an entry whose key lies at the end of the arena; a new one if there is none.
    fn find_or_add(&mut self, key_row: u32, from: usize) -> u32 {
        if (self.slots.len() + 1) * 2 > self.index.len() {
            self.grow();
        }
        let clearing = self.clearing(key_row);
        let key = self.keys.get(from..).unwrap_or_default();
        let hash = hash(key_row, key);
        let mask = self.index.len() - 1;
        let mut place = hash as usize & mask;
        while let Some(at) = self.index.get(place).and_then(|held| held.checked_sub(1)) {
            let is_it = self.slot(at).is_some_and(|slot| {
                (slot.hash, slot.key_row, slot.clearing) == (hash, key_row, clearing)
                    && Self::bytes(&self.keys, slot.key) == key
            });
            if is_it {
                self.keys.truncate(from);
                return at;
            }
            place = (place + 1) & mask;
        }
        let key = (from as u32, self.keys.len() as u32);
        self.slots.push(Slot {
            hash,
            key_row,
            clearing,
            key,
            value: Known::Nothing,
            is_dirty: false,
            record: 0,
            undo: 0,
        });
        let at = self.slots.len() as u32 - 1;
        if let Some(held) = self.index.get_mut(place) {
            *held = at + 1;
        }
        at
    }

    fn grow(&mut self) {
        let len = (self.index.len() * 2).max(64);
        self.index.clear();
        self.index.resize(len, 0);
        for (at, slot) in (1u32..).zip(&self.slots) {
            let mut place = slot.hash as usize & (len - 1);
            while self.index.get(place).is_some_and(|held| *held != 0) {
                place = (place + 1) & (len - 1);
            }
            if let Some(held) = self.index.get_mut(place) {
                *held = at;
            }
        }
    }

    /// The value of an entry, from what is known or from the host.
    pub(crate) fn read(&mut self, key_row: u32, encode: impl FnOnce(&mut Vec<u8>)) -> Option<&[u8]> {
        let from = self.keys.len();
        encode(&mut self.keys);
        let at = self.find_or_add(key_row, from);
        if matches!(self.slot(at)?.value, Known::Nothing) {
            self.ask(at, key_row);
        }
        let Known::Bytes(from, to) = self.slot(at)?.value else { return None };
        if self.tells_reads {
            self.reads.push(at);
        }
        Some(Self::bytes(&self.values, (from, to)))
    }

    fn ask(&mut self, at: u32, key_row: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        slot.value = Known::Absent;
        if slot.clearing != 0 {
            // What was not written since is not there.
            return;
        }
        self.asked.clear();
        self.asked.push(Some(Self::bytes(&self.keys, slot.key)));
        let answer = L::entries(self.state, &[key_row], &self.asked);
        if let Some(value) = answer.get(0) {
            let from = self.values.len() as u32;
            self.values.extend_from_slice(value);
            slot.value = Known::Bytes(from, self.values.len() as u32);
        }
    }

    /// Sets an entry, whose value `encode` appends, or removes it if that says so.
    pub(crate) fn write<E>(
        &mut self,
        key_row: u32,
        encode_key: impl FnOnce(&mut Vec<u8>),
        encode: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let start = self.values.len() as u32;
        let is_there = encode(&mut self.values)?;
        let value = if is_there { Known::Bytes(start, self.values.len() as u32) } else { Known::Absent };
        let from = self.keys.len();
        encode_key(&mut self.keys);
        let at = self.find_or_add(key_row, from);
        let Some(slot) = self.slots.get_mut(at as usize) else { return Ok(()) };
        if slot.record != self.record {
            slot.record = self.record;
            slot.undo = self.undo.len() as u32;
            self.undo.push(Before { slot: at, value: slot.value, is_dirty: slot.is_dirty });
        }
        slot.value = value;
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push(at);
        }
        Ok(())
    }

    /// Removes all entries of a key row; what was written before is with the host already.
    pub(crate) fn clear(&mut self, key_row: u32) {
        L::clear(self.state, key_row);
        let Some(clearing) = self.cleared.get_mut(key_row as usize) else { return };
        self.clearings += 1;
        self.undo_cleared.push((key_row, *clearing));
        *clearing = self.clearings;
    }

    fn push(staged: &mut Staged, slot: &Slot, (keys, values): (&[u8], &[u8]), value: Known) {
        staged.key_rows.push(slot.key_row);
        staged.map_keys.push(Some(Self::bytes(keys, slot.key)));
        staged.values.push(match value {
            Known::Bytes(from, to) => Some(Self::bytes(values, (from, to))),
            Known::Nothing | Known::Absent => None,
        });
    }

    fn put_staged(&mut self) {
        if !self.staged.key_rows.is_empty() {
            let Staged { key_rows, map_keys, values } = &self.staged;
            L::put_entries(self.state, key_rows, map_keys, values);
            self.staged.clear();
        }
    }

    fn tell_reads(&mut self, from: usize, to: usize) {
        let mut read: Vec<u32> = self.reads.get(from..to).unwrap_or_default().to_vec();
        read.sort_unstable();
        read.dedup();
        for at in read {
            if let Some(slot) = self.slots.get(at as usize) {
                Self::push(&mut self.staged, slot, (&self.keys, &[]), Known::Nothing);
            }
        }
        if !self.staged.key_rows.is_empty() {
            L::touch(self.state, &self.staged.key_rows, &self.staged.map_keys);
            self.staged.clear();
        }
    }
}

impl<L: Link> StateBuffer for MapBuffer<L> {
    fn begin(&mut self, key_rows: usize) {
        self.index.fill(0);
        self.slots.clear();
        self.keys.clear();
        self.values.clear();
        self.dirty.clear();
        self.undo.clear();
        self.record = 1;
        self.cleared.clear();
        self.cleared.resize(key_rows.max(1), 0);
        self.clearings = 0;
        self.undo_cleared.clear();
        self.reads.clear();
        self.reads_kept = 0;
        self.staged.clear();
        self.revision = None;
    }

    fn keep_record(&mut self) {
        self.record += 1;
        self.undo.clear();
        self.undo_cleared.clear();
        self.reads_kept = self.reads.len();
    }

    fn undo_record(&mut self) {
        for before in self.undo.drain(..).rev() {
            if let Some(slot) = self.slots.get_mut(before.slot as usize) {
                slot.value = before.value;
                slot.is_dirty = before.is_dirty;
            }
        }
        for (key_row, before) in self.undo_cleared.drain(..).rev() {
            if let Some(clearing) = self.cleared.get_mut(key_row as usize) {
                *clearing = before;
            }
        }
        let slots = &self.slots;
        self.dirty.retain(|&at| slots.get(at as usize).is_some_and(|slot| slot.is_dirty));
        self.reads.truncate(self.reads_kept);
        self.record += 1;
    }

    fn has_own(&self) -> bool {
        !self.undo.is_empty() || self.reads.len() > self.reads_kept
    }

    fn stage_kept(&mut self) {
        for &at in &self.dirty {
            let Some(slot) = self.slots.get_mut(at as usize) else { continue };
            let mut value = slot.value;
            if slot.record == self.record
                && let Some(before) = self.undo.get_mut(slot.undo as usize)
            {
                // Written by the record in hand: what it was before is kept, if the host does not have that.
                if !std::mem::replace(&mut before.is_dirty, false) {
                    continue;
                }
                value = before.value;
            } else {
                slot.is_dirty = false;
            }
            Self::push(&mut self.staged, slot, (&self.keys, &self.values), value);
        }
        let slots = &self.slots;
        self.dirty.retain(|&at| slots.get(at as usize).is_some_and(|slot| slot.is_dirty));
        self.put_staged();
        self.tell_reads(0, self.reads_kept);
        self.reads.drain(..self.reads_kept);
        self.reads_kept = 0;
    }

    fn stage_own(&mut self) {
        for at in self.dirty.drain(..) {
            let Some(slot) = self.slots.get_mut(at as usize) else { continue };
            slot.is_dirty = false;
            Self::push(&mut self.staged, slot, (&self.keys, &self.values), slot.value);
        }
        self.put_staged();
        self.tell_reads(0, self.reads.len());
        self.reads.clear();
    }

    fn is_full(&self) -> bool {
        self.keys.len() + self.values.len() > FULL_BYTES
    }

    fn make_room(&mut self) {
        self.stage_kept();
        // The host has all of it now, clearings included.
        let key_rows = self.cleared.len();
        self.begin(key_rows);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
