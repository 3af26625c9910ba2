//! Changing an operator's module while the pipeline runs: what may follow what, and what becomes of stored state. Decisions only; `run`, `worker` and
//! `task` act.

pub mod sweep;
pub mod versions;
