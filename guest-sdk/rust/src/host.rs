//! What the SDK asks of whoever runs the operator: the imports of the contract.

use crate::{
    column::{Column, HeaderColumn},
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
    fn emit(records: Emission<'_>);
    fn put_values(state: u32, key_rows: &[u32], values: &Column);
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

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::__guest::Bindings as Platform;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::harness::Bench as Platform;
