//! The contract's types as they cross the boundary. Columns from the guest stay in its memory; columns to it are lent.

use millstream_engine::call::OutputColumns;
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

/// A column that answers a request.
#[derive(ComponentType, Lower, Debug, Default)]
#[component(record)]
pub(crate) struct LentColumn {
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

/// Keeps the buffers of the last answer for the next one: by then the guest has its copy and the runtime has let go.
#[derive(Debug, Default)]
pub(crate) struct Lent(Arc<LentColumn>);

impl Lent {
    /// Lends the column that `fill` makes.
    pub(super) fn lend<E>(
        &mut self,
        fill: impl FnOnce(&mut BytesColumn) -> Result<(), E>,
    ) -> Result<Arc<LentColumn>, E> {
        let LentColumn { mut ends, mut bytes, mut absent } =
            Arc::get_mut(&mut self.0).map(std::mem::take).unwrap_or_default();
        ends.clear();
        bytes.clear();
        absent.clear();
        let mut column = BytesColumn::from_parts(ends, bytes, absent).unwrap_or_default();
        fill(&mut column)?;
        let (ends, bytes, absent) = column.into_parts();
        let lent = LentColumn { ends, bytes, absent };
        match Arc::get_mut(&mut self.0) {
            Some(place) => *place = lent,
            None => self.0 = Arc::new(lent),
        }
        Ok(Arc::clone(&self.0))
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
