#![doc = include_str!("../README.md")]

pub mod alone;
pub mod contract;
pub mod docs;
pub mod honest;
pub mod layers;
pub mod readme;
pub mod size;
mod source;
mod tree;

pub use tree::{Finding, Tree};
