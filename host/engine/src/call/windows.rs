use super::emit::misuse;
use super::{Call, Fault, Fired, Mark};
use millstream_model::column::BytesColumn;
use millstream_model::record::RecordBatch;
use std::sync::Arc;

/// Why windows fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firing {
    /// Ahead of their end.
    Early,
    /// The watermark has passed their end.
    OnTime,
    /// Records have arrived since they fired.
    Late,
}

/// Windows that a call fires: row `i` is the window of key row `i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiredWindows {
    /// Where each begins, in milliseconds since 1970.
    pub starts_ms: Vec<i64>,
    /// Where each ends; not part of it.
    pub ends_ms: Vec<i64>,
    /// Why they fire.
    pub firing: Firing,
}

/// The key that the state of a window lies under.
pub fn state_key(to: &mut Vec<u8>, key: &[u8], start_ms: i64) {
    to.extend_from_slice(key);
    to.extend_from_slice(&start_ms.to_be_bytes());
}

/// The keys that the state of windows lies under; `starts_ms` has where that of each row begins.
fn state_keys(keys: &BytesColumn, starts_ms: &[i64]) -> BytesColumn {
    let mut state_keys = BytesColumn::default();
    for (row, &start_ms) in (0u32..).zip(starts_ms) {
        state_keys.push_with(|to| state_key(to, keys.get(row).unwrap_or_default(), start_ms));
    }
    state_keys
}

impl Call {
    /// Prepares the call for records in windows; `starts_ms` has where that of each begins.
    pub fn begin_windowed(&mut self, input: u32, batch: Arc<RecordBatch>, starts_ms: &[i64], mark: Mark) {
        self.fired = None;
        self.window = None;
        self.state_keys = Some(state_keys(&batch.keys, starts_ms));
        self.start(input, batch, mark, true);
    }

    /// Prepares the call for windows that fire: the rows of the batch are their keys, and the last moment of each.
    pub fn begin_windows(&mut self, fired: Fired, windows: FiredWindows, batch: Arc<RecordBatch>, mark: Mark) {
        self.state_keys = Some(state_keys(&batch.keys, &windows.starts_ms));
        self.fired = Some(fired);
        self.window = Some(windows);
        self.start(0, batch, mark, true);
    }

    /// Where a change of state is not allowed.
    pub(super) fn check_changes(&self) -> Result<(), Fault> {
        if self.window.is_some() {
            return misuse("a window that fires is read only: the host removes it when it is over");
        }
        Ok(())
    }
}
