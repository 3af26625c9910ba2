//! What was emitted to one output and is not yet staged.

use crate::{
    column::{Column, HeaderColumn},
    host::{Emission, Host, Platform},
    record::Call,
    text,
};
use std::fmt::{self, Display};

/// Beyond this many bytes an output is staged between two records, so that a flat-map need not hold all it emits.
const STAGED_AT_BYTES: usize = 1 << 20;

/// A field of an emitted record: the parent's, or one of its own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// As it is in the record in hand.
    #[default]
    Keep,
    /// This one; `None` is a null key or a tombstone.
    Set(Option<&'a [u8]>),
}

/// A record to emit that differs from its parent in more than key and value: see
/// [`Context::emit_record`](crate::Context::emit_record). What is left at its default is the parent's.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The key. It decides the partition and the next operator's task.
    pub key: Field<'a>,
    /// The value.
    pub value: Field<'a>,
    /// Event time in milliseconds since 1970-01-01T00:00Z.
    pub timestamp_ms: Option<i64>,
    /// All the headers, in order; an empty slice emits none.
    pub headers: Option<&'a [Header<'a>]>,
}

/// A header: name and value, which may be absent.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// How a column takes over the field of a row's parent: column, call, row in the column, parent.
type Keep<C> = fn(&mut C, &Call, u32, u32);

/// A column that is staged only if some row set its own field; the rows before it are then filled in from their parents.
#[derive(Debug, Default)]
struct Own<C> {
    column: C,
    /// Set by the first row with a field of its own, and by nobody else: whatever it reads (headers, keys) is not even linked into
    /// an operator that never sets the field.
    keep: Option<Keep<C>>,
}

impl<C> Own<C> {
    /// The column, with an entry for each of `parents`.
    fn open(&mut self, keep: Keep<C>, call: &Call, parents: &[u32]) -> &mut C {
        if self.keep.is_none() {
            self.keep = Some(keep);
            for (row, &parent) in parents.iter().enumerate() {
                keep(&mut self.column, call, row as u32, parent);
            }
        }
        &mut self.column
    }

    fn keep(&mut self, call: &Call, row: u32, parent: u32) {
        if let Some(keep) = self.keep {
            keep(&mut self.column, call, row, parent);
        }
    }

    fn used(&self) -> Option<&C> {
        self.keep.is_some().then_some(&self.column)
    }
}

fn keep_key(column: &mut Column, call: &Call, _: u32, parent: u32) {
    column.push(call.key(parent));
}

fn keep_value(column: &mut Column, call: &Call, _: u32, parent: u32) {
    column.push(call.value(parent));
}

fn keep_timestamp(column: &mut Vec<i64>, call: &Call, _: u32, parent: u32) {
    column.push(call.timestamp_ms(parent));
}

fn keep_headers(column: &mut HeaderColumn, call: &Call, row: u32, parent: u32) {
    call.headers(parent).for_each(|(name, value)| column.push(row, name, value));
}

#[derive(Debug, Default)]
pub(crate) struct OutputBuffer {
    parents: Vec<u32>,
    keys: Own<Column>,
    values: Own<Column>,
    timestamps_ms: Own<Vec<i64>>,
    headers: Own<HeaderColumn>,
}

impl OutputBuffer {
    pub(crate) fn forward(&mut self, call: &Call, parent: u32) -> bool {
        self.keep_key(call, parent);
        self.values.keep(call, self.row(), parent);
        self.end_plain(call, parent)
    }

    pub(crate) fn emit(&mut self, call: &Call, parent: u32, value: Option<&[u8]>) -> bool {
        self.keep_key(call, parent);
        self.values.open(keep_value, call, &self.parents).push(value);
        self.end_plain(call, parent)
    }

    /// Emits the text of a value, written straight into the column.
    pub(crate) fn emit_display(&mut self, call: &Call, parent: u32, value: impl Display) -> Result<bool, fmt::Error> {
        self.keep_key(call, parent);
        let column = self.values.open(keep_value, call, &self.parents);
        let written = text::append(&mut column.bytes, value);
        column.close();
        let full = self.end_plain(call, parent);
        written.map(|()| full)
    }

    pub(crate) fn emit_fields(&mut self, call: &Call, parent: u32, key: Field<'_>, value: Field<'_>) -> bool {
        self.set_key(call, parent, key);
        self.set_value(call, parent, value);
        self.end_plain(call, parent)
    }

    pub(crate) fn emit_record(&mut self, call: &Call, parent: u32, record: &Outgoing<'_>) -> bool {
        let row = self.row();
        self.set_key(call, parent, record.key);
        self.set_value(call, parent, record.value);
        match record.timestamp_ms {
            None => self.timestamps_ms.keep(call, row, parent),
            Some(time_ms) => self.timestamps_ms.open(keep_timestamp, call, &self.parents).push(time_ms),
        }
        match record.headers {
            None => self.headers.keep(call, row, parent),
            Some(headers) => {
                let column = self.headers.open(keep_headers, call, &self.parents);
                headers.iter().for_each(|(name, value)| column.push(row, name, *value));
            }
        }
        self.end(parent)
    }

    fn row(&self) -> u32 {
        self.parents.len() as u32
    }

    fn keep_key(&mut self, call: &Call, parent: u32) {
        self.keys.keep(call, self.row(), parent);
    }

    fn set_key(&mut self, call: &Call, parent: u32, field: Field<'_>) {
        match field {
            Field::Keep => self.keep_key(call, parent),
            Field::Set(key) => self.keys.open(keep_key, call, &self.parents).push(key),
        }
    }

    fn set_value(&mut self, call: &Call, parent: u32, field: Field<'_>) {
        match field {
            Field::Keep => self.values.keep(call, self.row(), parent),
            Field::Set(value) => self.values.open(keep_value, call, &self.parents).push(value),
        }
    }

    fn end_plain(&mut self, call: &Call, parent: u32) -> bool {
        let row = self.row();
        self.timestamps_ms.keep(call, row, parent);
        self.headers.keep(call, row, parent);
        self.end(parent)
    }

    /// Ends a row; says whether the output should be staged as soon as the record is done.
    fn end(&mut self, parent: u32) -> bool {
        self.parents.push(parent);
        self.bytes() > STAGED_AT_BYTES
    }

    fn bytes(&self) -> usize {
        let headers = &self.headers.column;
        let columns = self.keys.column.bytes.len() + self.values.column.bytes.len();
        columns + headers.names.bytes.len() + headers.values.bytes.len() + 16 * self.parents.len()
    }

    /// Forgets what came from `parent` and later rows.
    pub(crate) fn truncate_from(&mut self, parent: u32) {
        let rows = self.parents.partition_point(|&other| other < parent);
        self.parents.truncate(rows);
        self.keys.column.truncate(rows);
        self.values.column.truncate(rows);
        self.timestamps_ms.column.truncate(rows);
        self.headers.column.truncate(rows as u32);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes() > STAGED_AT_BYTES
    }

    pub(crate) fn stage(&mut self, port: u32) {
        if self.parents.is_empty() {
            return;
        }
        Platform::emit(Emission {
            port,
            parents: &self.parents,
            keys: self.keys.used(),
            values: self.values.used(),
            timestamps_ms: self.timestamps_ms.used().map(Vec::as_slice),
            headers: self.headers.used(),
        });
        self.clear();
    }

    pub(crate) fn clear(&mut self) {
        self.parents.clear();
        self.keys.column.clear();
        self.values.column.clear();
        self.timestamps_ms.column.clear();
        self.headers.column.clear();
        (self.keys.keep, self.values.keep, self.timestamps_ms.keep, self.headers.keep) = (None, None, None, None);
    }
}
