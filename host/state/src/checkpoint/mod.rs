//! Durable, restorable copies of the store at a commit: see docs/decisions/0011-checkpoints.md.

mod catalog;
mod collect;
mod manifest;
mod objects;
mod restore;
mod take;

pub use catalog::Listed;
pub(crate) use manifest::hex;
pub use manifest::{Checkpoint, CheckpointFile};
pub use objects::CheckpointStore;
pub use take::{CheckpointSettings, RocksCheckpoints};
