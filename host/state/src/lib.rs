#![doc = include_str!("../README.md")]

mod batch;
mod checkpoint;
mod directory;
mod error;
mod faults;
mod identity;
mod options;
mod seal;
mod sizes;
mod store;

pub use checkpoint::{Checkpoint, CheckpointFile, CheckpointSettings, CheckpointStore, Listed, RocksCheckpoints};
pub use directory::{StateDir, checkpoints_path, socket_path, store_path};
pub use error::Error;
pub use sizes::StoreSizes;
pub use store::RocksStore;
