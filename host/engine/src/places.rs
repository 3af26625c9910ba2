//! Where records come from, in words.

use millstream_model::ids::PartitionIndex;
use millstream_model::record::Origin;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Which source and partition each [`PartitionIndex`] stands for, as far as it is known: what people are told of where a record comes from. Shared
/// by all workers; written when a partition turns up, read for dead letters, log lines and errors.
#[derive(Debug, Default)]
pub struct Places(RwLock<BTreeMap<PartitionIndex, (Arc<str>, i32)>>);

/// Where a record comes from, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Id of the source; `timer` if a timer made it, `unknown` if its partition has not turned up.
    pub source: Arc<str>,
    /// Number of the partition within the source, -1 if unknown.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

impl Places {
    /// Makes a partition known.
    pub fn insert(&self, index: PartitionIndex, source: &str, partition: i32) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(index, (source.into(), partition));
    }

    /// Where a record comes from.
    #[must_use]
    pub fn of(&self, origin: Origin) -> Place {
        if origin == Origin::TIMER {
            return Place { source: "timer".into(), partition: -1, offset: -1 };
        }
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (source, partition) = known.get(&origin.partition).cloned().unwrap_or_else(|| ("unknown".into(), -1));
        Place { source, partition, offset: origin.offset }
    }
}
