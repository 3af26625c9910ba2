use crate::call::Rejection;
use millstream_model::column::BytesColumn;
use millstream_model::plan::{NullKeyPolicy, OperatorNode};
use millstream_model::record::RecordBatch;

/// What a keyed operator's door makes of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Rows refused.
    pub refused: Vec<Rejection>,
    /// Rows dropped by `null_key: drop`.
    pub dropped: Vec<u32>,
}

/// Finds the rows that may not enter a keyed operator: no key, or one that is too long. `None`: all may, the common case.
#[must_use]
pub fn inspect(node: &OperatorNode, batch: &RecordBatch) -> Option<Door> {
    if !node.keyed {
        return None;
    }
    let max = node.limits.key_bytes_max as usize;
    let nulls = !batch.keys.absent().is_empty() && node.null_key != NullKeyPolicy::Empty;
    let long = batch.keys.bytes_len() > max && (0..batch.len() as u32).any(|row| batch.keys.value_len(row) > max);
    if !nulls && !long {
        return None;
    }
    let mut door = Door::default();
    for row in 0..batch.len() as u32 {
        match batch.keys.get(row) {
            None if node.null_key == NullKeyPolicy::Drop => door.dropped.push(row),
            None if node.null_key == NullKeyPolicy::Reject => {
                let reason = "the record has no key and the operator is keyed (`null_key: drop | empty` lets it pass)";
                door.refused.push(Rejection { row, reason: reason.to_owned() });
            }
            Some(key) if key.len() > max => {
                let reason = format!("the key has {} bytes, `limits.key` allows {max}", key.len());
                door.refused.push(Rejection { row, reason });
            }
            _ => {}
        }
    }
    Some(door)
}

/// The batch with null keys made empty ones, for `null_key: empty`.
#[must_use]
pub fn with_empty_keys(batch: &RecordBatch) -> RecordBatch {
    let keys: BytesColumn = batch.keys.iter().map(|key| Some(key.unwrap_or_default())).collect();
    RecordBatch { keys, ..batch.clone() }
}
