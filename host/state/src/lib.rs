#![doc = include_str!("../README.md")]

mod directory;
mod options;
mod store;

pub use directory::{StateDir, socket_path, store_path};
pub use store::RocksStore;
