//! Map states: entries by map key, in order, per key.

use crate::buffer::Buffers;
use crate::column::{Column, EntryPage};
use crate::host::{Host, Platform, Within};
use crate::map_buffer::{Link, MapBuffer};
use crate::map_key::{AsMapKey, MapKey, prefix_end};
use crate::{Codec, Context, Result};
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// A state that holds entries per key, in the order of their map keys: a handle, declared by [`Setup::map`](crate::Setup::map). The key is that of the record in hand.
///
/// Reading an entry asks the host once per call; what was read or written before is known. Large values, or many of them, are better kept in a map than in one
/// [`Value`](crate::Value): only what is touched crosses the boundary.
///
/// ```
/// # use millstream_sdk::{Context, Map, Record, Result, Setup};
/// # struct Scores { scores: Map<String, u64> }
/// # impl Scores {
/// fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
///     let player = record.text()?;
///     let score = self.scores.get(ctx, player)?.unwrap_or(0) + 1;
///     self.scores.put(ctx, player, &score);
///     for entry in self.scores.range(ctx, "a".to_owned()..="m".to_owned()).rev() {
///         let (player, score) = entry?;
/// #       let _ = (player, score);
///     }
///     Ok(())
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Map<K, V> {
    state: u32,
    buffer: u32,
    tells_reads: bool,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Map<K, V> {}

/// Entries of maps.
#[derive(Debug)]
pub(crate) struct OfKeys;

impl Link for OfKeys {
    fn entries(state: u32, key_rows: &[u32], map_keys: &Column) -> Column {
        Platform::entries(state, key_rows, map_keys)
    }
    fn put_entries(state: u32, key_rows: &[u32], map_keys: &Column, values: &Column) {
        Platform::put_entries(state, key_rows, map_keys, values);
    }
    fn touch(state: u32, key_rows: &[u32], map_keys: &Column) {
        Platform::touch(state, key_rows, Some(map_keys));
    }
    fn clear(state: u32, key_row: u32) {
        Platform::clear(state, &[key_row]);
    }
}

impl<K, V> Map<K, V> {
    pub(crate) fn declare(state: u32, tells_reads: bool, buffers: &mut Buffers) -> Self {
        let buffer = buffers.add(MapBuffer::<OfKeys>::new(state, tells_reads));
        Self { state, buffer, tells_reads, of: PhantomData }
    }

    /// Its position in the descriptor.
    pub(crate) fn index(&self) -> u32 {
        self.state
    }

    /// Removes all entries of the record's key.
    pub fn clear(&self, ctx: &mut Context<'_>) {
        let key_row = ctx.key_row();
        let buffers = &mut ctx.work.buffers;
        buffers.mark_record();
        buffers.show(self.buffer);
        if let Some(buffer) = buffers.get::<MapBuffer<OfKeys>>(self.buffer) {
            buffer.clear(key_row);
        }
    }
}

impl<K: MapKey, V: Codec> Map<K, V> {
    fn read<'c, Q: AsMapKey<K> + ?Sized>(&self, ctx: &'c mut Context<'_>, key: &Q) -> Option<&'c [u8]> {
        let key_row = ctx.key_row();
        let work = &mut *ctx.work;
        let buffer = work.buffers.get::<MapBuffer<OfKeys>>(self.buffer)?;
        work.full |= crate::buffer::StateBuffer::is_full(buffer);
        buffer.read(key_row, |to| key.encode_as(to))
    }

    /// The value under a map key, none if there is none.
    ///
    /// # Errors
    /// The stored bytes are no `V`: `?` rejects the record.
    pub fn get<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut Context<'_>, key: &Q) -> Result<Option<V>> {
        self.read(ctx, key).map(V::decode).transpose()
    }

    /// Whether there is an entry under a map key.
    pub fn contains<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut Context<'_>, key: &Q) -> bool {
        self.read(ctx, key).is_some()
    }

    /// Sets the value under a map key. A value without an encoding rejects the record when `process` is done.
    pub fn put<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut Context<'_>, key: &Q, value: &V) {
        self.write(ctx, key, |to| value.encode(to).map(|()| true));
    }

    /// Removes the entry under a map key, if there is one.
    pub fn remove<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut Context<'_>, key: &Q) {
        self.write(ctx, key, |_| Ok(false));
    }

    fn write<Q: AsMapKey<K> + ?Sized>(
        &self,
        ctx: &mut Context<'_>,
        key: &Q,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<bool>,
    ) {
        let key_row = ctx.key_row();
        let work = &mut *ctx.work;
        let Some(buffer) = work.buffers.get::<MapBuffer<OfKeys>>(self.buffer) else { return };
        if let Err(error) = buffer.write(key_row, |to| key.encode_as(to), encode) {
            work.fault.get_or_insert(error);
        }
        work.full |= crate::buffer::StateBuffer::is_full(buffer);
    }

    /// The entries in a range of map keys, in order; [`Entries::rev`] turns it round. They come from the host in pages, as they are looked at; what the record writes in between shows or not.
    pub fn range(&self, ctx: &mut Context<'_>, range: impl RangeBounds<K>) -> Entries<K, V> {
        self.within(ctx, Bounds::of(&range))
    }

    /// All entries, in order.
    pub fn iter(&self, ctx: &mut Context<'_>) -> Entries<K, V> {
        self.within(ctx, Bounds::default())
    }

    fn within(&self, ctx: &mut Context<'_>, bounds: Bounds) -> Entries<K, V> {
        let buffers = &mut ctx.work.buffers;
        if self.tells_reads {
            // Pages are told to be read as they come.
            buffers.mark_record();
        }
        buffers.show(self.buffer);
        let touch: Option<fn(u32, u32, &Column)> =
            if self.tells_reads { Some(|state, key_row, keys| touch_page(state, key_row, keys)) } else { None };
        Entries::new((self.state, ctx.key_row()), Platform::scan, touch, bounds)
    }
}

fn touch_page(state: u32, key_row: u32, map_keys: &Column) {
    Platform::touch(state, &vec![key_row; map_keys.ends.len()], Some(map_keys));
}

impl<A: MapKey, B: MapKey, V: Codec> Map<(A, B), V> {
    /// The entries whose map keys have this first part, in order.
    pub fn prefix(&self, ctx: &mut Context<'_>, first: &A) -> Entries<(A, B), V> {
        let mut start = Vec::new();
        first.encode_part(&mut start);
        let end = prefix_end(start.clone());
        self.within(ctx, Bounds { start: Some(start), end })
    }
}

/// Ends of a range, as the host takes them: the first is in it, the second is not.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
}

impl Bounds {
    pub(crate) fn of<K: MapKey>(range: &impl RangeBounds<K>) -> Self {
        let bytes = |key: &K, is_behind: bool| {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            if is_behind {
                // One byte more is the next key there can be.
                bytes.push(0);
            }
            bytes
        };
        let start = match range.start_bound() {
            Bound::Included(key) => Some(bytes(key, false)),
            Bound::Excluded(key) => Some(bytes(key, true)),
            Bound::Unbounded => None,
        };
        let end = match range.end_bound() {
            Bound::Included(key) => Some(bytes(key, true)),
            Bound::Excluded(key) => Some(bytes(key, false)),
            Bound::Unbounded => None,
        };
        Self { start, end }
    }
}

/// Bytes of the first page of a range, and of the largest: who looks at a few entries is not sent many.
const PAGE_BYTES: u32 = 1 << 10;
const PAGE_BYTES_MAX: u32 = 64 << 10;

type Scan = fn(u32, u32, Within<'_>, u32) -> EntryPage;

/// Entries of a range, in order: see [`Map::range`]. An entry whose bytes do not decode is an error.
#[derive(Debug)]
pub struct Entries<K, V> {
    of: (u32, u32),
    scan: Scan,
    touch: Option<fn(u32, u32, &Column)>,
    bounds: Bounds,
    descending: bool,
    page: EntryPage,
    row: u32,
    page_bytes: u32,
    is_over: bool,
    entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Entries<K, V> {
    pub(crate) fn new(of: (u32, u32), scan: Scan, touch: Option<fn(u32, u32, &Column)>, bounds: Bounds) -> Self {
        Self {
            of,
            scan,
            touch,
            bounds,
            descending: false,
            page: EntryPage::default(),
            row: 0,
            page_bytes: PAGE_BYTES,
            is_over: false,
            entry: PhantomData,
        }
    }

    /// The same, from the highest map key to the lowest. To be said before the first entry is taken.
    #[must_use]
    pub fn rev(self) -> Self {
        Self { descending: !self.descending, ..self }
    }

    fn next_page(&mut self) {
        let Self { of: (state, key_row), bounds, descending, page_bytes, .. } = self;
        let within = Within { start: bounds.start.as_deref(), end: bounds.end.as_deref(), descending: *descending };
        self.page = (self.scan)(*state, *key_row, within, *page_bytes);
        self.row = 0;
        self.is_over = !self.page.more;
        self.page_bytes = (*page_bytes * 4).min(PAGE_BYTES_MAX);
        let rows = self.page.map_keys.ends.len() as u32;
        let Some(last) = rows.checked_sub(1).and_then(|row| self.page.map_keys.get(row)) else {
            self.is_over = true;
            return;
        };
        if self.descending {
            self.bounds.end = Some(last.to_vec());
        } else {
            self.bounds.start = Some([last, &[0]].concat());
        }
        if let Some(touch) = self.touch {
            touch(self.of.0, self.of.1, &self.page.map_keys);
        }
    }
}

impl<K: MapKey, V: Codec> Iterator for Entries<K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.row as usize >= self.page.map_keys.ends.len() {
            if self.is_over {
                return None;
            }
            self.next_page();
        }
        let key = self.page.map_keys.get(self.row)?;
        let value = self.page.values.get(self.row)?;
        self.row += 1;
        Some(K::decode(key).and_then(|key| Ok((key, V::decode(value)?))))
    }
}
