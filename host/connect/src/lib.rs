#![doc = include_str!("../README.md")]

mod block;
mod error;
mod file;
mod format;
mod nexmark;
mod share;
mod standard;

pub use error::Error;
pub use file::{FileSet, FileSink, FileSinkSettings, FileSource, FileSourceSettings, MissingFile};
pub use format::{EventTimeAt, LineFormat, Pointer, SinkFormat};
pub use nexmark::{NexmarkKey, NexmarkSettings, NexmarkSource};
pub use share::Share;
pub use standard::{StdinSettings, StdinSource, StdoutSink};
