use super::RunError;
use crate::worker::{Part, WorkerError};
use millstream_model::commit::OperatorCommit;
use millstream_model::plan::{OperatorNode, Plan};

/// What a commit says of each operator.
///
/// # Errors
/// When the workers do not agree on the watermark of an operator that all of them hear the same of.
pub(super) fn operators(plan: &Plan, parts: &[Part]) -> Result<Vec<OperatorCommit>, RunError> {
    let marked = plan.marked();
    let operators = plan.operators.iter().zip(marked).enumerate();
    operators
        .map(|(at, (node, is_marked))| {
            let watermarks_ms = parts.iter().map(|part| part.watermarks_ms.get(at).copied().flatten());
            let watermark_ms = if is_marked { common(node, watermarks_ms.collect())? } else { None };
            Ok(OperatorCommit {
                id: node.id.clone(),
                generation: node.generation,
                digest: node.digest,
                watermark_ms,
                state_versions: node
                    .descriptor
                    .states
                    .iter()
                    .map(|state| (state.name.clone(), state.version))
                    .collect(),
            })
        })
        .collect()
}

/// Behind an exchange every worker hears every mark of an epoch, so that all are at one watermark where the epoch is cut. An operator that is not keyed hears
/// its own worker's sources only: the least of all is what is sure not to be beyond any.
fn common(node: &OperatorNode, watermarks_ms: Vec<Option<i64>>) -> Result<Option<i64>, WorkerError> {
    let least = watermarks_ms.iter().copied().min().flatten();
    if node.keyed && watermarks_ms.iter().any(|watermark_ms| *watermark_ms != least) {
        return Err(WorkerError::Disagree { operator: node.id.clone(), watermarks_ms });
    }
    Ok(least)
}
