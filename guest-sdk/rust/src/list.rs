//! List states: elements in the order they were appended, per key.

use crate::buffer::{Buffers, StateBuffer};
use crate::column::{Column, ElementPage};
use crate::host::{Host, Platform};
use crate::{Codec, Context, Result};
use std::any::Any;
use std::marker::PhantomData;

/// A state that holds a list per key: a handle, declared by [`Setup::list`](crate::Setup::list). The key is that of the record in hand.
///
/// Appending reads nothing, however long the list is. A list can be read from its beginning and cleared; what is to be found, changed or removed one by one belongs into a
/// [`Map`](crate::Map).
#[derive(Debug)]
pub struct List<T> {
    state: u32,
    buffer: u32,
    tells_reads: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<T> {}

/// Bytes of elements after which they are staged between two records.
const FULL_BYTES: usize = 1 << 20;

/// Elements that were appended in a call and are not yet staged.
#[derive(Debug, Default)]
struct ListBuffer {
    state: u32,
    key_rows: Vec<u32>,
    elements: Column,
    /// Rows that records before the one in hand appended.
    kept: usize,
    /// What is staged apart from the rest: kept for its memory.
    part: Column,
}

impl ListBuffer {
    fn forget(&mut self) {
        self.key_rows.clear();
        self.elements.clear();
        self.kept = 0;
    }
}

impl StateBuffer for ListBuffer {
    fn begin(&mut self, _: usize) {
        self.forget();
    }

    fn keep_record(&mut self) {
        self.kept = self.key_rows.len();
    }

    fn undo_record(&mut self) {
        self.key_rows.truncate(self.kept);
        self.elements.truncate(self.kept);
    }

    fn has_own(&self) -> bool {
        self.key_rows.len() > self.kept
    }

    fn stage_kept(&mut self) {
        let Some(key_rows) = self.key_rows.get(..self.kept).filter(|kept| !kept.is_empty()) else { return };
        if self.kept == self.key_rows.len() {
            Platform::append_elements(self.state, key_rows, &self.elements);
            self.forget();
            return;
        }
        self.part.clear();
        (0..self.kept as u32).for_each(|row| self.part.push(self.elements.get(row)));
        Platform::append_elements(self.state, key_rows, &self.part);
        self.part.clear();
        (self.kept as u32..self.key_rows.len() as u32).for_each(|row| self.part.push(self.elements.get(row)));
        std::mem::swap(&mut self.part, &mut self.elements);
        self.key_rows.drain(..self.kept);
        self.kept = 0;
    }

    fn stage_own(&mut self) {
        if !self.key_rows.is_empty() {
            Platform::append_elements(self.state, &self.key_rows, &self.elements);
            self.forget();
        }
    }

    fn is_full(&self) -> bool {
        self.elements.bytes.len() > FULL_BYTES
    }

    fn make_room(&mut self) {
        self.stage_kept();
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl<T> List<T> {
    pub(crate) fn declare(state: u32, tells_reads: bool, buffers: &mut Buffers) -> Self {
        let buffer = buffers.add(ListBuffer { state, ..ListBuffer::default() });
        Self { state, buffer, tells_reads, of: PhantomData }
    }

    /// Its position in the descriptor.
    pub(crate) fn index(&self) -> u32 {
        self.state
    }

    /// Removes all elements of the record's key.
    pub fn clear(&self, ctx: &mut Context<'_>) {
        let key_row = ctx.key_row();
        let buffers = &mut ctx.work.buffers;
        buffers.mark_record();
        buffers.show(self.buffer);
        Platform::clear(self.state, &[key_row]);
    }
}

impl<T: Codec> List<T> {
    /// Appends an element to the list of the record's key. One without an encoding rejects the record when `process` is done.
    pub fn append(&self, ctx: &mut Context<'_>, element: &T) {
        let key_row = ctx.key_row();
        let work = &mut *ctx.work;
        let Some(buffer) = work.buffers.get::<ListBuffer>(self.buffer) else { return };
        let before = buffer.elements.bytes.len();
        match element.encode(&mut buffer.elements.bytes) {
            Ok(()) => {
                buffer.elements.close();
                buffer.key_rows.push(key_row);
            }
            Err(error) => {
                buffer.elements.bytes.truncate(before);
                work.fault.get_or_insert(error);
            }
        }
        work.full |= buffer.is_full();
    }

    /// The elements, in order. They come from the host in pages, as they are looked at.
    pub fn iter(&self, ctx: &mut Context<'_>) -> Elements<T> {
        let key_row = ctx.key_row();
        let buffers = &mut ctx.work.buffers;
        if self.tells_reads {
            buffers.mark_record();
        }
        buffers.show(self.buffer);
        if self.tells_reads {
            Platform::touch(self.state, &[key_row], None);
        }
        Elements {
            of: (self.state, key_row),
            first: 0,
            page: ElementPage::default(),
            row: 0,
            is_over: false,
            element: PhantomData,
        }
    }
}

/// Bytes of a page of elements.
const PAGE_BYTES: u32 = 64 << 10;

/// Elements of a list, in order: see [`List::iter`]. One whose bytes do not decode is an error.
#[derive(Debug)]
pub struct Elements<T> {
    of: (u32, u32),
    first: u64,
    page: ElementPage,
    row: u32,
    is_over: bool,
    element: PhantomData<fn() -> T>,
}

impl<T: Codec> Iterator for Elements<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.row as usize >= self.page.elements.ends.len() {
            if self.is_over {
                return None;
            }
            self.page = Platform::elements(self.of.0, self.of.1, self.first, PAGE_BYTES);
            self.first += self.page.elements.ends.len() as u64;
            self.row = 0;
            self.is_over = !self.page.more;
        }
        let element = self.page.elements.get(self.row)?;
        self.row += 1;
        Some(T::decode(element))
    }
}
