use millstream_engine::ports::StateError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The directory of a pipeline: `<state.dir>/<id>`. While this value lives no other process can have it.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked; the lock goes with the process, however it ends.
    _lock: File,
}

impl StateDir {
    /// Takes the directory of pipeline `id`, made if it is not there.
    ///
    /// # Errors
    /// When another process has it, when it belongs to another pipeline, or cannot be used.
    pub fn take(base: &Path, id: &str) -> Result<Self, StateError> {
        let path = base.join(id);
        let error = |reason: String| StateError { path: path.display().to_string(), reason };
        std::fs::create_dir_all(&path).map_err(|cause| {
            error(format!("the directory cannot be made: {cause}; set `state.dir` to one that can be written"))
        })?;
        let lock_path = path.join("lock");
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path).map_err(
                |cause| error(format!("`lock` cannot be opened: {cause}; set `state.dir` to one that can be written")),
            )?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
                return Err(error(format!(
                    "pipeline `{id}` is already running as process {pid}: end that process first, or give this pipeline another `id`"
                )));
            }
            Err(TryLockError::Error(cause)) => {
                return Err(error(format!(
                    "`lock` cannot be locked: {cause}; network file systems without locks will not do"
                )));
            }
        }
        let noted = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
        noted.map_err(|cause| error(format!("`lock` cannot be written: {cause}")))?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store lies.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        store_path(&self.path)
    }

    /// Where the running process listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_path(&self.path)
    }
}

/// Where the store of a pipeline's directory lies.
#[must_use]
pub fn store_path(directory: &Path) -> PathBuf {
    directory.join("db")
}

/// Where the process of a pipeline's directory listens.
#[must_use]
pub fn socket_path(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}
