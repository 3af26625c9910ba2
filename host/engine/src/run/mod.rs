//! A run: workers and the committer put together from a plan and its ports, from taking the pipeline over to the last commit.

pub mod board;
mod control;

pub use board::Board;
pub use control::Control;
