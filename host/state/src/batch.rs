//! Write batches, built in the bytes RocksDB itself uses: one call per batch instead of one per cell.
//!
//! The layout is that of RocksDB's `write_batch.cc`, which is also that of its log and therefore never changes: sequence u64, count u32 (both little endian), then
//! per entry a tag (put 1, delete 0; both of the default column family), length as LEB128 and bytes of the key, and of the value of a put.

use millstream_engine::ports::ChangeSet;
use millstream_model::cell::write_varint;
use rocksdb::WriteBatch;

const HEADER_BYTES: usize = 12;
const PUT: u8 = 1;
const DELETE: u8 = 0;

/// The entries of one write.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

/// Whether RocksDB builds the same bytes as we do.
pub(crate) fn layout_is_known() -> bool {
    let mut theirs = WriteBatch::default();
    theirs.put(b"key", b"value");
    theirs.delete(b"key");
    let mut ours = Batch::new(0);
    ours.put(b"key", b"value");
    ours.delete(b"key");
    ours.finished() == theirs.data()
}

impl Batch {
    pub(crate) fn new(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + capacity);
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, count: 0 }
    }

    #[inline]
    fn text(&mut self, text: &[u8]) {
        write_varint(&mut self.bytes, text.len() as u32);
        self.bytes.extend_from_slice(text);
    }

    #[inline]
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.push(PUT);
        self.text(key);
        self.text(value);
        self.count += 1;
    }

    #[inline]
    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.bytes.push(DELETE);
        self.text(key);
        self.count += 1;
    }

    /// Adds changes in the order of their keys, which the memtable takes faster.
    pub(crate) fn put_sorted(&mut self, changes: &ChangeSet) {
        for row in key_order(changes) {
            let key = changes.keys.get(row).unwrap_or_default();
            match changes.values.get(row) {
                Some(value) => self.put(key, value),
                None => self.delete(key),
            }
        }
    }

    fn finished(&mut self) -> &[u8] {
        if let Some(count) = self.bytes.get_mut(8..HEADER_BYTES) {
            count.copy_from_slice(&self.count.to_le_bytes());
        }
        &self.bytes
    }

    pub(crate) fn into_rocksdb(mut self) -> WriteBatch {
        WriteBatch::from_data(self.finished())
    }
}

/// Rows in the order of their keys. Most are told apart by their first 16 bytes, compared as one number without looking at the key again.
pub(crate) fn key_order(changes: &ChangeSet) -> impl Iterator<Item = u32> {
    let head = |row: u32| {
        let key = changes.keys.get(row).unwrap_or_default();
        let mut head = [0; 16];
        for (to, from) in head.iter_mut().zip(key) {
            *to = *from;
        }
        u128::from_be_bytes(head)
    };
    let mut order: Vec<(u128, u32)> = (0..changes.len() as u32).map(|row| (head(row), row)).collect();
    if !order.is_sorted_by(|a, b| a.0 < b.0) {
        // What is read back from a changelog has a key several times: the last one counts, so it stays the last one.
        let key = |row: u32| changes.keys.get(row);
        order.sort_unstable_by(|a, b| (a.0, key(a.1), a.1).cmp(&(b.0, key(b.1), b.1)));
    }
    order.into_iter().map(|(_, row)| row)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_last_of_several_values_of_a_key_stays_the_last() {
        let mut changes = ChangeSet::default();
        for row in 0_u32..300 {
            changes.keys.push(Some(format!("a key of more than sixteen bytes, {}", row * 7 % 5).as_bytes()));
            changes.values.push(Some(&row.to_be_bytes()));
        }
        let order: Vec<u32> = key_order(&changes).collect();
        let key = |row: u32| changes.keys.get(row).unwrap();
        assert!(order.is_sorted_by(|&a, &b| (key(a), a) < (key(b), b)));
    }
}
