//! The contract's types as they cross the boundary. Columns from the guest stay in its memory; columns to it are lent.

use millstream_engine::call::{EntryPage, MapRange, OutputColumns, WindowFiring};
use millstream_model::column::{BytesColumn, ColumnError};
use millstream_model::column_ref::ColumnRef;
use std::sync::Arc;
use wasmtime::StoreContext;
use wasmtime::component::{ComponentType, Lift, Lower, WasmList, WasmStr};

const _: () = assert!(cfg!(target_endian = "little"), "columns are read in place, in the guest's byte order");

#[derive(ComponentType, Lower, Debug, Clone, Copy)]
#[component(record)]
pub(super) struct ColumnIn<'a> {
    ends: &'a [u32],
    bytes: &'a [u8],
    absent: &'a [u32],
}

impl<'a> From<&'a BytesColumn> for ColumnIn<'a> {
    fn from(column: &'a BytesColumn) -> Self {
        Self { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
    }
}

#[derive(ComponentType, Lower, Debug, Clone, Copy)]
#[component(record)]
pub(super) struct BatchIn<'a> {
    pub(super) input: u32,
    #[component(name = "key-rows")]
    pub(super) key_rows: &'a [u32],
    #[component(name = "timestamps-ms")]
    pub(super) timestamps_ms: &'a [i64],
    pub(super) values: ColumnIn<'a>,
}

#[derive(ComponentType, Lower, Debug, Clone, Copy)]
#[component(record)]
pub(super) struct TimersIn<'a> {
    pub(super) timers: &'a [u32],
    pub(super) ids: &'a [u64],
    #[component(name = "times-ms")]
    pub(super) times_ms: &'a [i64],
}

#[derive(ComponentType, Lower, Debug, Clone, Copy)]
#[component(record)]
pub(super) struct WindowsIn<'a> {
    #[component(name = "starts-ms")]
    pub(super) starts_ms: &'a [i64],
    #[component(name = "ends-ms")]
    pub(super) ends_ms: &'a [i64],
}

#[derive(ComponentType, Lower, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(super) enum FiringIn {
    #[component(name = "early")]
    Early,
    #[component(name = "on-time")]
    OnTime,
    #[component(name = "late")]
    Late,
}

impl From<WindowFiring> for FiringIn {
    fn from(firing: WindowFiring) -> Self {
        match firing {
            WindowFiring::Early => Self::Early,
            WindowFiring::OnTime => Self::OnTime,
            WindowFiring::Late => Self::Late,
        }
    }
}

/// A column that answers a request.
#[derive(ComponentType, Lower, Debug, Default)]
#[component(record)]
pub(super) struct LentColumn {
    ends: Vec<u32>,
    bytes: Vec<u8>,
    absent: Vec<u32>,
}

impl LentColumn {
    fn copy(column: &BytesColumn) -> Self {
        Self { ends: column.ends().to_vec(), bytes: column.bytes().to_vec(), absent: column.absent().to_vec() }
    }
}

#[derive(ComponentType, Lower, Debug)]
#[component(record)]
pub(super) struct LentHeaders {
    rows: Vec<u32>,
    names: LentColumn,
    values: LentColumn,
}

impl LentHeaders {
    pub(super) fn copy(headers: &millstream_model::column::HeadersColumn) -> Self {
        Self {
            rows: headers.rows.clone(),
            names: LentColumn::copy(&headers.names),
            values: LentColumn::copy(&headers.values),
        }
    }
}

/// A page of entries that answers a request.
#[derive(ComponentType, Lower, Debug, Default)]
#[component(record)]
pub(super) struct LentEntries {
    #[component(name = "map-keys")]
    map_keys: LentColumn,
    values: LentColumn,
    more: bool,
}

/// A page of elements that answers a request.
#[derive(ComponentType, Lower, Debug, Default)]
#[component(record)]
pub(super) struct LentElements {
    elements: LentColumn,
    more: bool,
}

/// Keeps the buffers of the last answer for the next one: by then the guest has its copy and the runtime has let go.
#[derive(Debug, Default)]
pub(super) struct Lent<T>(Arc<T>);

/// What is lent, by its shape.
#[derive(Debug, Default)]
pub(crate) struct LentParts {
    pub(super) column: Lent<LentColumn>,
    pub(super) entries: Lent<LentEntries>,
    pub(super) elements: Lent<LentElements>,
}

impl LentColumn {
    /// The buffers as an empty column.
    fn into_column(self) -> BytesColumn {
        let Self { mut ends, mut bytes, mut absent } = self;
        ends.clear();
        bytes.clear();
        absent.clear();
        BytesColumn::from_parts(ends, bytes, absent).unwrap_or_default()
    }
}

impl From<BytesColumn> for LentColumn {
    fn from(column: BytesColumn) -> Self {
        let (ends, bytes, absent) = column.into_parts();
        Self { ends, bytes, absent }
    }
}

impl<T: Default> Lent<T> {
    fn take(&mut self) -> T {
        Arc::get_mut(&mut self.0).map(std::mem::take).unwrap_or_default()
    }

    fn put(&mut self, lent: T) -> Arc<T> {
        match Arc::get_mut(&mut self.0) {
            Some(place) => *place = lent,
            None => self.0 = Arc::new(lent),
        }
        Arc::clone(&self.0)
    }
}

impl Lent<LentColumn> {
    /// Lends the column that `fill` makes.
    pub(super) fn lend<E>(
        &mut self,
        fill: impl FnOnce(&mut BytesColumn) -> Result<(), E>,
    ) -> Result<Arc<LentColumn>, E> {
        let mut column = self.take().into_column();
        fill(&mut column)?;
        Ok(self.put(column.into()))
    }
}

impl Lent<LentEntries> {
    /// Lends the page that `fill` makes.
    pub(super) fn lend<E>(
        &mut self,
        fill: impl FnOnce(&mut EntryPage) -> Result<(), E>,
    ) -> Result<Arc<LentEntries>, E> {
        let LentEntries { map_keys, values, .. } = self.take();
        let mut page = EntryPage { map_keys: map_keys.into_column(), values: values.into_column(), more: false };
        fill(&mut page)?;
        Ok(self.put(LentEntries { map_keys: page.map_keys.into(), values: page.values.into(), more: page.more }))
    }
}

impl Lent<LentElements> {
    /// Lends the page that `fill` makes; it tells whether the list goes on.
    pub(super) fn lend<E>(
        &mut self,
        fill: impl FnOnce(&mut BytesColumn) -> Result<bool, E>,
    ) -> Result<Arc<LentElements>, E> {
        let mut elements = self.take().elements.into_column();
        let more = fill(&mut elements)?;
        Ok(self.put(LentElements { elements: elements.into(), more }))
    }
}

/// A range of map keys, still in the guest's memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct MapRangeOut {
    start: Option<WasmList<u8>>,
    end: Option<WasmList<u8>>,
    descending: bool,
}

impl MapRangeOut {
    pub(super) fn read<'a, T: 'static>(&self, store: &'a StoreContext<'_, T>) -> MapRange<'a> {
        MapRange {
            start: self.start.as_ref().map_or(&[], |start| start.as_le_slice(store)),
            end: self.end.as_ref().map(|end| end.as_le_slice(store)),
            descending: self.descending,
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ColumnOut {
    ends: WasmList<u32>,
    bytes: WasmList<u8>,
    absent: WasmList<u32>,
}

impl ColumnOut {
    pub(super) fn read<'a, T: 'static>(&self, store: &'a StoreContext<'_, T>) -> ColumnRef<'a> {
        ColumnRef {
            ends: self.ends.as_le_slice(store),
            bytes: self.bytes.as_le_slice(store),
            absent: self.absent.as_le_slice(store),
        }
    }

    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn rows(&self) -> usize {
        self.ends.len()
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct HeadersOut {
    rows: WasmList<u32>,
    names: ColumnOut,
    values: ColumnOut,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct OutputOut {
    port: u32,
    parents: WasmList<u32>,
    keys: Option<ColumnOut>,
    values: Option<ColumnOut>,
    #[component(name = "timestamps-ms")]
    timestamps_ms: Option<WasmList<i64>>,
    headers: Option<HeadersOut>,
}

impl OutputOut {
    pub(super) fn read<'a, T: 'static>(&self, store: &'a StoreContext<'_, T>) -> OutputColumns<'a> {
        OutputColumns {
            port: self.port,
            parents: self.parents.as_le_slice(store),
            keys: self.keys.as_ref().map(|column| column.read(store)),
            values: self.values.as_ref().map(|column| column.read(store)),
            timestamps_ms: self.timestamps_ms.as_ref().map(|times| times.as_le_slice(store)),
            headers: self
                .headers
                .as_ref()
                .map(|h| (h.rows.as_le_slice(store), h.names.read(store), h.values.read(store))),
        }
    }

    pub(super) fn records(&self) -> usize {
        self.parents.len()
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RejectionOut {
    pub(super) row: u32,
    pub(super) reason: WasmStr,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(super) struct RejectionResult {
    pub(super) row: u32,
    pub(super) reason: String,
}

/// A column that an export returns: a copy, as the guest frees its own before the call is over.
#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(super) struct ColumnResult {
    ends: Vec<u32>,
    bytes: Vec<u8>,
    absent: Vec<u32>,
}

impl ColumnResult {
    pub(super) fn checked(self) -> Result<BytesColumn, ColumnError> {
        BytesColumn::from_parts(self.ends, self.bytes, self.absent)
    }
}

#[derive(ComponentType, Lift, Debug)]
#[component(variant)]
pub(super) enum Failure {
    #[component(name = "reject")]
    Reject(Vec<RejectionResult>),
    #[component(name = "retry")]
    Retry(String),
    #[component(name = "stop")]
    Stop(String),
}

/// Levels of `log`, the same in both worlds.
#[derive(ComponentType, Lift, Debug, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "the derive makes them")]
pub(crate) enum LogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warn => Self::WARN,
            LogLevel::Error => Self::ERROR,
        }
    }
}
