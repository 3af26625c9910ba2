//! Sums over records and cells in any order, by which `verify` compares topics, changelog and commits.

use crate::ports::ChangeSet;
use millstream_model::commit::OutputTotal;
use millstream_model::record::RecordBatch;

/// Adds records to a total: see [`OutputTotal`].
pub fn sum_outputs(total: &mut OutputTotal, records: &RecordBatch) {
    for row in 0..records.len() as u32 {
        sum_output(total, records.keys.get(row), records.values.get(row));
    }
}

/// Adds one record to a total.
pub fn sum_output(total: &mut OutputTotal, key: Option<&[u8]>, value: Option<&[u8]>) {
    let sum = crc32c::crc32c_append(crc32c::crc32c(key.unwrap_or_default()), value.unwrap_or_default());
    total.records += 1;
    total.checksum = total.checksum.wrapping_add(u64::from(sum));
}

/// Sum, wrapping, of the crc32c of each cell's key and value; a removed cell counts the complement of its key's.
#[must_use]
pub fn sum_changes(changes: &ChangeSet) -> u64 {
    let cells = changes.keys.iter().zip(changes.values.iter());
    cells.fold(0u64, |sum, (key, value)| {
        let key = crc32c::crc32c(key.unwrap_or_default());
        let cell = value.map_or(!key, |value| crc32c::crc32c_append(key, value));
        sum.wrapping_add(u64::from(cell))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_model::record::Origin;

    type Record<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    fn total(records: &[Record<'_>]) -> OutputTotal {
        let mut batch = RecordBatch::default();
        records.iter().for_each(|(key, value)| batch.push(*key, *value, 0, Origin::default()));
        let mut total = OutputTotal::default();
        sum_outputs(&mut total, &batch);
        total
    }

    #[test]
    fn order_does_not_matter_and_every_record_does() {
        let (a, b) = ((Some(b"a".as_slice()), Some(b"1".as_slice())), (Some(b"b".as_slice()), None));
        assert_eq!(total(&[a, b]), total(&[b, a]));
        assert_ne!(total(&[a, b]), total(&[a, a]));
        assert_ne!(total(&[a]), total(&[a, a]));
        assert_ne!(total(&[a]).checksum, total(&[(a.0, Some(b"2"))]).checksum);
    }
}
