//! Value states: one value per key.

use crate::{
    Codec, Context, Result, State,
    column::Column,
    descriptor::Touch,
    host::{Host, Platform},
};
use std::marker::PhantomData;

/// Bytes of overwritten values that are put up with before the written ones are moved together.
const GARBAGE_BYTES: usize = 1 << 20;

/// A state that holds one value per key: a handle, declared by [`Setup::value`](crate::Setup::value). The key is that of the record
/// in hand.
///
/// A read sees what earlier records of the same batch wrote, and never what a rejected one did.
#[derive(Debug)]
pub struct Value<T> {
    state: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Value<T> {}

/// What is known of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// As the host has it.
    Stored,
    /// These bytes of the arena.
    Written(u32, u32),
    Removed,
}

/// A value state during a call: what the host sent, one slot per key row over it, and the bytes that records wrote.
#[derive(Debug, Default)]
pub(crate) struct ValueCache {
    stored: Option<Column>,
    slots: Vec<Slot>,
    arena: Vec<u8>,
    compact_at_bytes: usize,
    /// Key rows whose slot is not `Stored`, in order of first writing.
    touched: Vec<u32>,
    /// What is staged: kept for its memory.
    staged: Column,
    /// Tells the host what was read, where values live on for it.
    touch: Option<Touch>,
}

/// How a slot was before the record in hand wrote it.
#[derive(Debug)]
pub(crate) struct SlotBefore {
    pub(crate) state: u32,
    key_row: u32,
    slot: Slot,
}

impl ValueCache {
    pub(crate) fn new(state: &State) -> Self {
        Self { touch: state.touch, ..Self::default() }
    }

    pub(crate) fn begin(&mut self, key_rows: usize) {
        self.stored = None;
        self.slots.clear();
        self.slots.resize(key_rows, Slot::Stored);
        self.arena.clear();
        self.compact_at_bytes = GARBAGE_BYTES;
        self.touched.clear();
        self.staged.clear();
    }

    fn get(&mut self, state: u32, key_row: u32) -> Option<&[u8]> {
        match self.slots.get(key_row as usize)? {
            Slot::Written(from, to) => self.arena.get(*from as usize..*to as usize),
            Slot::Removed => None,
            Slot::Stored => self.stored.get_or_insert_with(|| Platform::values(state)).get(key_row),
        }
    }

    fn put(&mut self, state: u32, key_row: u32, after: Slot) -> Option<SlotBefore> {
        let slot = self.slots.get_mut(key_row as usize)?;
        let before = std::mem::replace(slot, after);
        if before == Slot::Stored {
            self.touched.push(key_row);
        }
        Some(SlotBefore { state, key_row, slot: before })
    }

    /// Undoes a write; to be called in reverse order of the writes.
    pub(crate) fn undo(&mut self, before: &SlotBefore) {
        if let Some(slot) = self.slots.get_mut(before.key_row as usize) {
            *slot = before.slot;
        }
        if before.slot == Slot::Stored {
            self.touched.pop();
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.arena.len() > self.compact_at_bytes
    }

    /// Drops overwritten values from the arena. Only between records: undoing needs them.
    pub(crate) fn compact(&mut self) {
        let old = std::mem::take(&mut self.arena);
        for &key_row in &self.touched {
            let Some(Slot::Written(from, to)) = self.slots.get_mut(key_row as usize) else {
                continue;
            };
            let value = old.get(*from as usize..*to as usize).unwrap_or_default();
            *from = self.arena.len() as u32;
            self.arena.extend_from_slice(value);
            *to = self.arena.len() as u32;
        }
        self.compact_at_bytes = 2 * self.arena.len() + GARBAGE_BYTES;
    }

    pub(crate) fn stage(&mut self, state: u32, reads: &mut Vec<(u32, u32)>) {
        self.stage_written(state);
        if let Some(touch) = self.touch {
            let mut key_rows: Vec<u32> =
                reads.extract_if(.., |(of, _)| *of == state).map(|(_, key_row)| key_row).collect();
            key_rows.sort_unstable();
            key_rows.dedup();
            if !key_rows.is_empty() {
                touch.0(state, &key_rows, None);
            }
        }
    }

    fn stage_written(&mut self, state: u32) {
        if self.touched.is_empty() {
            return;
        }
        for &key_row in &self.touched {
            self.staged.push(match self.slots.get(key_row as usize) {
                Some(Slot::Written(from, to)) => self.arena.get(*from as usize..*to as usize),
                _ => None,
            });
        }
        Platform::put_values(state, &self.touched, &self.staged);
    }
}

impl<T> Value<T> {
    pub(crate) fn at(state: u32) -> Self {
        Self { state, of: PhantomData }
    }

    /// Its position in the descriptor.
    pub(crate) fn index(&self) -> u32 {
        self.state
    }

    /// The value as stored bytes, without decoding them.
    pub fn bytes<'c>(&self, ctx: &'c mut Context<'_>) -> Option<&'c [u8]> {
        let key_row = ctx.key_row();
        let work = &mut *ctx.work;
        let cache = work.states.get_mut(self.state as usize)?;
        if cache.touch.is_some() {
            work.reads.push((self.state, key_row));
        }
        cache.get(self.state, key_row)
    }

    /// Removes the value.
    pub fn clear(&self, ctx: &mut Context<'_>) {
        self.put(ctx, |_| Ok(Slot::Removed));
    }

    fn put(&self, ctx: &mut Context<'_>, encode: impl FnOnce(&mut Vec<u8>) -> Result<Slot>) {
        let key_row = ctx.key_row();
        let Some(cache) = ctx.work.states.get_mut(self.state as usize) else {
            return;
        };
        match encode(&mut cache.arena) {
            Ok(slot) => ctx.work.undo.extend(cache.put(self.state, key_row, slot)),
            Err(error) => drop(ctx.work.fault.get_or_insert(error)),
        }
        ctx.work.full |= cache.is_full();
    }
}

impl<T: Codec> Value<T> {
    /// The value of the record's key, none if there is none.
    ///
    /// # Errors
    /// The stored bytes are no `T`: `?` rejects the record.
    pub fn get(&self, ctx: &mut Context<'_>) -> Result<Option<T>> {
        self.bytes(ctx).map(T::decode).transpose()
    }

    /// Sets the value of the record's key. A value without an encoding rejects the record when `process` is done.
    pub fn set(&self, ctx: &mut Context<'_>, value: &T) {
        self.put(ctx, |arena| {
            let from = arena.len() as u32;
            value.encode(arena)?;
            Ok(Slot::Written(from, arena.len() as u32))
        });
    }
}
