use millstream_model::ids::PartitionIndex;

/// Which partitions of a source belong to a worker: every `workers`-th, beginning with the `worker`-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Number of the worker, from 0.
    pub worker: u32,
    /// How many workers there are.
    pub workers: u32,
    /// Position of the source's first partition among all partitions of the pipeline; the others follow.
    pub first: PartitionIndex,
}

impl Share {
    /// All partitions of a pipeline with one source and one worker.
    #[must_use]
    pub fn whole() -> Self {
        Self { worker: 0, workers: 1, first: PartitionIndex(0) }
    }

    /// Places of this worker's partitions in the source's list of `count`, each with its index in the pipeline.
    pub(crate) fn places(self, count: usize) -> impl Iterator<Item = (usize, PartitionIndex)> {
        let step = self.workers.max(1) as usize;
        (self.worker as usize..count).step_by(step).map(move |at| (at, PartitionIndex(self.first.0 + at as u32)))
    }
}
