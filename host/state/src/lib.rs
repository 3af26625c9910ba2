#![doc = include_str!("../README.md")]

mod batch;
mod checkpoint;
mod directory;
mod error;
mod faults;
mod identity;
mod modules;
mod options;
mod seal;
mod sizes;
mod store;

pub use checkpoint::{Checkpoint, CheckpointFile, CheckpointSettings, CheckpointStore, Listed, RocksCheckpoints};
pub use directory::{StateDir, address_path, checkpoints_path, socket_path, store_path, token_path};
pub use error::Error;
pub use modules::ModuleDirectory;
pub use sizes::StoreSizes;
pub use store::RocksStore;
