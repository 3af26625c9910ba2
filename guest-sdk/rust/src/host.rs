//! What the SDK asks of whoever runs the operator: the imports of the contract.

use crate::{
    column::{Column, ElementPage, EntryPage, HeaderColumn},
    log::Level,
};

/// The imports of the contract. Two implement it: the generated bindings, and the harness.
///
/// Functions without a receiver, chosen at compile time: what an operator has no use for is then not even imported, and the host
/// can tell from a component's imports that it never looks at the clock or at headers.
pub(crate) trait Host {
    /// The record of this row is next: a panic is told with it.
    fn enter(row: u32);
    fn keys() -> Column;
    fn headers() -> HeaderColumn;
    fn watermark_ms() -> Option<i64>;
    fn now_ms() -> i64;
    fn values(state: u32) -> Column;
    fn entries(state: u32, key_rows: &[u32], map_keys: &Column) -> Column;
    fn scan(state: u32, key_row: u32, within: Within<'_>, bytes_max: u32) -> EntryPage;
    fn elements(state: u32, key_row: u32, first: u64, bytes_max: u32) -> ElementPage;
    fn revision(state: u32) -> u64;
    fn broadcast_entries(state: u32, map_keys: &Column) -> Column;
    fn broadcast_scan(state: u32, within: Within<'_>, bytes_max: u32) -> EntryPage;
    fn emit(records: Emission<'_>);
    fn put_values(state: u32, key_rows: &[u32], values: &Column);
    fn put_entries(state: u32, key_rows: &[u32], map_keys: &Column, values: &Column);
    fn append_elements(state: u32, key_rows: &[u32], elements: &Column);
    fn clear(state: u32, key_rows: &[u32]);
    fn touch(state: u32, key_rows: &[u32], map_keys: Option<&Column>);
    fn set_timers(timer: u32, key_rows: &[u32], ids: &[u64], times_ms: &[i64]);
    fn cancel_timers(timer: u32, key_rows: &[u32], ids: &[u64]);
    fn put_broadcast(state: u32, map_keys: &Column, values: &Column);
    fn clear_broadcast(state: u32);
    fn mark() -> u32;
    fn undo_to(mark: u32);
    fn reject(rows: Vec<(u32, String)>);
    fn log_enabled(level: Level) -> bool;
    fn log(level: Level, row: Option<u32>, message: &str);
    fn count(name: &str, delta: u64);
    fn gauge(name: &str, value: f64);
    fn observe(name: &str, values: &[f64]);
}

/// Records to emit: `output-batch` of the contract.
#[derive(Debug)]
pub(crate) struct Emission<'a> {
    pub(crate) port: u32,
    pub(crate) parents: &'a [u32],
    pub(crate) keys: Option<&'a Column>,
    pub(crate) values: Option<&'a Column>,
    pub(crate) timestamps_ms: Option<&'a [i64]>,
    pub(crate) headers: Option<&'a HeaderColumn>,
}

/// A range of map keys: `map-range` of the contract.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Within<'a> {
    pub(crate) start: Option<&'a [u8]>,
    pub(crate) end: Option<&'a [u8]>,
    pub(crate) descending: bool,
}

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::__guest::Bindings as Platform;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::harness::Bench as Platform;
