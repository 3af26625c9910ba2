//! What the engine needs of the world; every trait has its real implementation in one crate below `app` and a fake beside it here.

mod checkpoint;
mod clock;
mod log;
mod lookout;
mod operator;
mod sink;
mod source;
mod state;

pub use checkpoint::{CheckpointDone, CheckpointError, CheckpointKind, CheckpointTaken, Checkpoints};
pub use clock::{Clock, SystemClock};
pub use log::{CommitsKey, LogError, LogErrorKind, TransactionLog};
pub use lookout::{CommitsReader, RecordSizes, RecordSizesReader};
pub use operator::{CallError, OldValues, OpenError, Operator, OperatorFactory};
pub use sink::{Sink, SinkError};
pub use source::{EventTime, PartitionProgress, Poll, Source, SourceError};
pub use state::{CellRange, ChangeSet, Meta, StateBackend, StateError, prefix_end};
