//! Records in columns: what travels from source to sink.

use crate::column::{BytesColumn, HEADER_FRAME_BYTES, HeadersColumn};
use crate::ids::PartitionIndex;

/// Where a record comes from: the source record that it is, or that it was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The source partition, by its position in the list of all partitions that the pipeline reads.
    pub partition: PartitionIndex,
    /// Offset in that partition.
    pub offset: i64,
}

impl Origin {
    /// Where a timer comes from: no source record.
    pub const TIMER: Self = Self { partition: PartitionIndex(u32::MAX), offset: -1 };
}

/// A batch of records, one column per field. Rows keep the order of their partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordBatch {
    /// Keys; absent is a null key, which is not an empty one.
    pub keys: BytesColumn,
    /// Values; absent is a tombstone.
    pub values: BytesColumn,
    /// Event times in milliseconds since 1970.
    pub timestamps_ms: Vec<i64>,
    /// Headers, in the order they have in the record.
    pub headers: HeadersColumn,
    /// Where each row comes from; dead letters, poison verdicts and partial cuts need it.
    pub origins: Vec<Origin>,
}

impl RecordBatch {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Bytes of keys, values and headers.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.keys.bytes_len()
            + self.values.bytes_len()
            + self.headers.names.bytes_len()
            + self.headers.values.bytes_len()
    }

    /// Appends a record without headers; give them with `headers.push(row, …)` right after.
    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, timestamp_ms: i64, origin: Origin) {
        self.keys.push(key);
        self.values.push(value);
        self.timestamps_ms.push(timestamp_ms);
        self.origins.push(origin);
    }

    /// Appends all rows of another batch.
    pub fn append(&mut self, from: &Self) {
        let first = self.len() as u32;
        self.keys.append(&from.keys);
        self.values.append(&from.values);
        self.timestamps_ms.extend_from_slice(&from.timestamps_ms);
        self.headers.append(&from.headers, first);
        self.origins.extend_from_slice(&from.origins);
    }

    /// Appends the given rows of another batch.
    pub fn gather(&mut self, from: &Self, rows: &[u32]) {
        let first = self.len() as u32;
        self.keys.gather(&from.keys, rows);
        self.values.gather(&from.values, rows);
        self.timestamps_ms.extend(rows.iter().filter_map(|&row| from.timestamps_ms.get(row as usize)));
        self.headers.gather(&from.headers, rows, first);
        self.origins.extend(rows.iter().filter_map(|&row| from.origins.get(row as usize)));
    }

    /// Bytes of one record's key, value and headers.
    #[must_use]
    pub fn row_bytes(&self, row: u32) -> usize {
        let headers = if self.headers.is_empty() { 0 } else { self.headers.bytes_of(row) };
        self.keys.value_len(row) + self.values.value_len(row) + headers
    }

    /// Bytes of one record's key, value and headers as Kafka lays them out, at most: what a topic's `max.message.bytes` is about.
    #[must_use]
    pub fn framed_bytes(&self, row: u32) -> usize {
        let headers = if self.headers.is_empty() { 0 } else { self.headers.framed_bytes_of(row) };
        self.keys.value_len(row) + self.values.value_len(row) + headers
    }

    /// The same of all records together: none of them is larger.
    #[must_use]
    pub fn framed_bytes_len(&self) -> usize {
        self.bytes_len() + self.headers.rows.len() * HEADER_FRAME_BYTES
    }

    /// Drops all records and keeps the memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.timestamps_ms.clear();
        self.headers.clear();
        self.origins.clear();
    }
}
