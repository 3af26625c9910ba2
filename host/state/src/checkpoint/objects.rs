use super::manifest::{self, CheckpointFile, hex};
use crate::error::Error;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use sha2::{Digest as _, Sha256};
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read and written at a time.
const CHUNK_BYTES: usize = 8 << 20;

/// Uploads of one file under way at a time.
const UPLOADS_MAX: usize = 2;

/// Where the checkpoints of a pipeline lie.
///
/// `<name>/manifest.json` makes a checkpoint; `files/<sha256>` are the files that all of them share, so that a checkpoint adds only what is new. A copy of a
/// checkpoint is therefore a copy of its directory *and* of `files/`.
#[derive(Clone)]
pub struct CheckpointStore {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// For messages and locations.
    pub(super) root: String,
    /// The directory, if they lie in one.
    pub(super) directory: Option<PathBuf>,
}

impl CheckpointStore {
    /// Checkpoints in a directory of this machine, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made or reached.
    pub fn in_directory(directory: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(|cause| Error::disk("make directory", directory, &cause))?;
        Self::existing(directory)
    }

    /// Checkpoints in any object store; `root` names it to people.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, root: &str) -> Self {
        Self { objects, root: root.to_owned(), directory: None }
    }

    /// Takes a location apart, as `--from-checkpoint` takes it: `<directory of checkpoints>/<name>`.
    ///
    /// # Errors
    /// When there is no such directory, or the location has no name.
    pub fn locate(location: &Path) -> Result<(Self, String), Error> {
        let none = |reason: String| Error::NoCheckpoint { location: location.display().to_string(), reason };
        let full = std::fs::canonicalize(location).map_err(|cause| none(cause.to_string()))?;
        let (Some(directory), Some(name)) = (full.parent(), full.file_name().and_then(|name| name.to_str())) else {
            return Err(none("it is not the directory of a checkpoint".to_owned()));
        };
        if !full.join(manifest::NAME).is_file() {
            return Err(none(format!(
                "it has no `{}`: it was not finished, or is not a checkpoint; `millstream checkpoint list` shows those there are",
                manifest::NAME
            )));
        }
        Ok((Self::existing(directory)?, name.to_owned()))
    }

    fn existing(directory: &Path) -> Result<Self, Error> {
        // Whole, so that a location can be used wherever somebody stands.
        let full =
            std::fs::canonicalize(directory).map_err(|cause| Error::disk("look at directory", directory, &cause))?;
        let root = full.display().to_string();
        let objects = LocalFileSystem::new_with_prefix(&full).map_err(|cause| Error::Objects {
            location: root.clone(),
            doing: "open the directory".to_owned(),
            reason: cause.to_string(),
        })?;
        let objects = Arc::new(objects.with_fsync(true));
        Ok(Self { objects, root, directory: Some(full) })
    }

    /// The location of a checkpoint, as `--from-checkpoint` takes it.
    #[must_use]
    pub fn location(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    pub(super) fn failed(&self, doing: String, cause: &dyn std::fmt::Display) -> Error {
        Error::Objects { location: self.root.clone(), doing, reason: cause.to_string() }
    }

    /// Names of the checkpoints and of leftovers of such.
    pub(super) async fn names(&self) -> Result<Vec<String>, Error> {
        let listed =
            self.objects.list_with_delimiter(None).await.map_err(|cause| self.failed("list".to_owned(), &cause))?;
        let names = listed.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned));
        Ok(names.filter(|name| name != FILES).collect())
    }

    /// The manifest of a checkpoint; `None` if there is none.
    pub(super) async fn manifest(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let failed = |cause: object_store::Error| self.failed(format!("read the manifest of `{name}`"), &cause);
        match self.objects.get(&manifest_path(name)).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(failed)?.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(failed(cause)),
        }
    }

    pub(super) async fn put_manifest(&self, name: &str, text: Vec<u8>) -> Result<(), Error> {
        let put = self.objects.put(&manifest_path(name), PutPayload::from(text)).await;
        put.map(drop).map_err(|cause| self.failed(format!("write the manifest of `{name}`"), &cause))
    }

    pub(super) async fn delete(&self, path: &ObjectPath) -> Result<(), Error> {
        match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(cause) => Err(self.failed(format!("delete `{path}`"), &cause)),
        }
    }

    /// Shared files: their names.
    pub(super) async fn files(&self) -> Result<Vec<String>, Error> {
        let listed = self.objects.list_with_delimiter(Some(&ObjectPath::from(FILES))).await;
        let listed = listed.map_err(|cause| self.failed("list files".to_owned(), &cause))?;
        Ok(listed.objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    /// Uploads a file that is not there yet.
    pub(super) async fn put_file(&self, from: &Path, file: &CheckpointFile) -> Result<(), Error> {
        let to = file_path(&file.sha256);
        let failed = |cause: object_store::Error| self.failed(format!("write `{}`", file.name), &cause);
        match self.objects.head(&to).await {
            Ok(there) if there.size == file.bytes => return Ok(()),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(cause) => return Err(failed(cause)),
        }
        let mut reader = std::fs::File::open(from).map_err(|cause| Error::disk("read", from, &cause))?;
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(file.bytes).unwrap_or(CHUNK_BYTES).max(1))];
        if file.bytes <= CHUNK_BYTES as u64 {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map_err(|cause| Error::disk("read", from, &cause))?;
            return self.objects.put(&to, PutPayload::from(bytes)).await.map(drop).map_err(failed);
        }
        let upload = self.objects.put_multipart(&to).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, CHUNK_BYTES);
        loop {
            let read = reader.read(&mut chunk).map_err(|cause| Error::disk("read", from, &cause))?;
            let Some(read) = chunk.get(..read).filter(|read| !read.is_empty()) else { break };
            upload.wait_for_capacity(UPLOADS_MAX).await.map_err(failed)?;
            upload.write(read);
        }
        upload.finish().await.map(drop).map_err(failed)
    }

    /// Reads a shared file through, into `into` if given, and refuses it if it is not what it was.
    pub(super) async fn get_file(
        &self,
        checkpoint: &str,
        file: &CheckpointFile,
        mut into: Option<(&mut std::fs::File, &Path)>,
    ) -> Result<(), Error> {
        let damaged = |reason: String| Error::Damaged { location: self.location(checkpoint), reason };
        let path = file_path(&file.sha256);
        let missing = |cause: object_store::Error| match cause {
            object_store::Error::NotFound { .. } => damaged(format!("file `{}` (`{path}`) is missing", file.name)),
            cause => self.failed(format!("read `{path}`"), &cause),
        };
        let size = self.objects.head(&path).await.map_err(missing)?.size;
        if size != file.bytes {
            return Err(damaged(format!(
                "file `{}` (`{path}`) has {size} bytes, it was written with {}",
                file.name, file.bytes
            )));
        }
        let mut sum = Sha256::new();
        let mut at = 0;
        while at < size {
            let end = size.min(at + CHUNK_BYTES as u64);
            let chunk = self.objects.get_range(&path, at..end).await.map_err(missing)?;
            sum.update(&chunk);
            if let Some((to, to_path)) = &mut into {
                to.write_all(&chunk).map_err(|cause| Error::disk("write", to_path, &cause))?;
            }
            at = end;
        }
        if hex(&sum.finalize()) != file.sha256 {
            return Err(damaged(format!(
                "file `{}` (`{path}`) does not have the sha256 it was written with",
                file.name
            )));
        }
        Ok(())
    }
}

/// Where shared files lie.
pub(super) const FILES: &str = "files";

pub(super) fn file_path(sha256: &str) -> ObjectPath {
    ObjectPath::from_iter([FILES, sha256])
}

pub(super) fn manifest_path(name: &str) -> ObjectPath {
    ObjectPath::from_iter([name, manifest::NAME])
}

/// Hashes a file of this machine.
pub(super) fn hash_file(path: &Path) -> Result<(u64, String), Error> {
    let failed = |cause: std::io::Error| Error::disk("read", path, &cause);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut chunk = vec![0; 1 << 20];
    let (mut sum, mut bytes) = (Sha256::new(), 0);
    loop {
        let read = file.read(&mut chunk).map_err(failed)?;
        let Some(read) = chunk.get(..read).filter(|read| !read.is_empty()) else { break };
        sum.update(read);
        bytes += read.len() as u64;
    }
    Ok((bytes, hex(&sum.finalize())))
}

/// Runs to the end on a thread of its own, so that callers may be inside or outside of a runtime.
pub(super) fn wait<T: Send>(work: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
    let broken =
        |reason: String| Error::Objects { location: "-".to_owned(), doing: "start a runtime".to_owned(), reason };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|cause| broken(cause.to_string()))?.block_on(work)
        });
        thread.join().unwrap_or_else(|_| Err(broken("the thread died".to_owned())))
    })
}
