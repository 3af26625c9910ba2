use crate::call::Rejection;
use millstream_model::column::BytesColumn;
use millstream_model::plan::{NullKeyPolicy, OperatorNode};
use millstream_model::record::RecordBatch;

/// What the keys of a batch mean to a keyed operator, where they are not all as they should be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Rows refused.
    pub refused: Vec<Rejection>,
    /// Rows dropped by `null_key: drop`.
    pub dropped: Vec<u32>,
    /// The batch with null keys made empty ones, by `null_key: empty`.
    pub replaced: Option<RecordBatch>,
}

/// Finds the rows that may not enter a keyed operator: no key, or one that is too long. `None`: all may, the common case.
#[must_use]
pub fn admit_keys(node: &OperatorNode, batch: &RecordBatch) -> Option<Door> {
    if !node.keyed {
        return None;
    }
    let max = node.limits.key_bytes_max as usize;
    let nulls = !batch.keys.absent().is_empty();
    let long = batch.keys.bytes_len() > max && (0..batch.len() as u32).any(|row| batch.keys.value_len(row) > max);
    if !nulls && !long {
        return None;
    }
    let mut door = Door::default();
    for row in 0..batch.len() as u32 {
        match (batch.keys.get(row), node.null_key) {
            (None, NullKeyPolicy::Drop) => door.dropped.push(row),
            (None, NullKeyPolicy::Reject) => {
                let reason = "the record has no key and the operator is keyed (`null_key: drop | empty` lets it pass)";
                door.refused.push(Rejection { row, reason: reason.to_owned() });
            }
            (Some(key), _) if key.len() > max => {
                let reason = format!("the key has {} bytes, `limits.key` allows {max}", key.len());
                door.refused.push(Rejection { row, reason });
            }
            _ => {}
        }
    }
    if nulls && node.null_key == NullKeyPolicy::Empty {
        let keys: BytesColumn = batch.keys.iter().map(|key| Some(key.unwrap_or_default())).collect();
        door.replaced = Some(RecordBatch { keys, ..batch.clone() });
    }
    Some(door)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_model::limits::OperatorLimits;
    use millstream_model::record::Origin;

    fn node(null_key: NullKeyPolicy) -> OperatorNode {
        OperatorNode {
            id: "count".to_owned(),
            config: "{}".to_owned(),
            name: "count".to_owned(),
            digest: Default::default(),
            generation: Default::default(),
            descriptor: Default::default(),
            keyed: true,
            stage: 1,
            outputs: Vec::new(),
            limits: OperatorLimits { key_bytes_max: 4, ..OperatorLimits::default() },
            on_error: Default::default(),
            retries: 0,
            null_key,
            output_time: None,
            windows: None,
            late: Vec::new(),
        }
    }

    fn batch(keys: &[Option<&[u8]>]) -> RecordBatch {
        let mut batch = RecordBatch::default();
        keys.iter().for_each(|key| batch.push(*key, Some(b"v"), 0, Origin::default()));
        batch
    }

    #[test]
    fn good_keys_pass_without_a_second_look() {
        let batch = batch(&[Some(b"a"), Some(b""), Some(b"abcd")]);
        assert_eq!(admit_keys(&node(NullKeyPolicy::Reject), &batch), None);
    }

    #[test]
    fn null_keys_meet_the_policy_and_long_ones_are_refused() {
        let batch = batch(&[Some(b"a"), None, Some(b"abcde")]);
        let rows = |door: &Door| door.refused.iter().map(|refused| refused.row).collect::<Vec<_>>();
        let door = admit_keys(&node(NullKeyPolicy::Reject), &batch).unwrap();
        assert_eq!((rows(&door), door.dropped), (vec![1, 2], vec![]));
        let door = admit_keys(&node(NullKeyPolicy::Drop), &batch).unwrap();
        assert_eq!((rows(&door), door.dropped), (vec![2], vec![1]));
        let door = admit_keys(&node(NullKeyPolicy::Empty), &batch).unwrap();
        assert_eq!((rows(&door), door.dropped), (vec![2], vec![]));
        assert_eq!(door.replaced.unwrap().keys.get(1), Some(b"".as_slice()));
    }
}
