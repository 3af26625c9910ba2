//! The record in hand: a view into the batch.

use crate::{
    Input, Result,
    column::{Column, HeaderColumn, Headers},
    host::{Host, Platform},
    reject,
    timer::FiredColumns,
    window::WindowColumns,
};
use serde::de::DeserializeOwned;
use std::cell::OnceCell;

/// A batch as the host handed it over, and what was asked for about it since.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) input: u32,
    pub(crate) key_rows: Vec<u32>,
    pub(crate) timestamps_ms: Vec<i64>,
    pub(crate) values: Column,
    /// Of timers: which ones.
    pub(crate) fired: Option<FiredColumns>,
    /// Of windows: which ones.
    pub(crate) windows: Option<WindowColumns>,
    keys: OnceCell<Column>,
    headers: OnceCell<HeaderColumn>,
}

impl Call {
    pub(crate) fn new(input: u32, key_rows: Vec<u32>, timestamps_ms: Vec<i64>, values: Column) -> Self {
        Self { input, key_rows, timestamps_ms, values, ..Self::default() }
    }

    /// Timers that are due: each has a key row of its own, and no value.
    pub(crate) fn of_timers(fired: FiredColumns, times_ms: Vec<i64>) -> Self {
        let key_rows: Vec<u32> = (0..times_ms.len() as u32).collect();
        let values = Column { ends: vec![0; key_rows.len()], bytes: Vec::new(), absent: key_rows.clone() };
        Self { fired: Some(fired), ..Self::new(0, key_rows, times_ms, values) }
    }

    /// Windows that fire: each has a key row of its own, and no value.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn of_windows(windows: WindowColumns) -> Self {
        let times_ms: Vec<i64> = windows.ends_ms.iter().map(|end_ms| end_ms.saturating_sub(1)).collect();
        let key_rows: Vec<u32> = (0..times_ms.len() as u32).collect();
        let values = Column { ends: vec![0; key_rows.len()], bytes: Vec::new(), absent: key_rows.clone() };
        Self { windows: Some(windows), ..Self::new(0, key_rows, times_ms, values) }
    }

    /// Whether its rows are timers or windows.
    pub(crate) fn has_no_values(&self) -> bool {
        self.fired.is_some() || self.windows.is_some()
    }

    pub(crate) fn rows(&self) -> usize {
        self.key_rows.len()
    }

    /// Whether all columns have one entry per row. The host promises it; nothing here relies on it for memory safety.
    pub(crate) fn is_well_formed(&self) -> bool {
        let rows = self.rows();
        let fired = self.fired.as_ref();
        let fits = |fired: &FiredColumns| fired.timers.len() == rows && fired.ids.len() == rows;
        self.timestamps_ms.len() == rows
            && self.values.has_rows(rows)
            && fired.is_none_or(fits)
            && self.windows.as_ref().is_none_or(|windows| windows.starts_ms.len() == rows)
    }

    pub(crate) fn key_row(&self, row: u32) -> u32 {
        self.key_rows.get(row as usize).copied().unwrap_or(u32::MAX)
    }

    pub(crate) fn timestamp_ms(&self, row: u32) -> i64 {
        self.timestamps_ms.get(row as usize).copied().unwrap_or_default()
    }

    pub(crate) fn value(&self, row: u32) -> Option<&[u8]> {
        self.values.get(row)
    }

    pub(crate) fn key(&self, row: u32) -> Option<&[u8]> {
        self.keys.get_or_init(Platform::keys).get(self.key_row(row))
    }

    pub(crate) fn headers(&self, row: u32) -> Headers<'_> {
        self.headers.get_or_init(Platform::headers).of(row)
    }
}

/// A record: a view into the batch. Keys and headers cross the boundary only when somebody asks for them.
#[derive(Debug, Clone, Copy)]
pub struct Record<'b> {
    pub(crate) call: &'b Call,
    pub(crate) row: u32,
}

impl<'b> Record<'b> {
    /// The key; none for a null key, which only an operator without state sees.
    pub fn key(&self) -> Option<&'b [u8]> {
        self.call.key(self.row)
    }

    /// The value; none for a tombstone.
    pub fn value(&self) -> Option<&'b [u8]> {
        self.call.value(self.row)
    }

    /// The value as text.
    ///
    /// # Errors
    /// There is no value, or it is not UTF-8.
    pub fn text(&self) -> Result<&'b str> {
        Ok(str::from_utf8(self.bytes()?)?)
    }

    /// The value, parsed as JSON.
    ///
    /// # Errors
    /// There is no value, or it is not JSON of this shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(self.bytes()?)?)
    }

    /// The value, where a tombstone makes no sense.
    ///
    /// # Errors
    /// There is no value.
    pub fn bytes(&self) -> Result<&'b [u8]> {
        self.value().ok_or_else(|| reject("the record has no value"))
    }

    /// Event time in milliseconds since 1970-01-01T00:00Z.
    pub fn timestamp_ms(&self) -> i64 {
        self.call.timestamp_ms(self.row)
    }

    /// The headers, in order.
    pub fn headers(&self) -> Headers<'b> {
        self.call.headers(self.row)
    }

    /// The value of the last header of this name: the last one counts, as with Kafka's own `lastHeader`. `Some(None)` is a header
    /// without a value.
    pub fn header(&self, name: &str) -> Option<Option<&'b [u8]>> {
        self.headers().filter(|(other, _)| *other == name).last().map(|(_, value)| value)
    }

    /// The input it came by.
    pub fn input(&self) -> Input {
        Input(self.call.input)
    }
}
