use crate::properties::Properties;
use crate::start::{OnDataLoss, Start, Stop};

/// One worker's part of a topic.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The source's id in the pipeline file.
    pub id: String,
    /// Its position in the plan.
    pub index: u16,
    /// The topic.
    pub topic: String,
    /// The pipeline's id, which names the group whose offsets mirror the positions.
    pub group: String,
    /// This worker, of `workers`: it reads the partitions whose number leaves it as remainder.
    pub worker: u32,
    /// How many workers share the topic.
    pub workers: u32,
    /// Where to begin.
    pub start: Start,
    /// Where to end for good; `None` reads on.
    pub stop: Option<Stop>,
    /// What to do about lost offsets.
    pub on_data_loss: OnDataLoss,
    /// Whether records of open and aborted transactions are read as well.
    pub read_uncommitted: bool,
    /// Whether to go on although somebody has moved the group's offsets.
    pub ignore_group_offsets: bool,
}

impl SourceSettings {
    /// The consumer's properties: the user's, Millstream's own, and defaults of its own (docs/decisions/0022).
    pub(super) fn consuming(&self, properties: &Properties) -> Properties {
        let isolation = if self.read_uncommitted { "read_uncommitted" } else { "read_committed" };
        properties
            .or(&[
                ("fetch.queue.backoff.ms", "2"),
                ("queued.min.messages", "20000"),
                ("queued.max.messages.kbytes", "16384"),
                ("fetch.wait.max.ms", "50"),
            ])
            .with(&[
                ("group.id", &self.group),
                ("isolation.level", isolation),
                ("auto.offset.reset", "error"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("enable.partition.eof", "true"),
            ])
    }

    /// Whether this worker reads a partition.
    pub(super) fn owns(&self, partition: i32) -> bool {
        partition as u32 % self.workers.max(1) == self.worker
    }
}
