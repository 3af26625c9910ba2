use crate::error::Error;
use crate::identity::Identity;
use crate::modules::ModuleDirectory;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Longest path a Unix socket can be bound to, in bytes, on every system that is supported.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The directory of a pipeline: its `state.dir`. While this value lives no other process can have it.
///
/// | Entry | What |
/// |---|---|
/// | `lock` | locked by the process that runs the pipeline; holds its process id, for people |
/// | `identity.json` | the pipeline and the Kafka cluster that the directory belongs to |
/// | `db/` | the store |
/// | `checkpoints/` | checkpoints, where the pipeline file names no other place |
/// | `staging/` | a checkpoint on its way; emptied at the start |
/// | `modules/` | modules that have run, by their sha256 |
/// | `control.sock` | where the running process listens |
/// | `api.json`, `token` | where it listens for HTTP, and what opens that door; for nobody but the user who runs it |
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    id: String,
    /// Locked; the lock goes with the process, however it ends.
    _lock: File,
}

impl StateDir {
    /// Takes a directory for pipeline `id`, made if it is not there.
    ///
    /// # Errors
    /// When another process has it, when it belongs to another pipeline, or cannot be used. Nothing was changed then.
    pub fn take(path: &Path, id: &str) -> Result<Self, Error> {
        check_path(path)?;
        std::fs::create_dir_all(path).map_err(|cause| Error::disk("make directory", path, &cause))?;
        let lock = lock(path, id)?;
        let directory = Self { path: path.to_owned(), id: id.to_owned(), _lock: lock };
        Identity::check_pipeline(&directory.path, id)?;
        directory.empty_staging()?;
        Ok(directory)
    }

    /// Ties the directory to a Kafka cluster, the first time it is called; later the cluster must be the same.
    ///
    /// # Errors
    /// When the directory's state came from another cluster.
    pub fn check_cluster(&self, cluster_id: &str) -> Result<(), Error> {
        Identity::check_cluster(&self.path, &self.id, cluster_id)
    }

    /// Removes the store and what the directory knows of the cluster, so that the pipeline can begin a history of its own. Checkpoints stay.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn reset(&self) -> Result<(), Error> {
        remove_directory(&self.store())?;
        Identity::write(&self.path, &Identity::new(&self.id))
    }

    fn empty_staging(&self) -> Result<(), Error> {
        remove_directory(&self.staging())
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

    /// Modules that have run.
    #[must_use]
    pub fn modules(&self) -> ModuleDirectory {
        ModuleDirectory::new(self.path.join("modules"))
    }

    /// Where checkpoints lie if the pipeline file names no other place.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        checkpoints_path(&self.path)
    }

    /// Where a checkpoint is on its way; on the same file system as the store.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
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

/// Where the process of a pipeline's directory says at which address it listens for HTTP.
#[must_use]
pub fn address_path(directory: &Path) -> PathBuf {
    directory.join("api.json")
}

/// Where the token for that address lies.
#[must_use]
pub fn token_path(directory: &Path) -> PathBuf {
    directory.join("token")
}

/// Where the checkpoints of a pipeline's directory lie.
#[must_use]
pub fn checkpoints_path(directory: &Path) -> PathBuf {
    directory.join("checkpoints")
}

fn check_path(path: &Path) -> Result<(), Error> {
    let length = socket_path(path).as_os_str().len();
    if length > SOCKET_PATH_BYTES_MAX {
        let reason = format!(
            "with `control.sock` the path has {length} bytes, a socket's may have {SOCKET_PATH_BYTES_MAX}: set `state.dir` to a shorter one"
        );
        return Err(Error::Path { path: path.display().to_string(), reason });
    }
    Ok(())
}

fn lock(path: &Path, id: &str) -> Result<File, Error> {
    let lock_path = path.join("lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|cause| Error::disk("open", &lock_path, &cause))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Running { id: id.to_owned(), pid: holder(&mut lock), path: path.display().to_string() });
        }
        Err(TryLockError::Error(cause)) => return Err(Error::disk("lock", &lock_path, &cause)),
    }
    let noted = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
    noted.map_err(|cause| Error::disk("write", &lock_path, &cause))?;
    Ok(lock)
}

/// Who holds the lock, as it wrote there itself.
fn holder(lock: &mut File) -> String {
    let mut pid = String::new();
    match lock.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => pid.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Removes a directory and all in it, if it is there.
pub(crate) fn remove_directory(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::disk("remove", path, &cause)),
        _ => Ok(()),
    }
}

/// Makes what was made or renamed in a directory last.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|cause| Error::disk("sync", path, &cause))
}
