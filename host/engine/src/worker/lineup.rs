use crate::swap::plan::OlderVersions;
use crate::task::TaskParts;
use millstream_model::plan::Plan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who plays: the pipeline with the versions of its operators that run, and what their tasks are made of. Workers and the committer each have theirs, so that an epoch
/// can be committed under one while the next runs under another.
pub struct Lineup {
    /// The pipeline.
    pub plan: Arc<Plan>,
    /// In the order of the plan.
    pub operators: Vec<Arc<TaskParts>>,
    /// Versions of stored values that may lie about, by operator id; of operators that the pipeline no longer has as well.
    pub older_versions: BTreeMap<String, OlderVersions>,
}
