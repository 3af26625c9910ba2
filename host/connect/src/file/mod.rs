//! Files as sources and sinks.

mod marker;
mod partition;
mod set;
mod sink;
mod source;

pub use set::FileSet;
pub use sink::{FileSink, FileSinkSettings};
pub use source::{FileSource, FileSourceSettings, MissingFile};
