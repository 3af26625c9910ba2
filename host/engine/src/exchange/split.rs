use millstream_model::key_group::key_group;
use millstream_model::record::RecordBatch;

/// Sorts the rows of a batch by the worker that owns their key; a null key is owned like an empty one. `rows` has one list per worker and keeps its memory.
pub fn split_rows(batch: &RecordBatch, rows: &mut [Vec<u32>]) {
    let workers = rows.len() as u32;
    rows.iter_mut().for_each(Vec::clear);
    for row in 0..batch.len() as u32 {
        let owner = key_group(batch.keys.get(row).unwrap_or_default()).part_of(workers);
        if let Some(own) = rows.get_mut(owner as usize) {
            own.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use millstream_model::record::Origin;

    #[test]
    fn every_row_has_one_owner_and_equal_keys_have_the_same() {
        let mut batch = RecordBatch::default();
        for number in 0..1_000 {
            let key = format!("key-{}", number % 37);
            batch.push(Some(key.as_bytes()), None, 0, Origin::default());
        }
        for workers in 1..5 {
            let mut rows = vec![Vec::new(); workers];
            split_rows(&batch, &mut rows);
            let mut all: Vec<u32> = rows.concat();
            all.sort_unstable();
            assert_eq!(all, (0..1_000).collect::<Vec<_>>());
            for (worker, own) in rows.iter().enumerate() {
                assert!(own.is_sorted());
                for row in own {
                    assert!(rows.iter().enumerate().all(|(other, rows)| {
                        other == worker || rows.iter().all(|o| batch.keys.get(*o) != batch.keys.get(*row))
                    }));
                }
            }
            assert!(workers == 1 || rows.iter().filter(|own| !own.is_empty()).count() > 1, "{:?}", rows[0].len());
        }
    }
}
