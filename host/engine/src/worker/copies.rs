use super::{Part, WorkerError};
use millstream_model::plan::Plan;
use std::collections::BTreeMap;

/// A digest of a worker's copy of a broadcast state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCopy {
    /// Position of the operator in the plan.
    pub operator: usize,
    /// Position of the state in its descriptor.
    pub state: u32,
    /// Equal for equal entries.
    pub digest: u64,
}

/// Whether all workers that have looked at a broadcast state hold the same at a cut. They do if an operator does the same with the same records; one that ran out of time on one
/// worker alone, or asked for random numbers, has not.
///
/// # Errors
/// [`WorkerError::CopiesDiffer`] for the first state of which they do not.
pub fn check_copies(plan: &Plan, parts: &[Part]) -> Result<(), WorkerError> {
    let mut first = BTreeMap::new();
    for part in parts {
        for copy in &part.copies {
            let (other, digest) = *first.entry((copy.operator, copy.state)).or_insert((part.worker, copy.digest));
            if digest == copy.digest {
                continue;
            }
            let node = plan.operators.get(copy.operator);
            let state = node.and_then(|node| node.descriptor.states.get(copy.state as usize));
            return Err(WorkerError::CopiesDiffer {
                operator: node.map(|node| node.id.clone()).unwrap_or_default(),
                state: state.map(|state| state.name.clone()).unwrap_or_default(),
                worker: part.worker,
                other,
            });
        }
    }
    Ok(())
}
