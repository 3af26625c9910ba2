//! Sources and sinks against real files, pipes and the port's contract.

mod file_sink;
mod file_source;
mod nexmark;
mod standard;
mod support;
