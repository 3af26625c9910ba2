//! Directories for what is measured.

use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

/// A directory in memory where there is one, so that no disk is measured. Gone when dropped.
///
/// # Errors
/// If it cannot be made.
pub fn directory() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("millstream-bench-");
    Ok(if memory.is_dir() { builder.tempdir_in(memory)? } else { builder.tempdir()? })
}
