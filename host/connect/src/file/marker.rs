use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A small file beside a sink's file, there from its first epoch until a commit names it. It says that everything in the sink's file was written by this pipeline, so
/// that a start without a commit may empty it, and empties nothing else that happens to have the name.
#[derive(Debug)]
pub(super) struct Marker {
    path: PathBuf,
    pipeline: String,
}

impl Marker {
    /// Of `out/counts.jsonl`: `out/.counts.jsonl.uncommitted`.
    pub(super) fn beside(path: &Path, pipeline: &str) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".uncommitted");
        Self { path: path.with_file_name(name), pipeline: pipeline.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there and speaks of this pipeline and this very file.
    pub(super) fn is_of(&self, file: &File) -> bool {
        let texts = fs::read_to_string(&self.path).ok().zip(self.text(file).ok());
        texts.is_some_and(|(written, text)| written == text)
    }

    /// Makes it, durably: it has to be there before anything is in the sink's file.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let text = self.text(file)?;
        let mut marker = File::create(&self.path)?;
        marker.write_all(text.as_bytes())?;
        marker.sync_all()?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    /// Takes it away. If that fails it stays and does no harm: the file is only emptied where no commit names it.
    pub(super) fn remove(&self) {
        if let Err(reason) = fs::remove_file(&self.path)
            && reason.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.path.display(), %reason, "cannot remove a file that is not needed any more");
        }
    }

    /// Device and inode of a file, and whose it is.
    fn text(&self, file: &File) -> io::Result<String> {
        let metadata = file.metadata()?;
        Ok(format!("{}:{} {}\n", metadata.dev(), metadata.ino(), self.pipeline))
    }
}
