//! librdkafka and nothing else: the baseline of a pipeline, and what fills topics.

mod client;
mod copy;
mod fill;

pub use copy::{Copy, copy_forever};
pub use fill::{Records, fill};
