use super::marker::Marker;
use crate::format::encode;
use crate::{Error, SinkFormat};
use millstream_engine::ports::{Sink, SinkError};
use millstream_model::record::RecordBatch;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BLOCK_BYTES: usize = 256 << 10;

/// Where and how a file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSinkSettings {
    /// The pipeline's id.
    pub pipeline: String,
    /// Id in the pipeline file.
    pub sink_id: String,
    /// The file. Its directory has to be there.
    pub path: PathBuf,
    /// How records become lines.
    pub format: SinkFormat,
}

/// A file that only ever grows by whole epochs: what is behind the committed length is cut off by `recover`.
pub struct FileSink {
    settings: FileSinkSettings,
    file: File,
    marker: Marker,
    /// Bytes written and gathered; the length of the file once `block` is written.
    length: u64,
    block: Vec<u8>,
    /// Whether the last `prepare` since the last `recover` has told of content.
    has_prepared: bool,
    /// Whether the marker is there.
    is_marked: bool,
    /// Why what is in the file is not known; `recover` may heal it.
    failed: Option<String>,
    /// Why the disk cannot be relied on; nothing heals it.
    poisoned: Option<String>,
}

impl FileSink {
    /// Opens the file, or makes an empty one, and keeps every other writer out. Call `recover` before anything else.
    ///
    /// # Errors
    /// When it cannot be opened or made, or another process writes it.
    pub fn open(settings: FileSinkSettings) -> Result<Self, SinkError> {
        let sink = settings.sink_id.clone();
        Self::open_file(settings).map_err(|error| error.of_sink(&sink))
    }

    fn open_file(settings: FileSinkSettings) -> Result<Self, Error> {
        let path = &settings.path;
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Error::NotAFile { path: path.clone() });
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(Error::io("open or create", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: path.clone() }),
            Err(TryLockError::Error(reason)) => return Err(Error::io("lock", path)(reason)),
        }
        let length = length(&file, path)?;
        let marker = Marker::beside(path, &settings.pipeline);
        if length == 0 {
            // The file's name has to be as durable as what will be in it.
            sync_folder(path)?;
        }
        let block = Vec::with_capacity(BLOCK_BYTES);
        let (failed, poisoned) = (None, None);
        Ok(Self { settings, file, marker, length, block, has_prepared: false, is_marked: false, failed, poisoned })
    }

    fn check(&self) -> Result<(), Error> {
        match self.poisoned.as_ref().or(self.failed.as_ref()) {
            Some(before) => Err(Error::Poisoned { path: self.settings.path.clone(), before: before.clone() }),
            None => Ok(()),
        }
    }

    fn write_batch(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.check()?;
        let before = self.block.len();
        encode(self.settings.format, batch, &mut self.block)?;
        self.length += (self.block.len() - before) as u64;
        if self.block.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let result = self.file.write_all(&self.block).map_err(Error::io("write to", &self.settings.path));
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
        }
        self.block.clear();
        result
    }

    fn prepare_length(&mut self) -> Result<u64, Error> {
        self.check()?;
        self.flush()?;
        if let Err(reason) = self.file.sync_data() {
            let error = Error::io("sync", &self.settings.path)(reason);
            self.poisoned = Some(error.to_string());
            return Err(error);
        }
        self.has_prepared = self.length > 0;
        Ok(self.length)
    }

    fn cut_to(&mut self, committed: u64) -> Result<(), Error> {
        let path = self.settings.path.clone();
        if let Some(before) = &self.poisoned {
            return Err(Error::Poisoned { path, before: before.clone() });
        }
        self.block.clear();
        let length = length(&self.file, &path)?;
        if length < committed {
            return Err(Error::Lost { path, length, committed });
        }
        if committed == 0 {
            // Nothing is committed: only what this pipeline itself has begun may go.
            if length > 0 && !self.marker.is_of(&self.file) {
                return Err(Error::Foreign { path, length });
            }
            self.marker.write(&self.file).map_err(Error::io("write", self.marker.path()))?;
        } else {
            self.marker.remove();
        }
        self.is_marked = committed == 0;
        if length > committed {
            tracing::info!(sink = self.settings.sink_id, file = %path.display(), length, committed, "cuts off what was not committed");
        }
        let cut = self.file.set_len(committed).and_then(|()| self.file.sync_all());
        cut.and_then(|()| self.file.seek(SeekFrom::Start(committed))).map_err(Error::io("truncate", &path))?;
        (self.length, self.failed, self.has_prepared) = (committed, None, false);
        Ok(())
    }

    fn named(&self) -> impl FnOnce(Error) -> SinkError + use<> {
        let sink = self.settings.sink_id.clone();
        move |error| error.of_sink(&sink)
    }
}

fn length(file: &File, path: &Path) -> Result<u64, Error> {
    Ok(file.metadata().map_err(Error::io("look at", path))?.len())
}

/// Makes the names in a file's directory durable.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync the directory", folder))
}

impl Sink for FileSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.write_batch(batch).map_err(self.named())
    }

    fn prepare(&mut self) -> Result<u64, SinkError> {
        self.prepare_length().map_err(self.named())
    }

    fn committed(&mut self) {
        // Where nothing was in the file, the next epoch is the first one still.
        if self.has_prepared && self.is_marked {
            self.marker.remove();
            self.is_marked = false;
        }
    }

    fn recover(&mut self, committed_length: u64) -> Result<(), SinkError> {
        self.cut_to(committed_length).map_err(self.named())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use millstream_model::record::Origin;

    #[test]
    fn after_a_failed_write_nothing_is_written_until_recovered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let settings = FileSinkSettings {
            pipeline: "p".to_owned(),
            sink_id: "out".to_owned(),
            path: path.clone(),
            format: SinkFormat::Lines,
        };
        let mut sink = FileSink::open(settings).unwrap();
        sink.recover(0).unwrap();
        let mut batch = RecordBatch::default();
        batch.push(None, Some(b"one"), 0, Origin::default());
        sink.write(&batch).unwrap();
        let committed = sink.prepare().unwrap();

        // A file that was opened for reading stands for a disk that is full.
        let writable = std::mem::replace(&mut sink.file, File::open(&path).unwrap());
        sink.write(&batch).unwrap();
        let error = sink.prepare().unwrap_err().to_string();
        assert!(error.contains("cannot write to"), "{error}");
        sink.file = writable;
        for error in [sink.write(&batch).unwrap_err(), sink.prepare().unwrap_err()] {
            assert!(error.reason.contains("must not be written any more after `cannot write to"), "{error}");
        }
        sink.recover(committed).unwrap();
        sink.write(&batch).unwrap();
        assert_eq!(sink.prepare().unwrap(), 8);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\none\n");
    }
}
