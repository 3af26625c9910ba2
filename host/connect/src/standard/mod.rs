//! Standard input and output: for trying things out. What was read cannot be read again by the next process, and what was written cannot be taken back.

mod input;
mod output;

pub use input::{StdinSettings, StdinSource};
pub use output::StdoutSink;
