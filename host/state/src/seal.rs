//! Notices when a piece of RocksDB's manifest is lost.
//!
//! RocksDB takes a manifest that was cut short for what a crash left: it forgets the newest files, deletes them, and goes on with older cells, under an `applied` that its log
//! may still have newer. So what the manifest held is noted beside it, in `manifest.seal`: name, length and sha256. A note is never ahead of the disk, because RocksDB
//! syncs its manifest and the note follows; a note that is behind or lost proves nothing and harms nothing.

use crate::checkpoint::hex;
use crate::faults;
use millstream_engine::ports::StateError;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const NAME: &str = "manifest.seal";

/// Follows the manifest of an open store.
pub(crate) struct Seal {
    directory: PathBuf,
    /// Its name, and how far it was read.
    manifest: String,
    length: u64,
    sum: Sha256,
}

impl Seal {
    /// Refuses a store whose manifest no longer begins with what was noted of it.
    pub(crate) fn check(directory: &Path) -> Result<(), StateError> {
        let Ok(noted) = std::fs::read_to_string(directory.join(NAME)) else { return Ok(()) };
        let mut words = noted.split_ascii_whitespace();
        let (Some(name), Some(length), Some(sum)) =
            (words.next(), words.next().and_then(|word| word.parse().ok()), words.next())
        else {
            return Ok(());
        };
        let Ok(current) = current(directory) else { return Ok(()) };
        if number(&current) > number(name) {
            // The store was opened again and its process died before it could note the new one.
            return Ok(());
        }
        let mut seal = Self { directory: directory.to_owned(), manifest: current, length: 0, sum: Sha256::new() };
        let is_whole = seal.manifest == name && seal.read_to(length).is_ok() && hex(&seal.sum.finalize()) == sum;
        if is_whole { Ok(()) } else { Err(faults::damaged(directory, &format!("`{name}` is not what RocksDB wrote"))) }
    }

    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), manifest: String::new(), length: 0, sum: Sha256::new() }
    }

    /// Notes what was added. Failing to is no fault of the store: the older note still holds.
    pub(crate) fn follow(&mut self) {
        if let Err(cause) = self.try_follow() {
            tracing::debug!(%cause, directory = %self.directory.display(), "the manifest was not noted");
        }
    }

    fn try_follow(&mut self) -> io::Result<()> {
        let length = std::fs::metadata(self.directory.join(&self.manifest)).map(|metadata| metadata.len());
        let length = match length {
            Ok(length) if !self.manifest.is_empty() && length == self.length => return Ok(()),
            Ok(length) if !self.manifest.is_empty() && length > self.length => length,
            _ => {
                (self.manifest, self.length, self.sum) = (current(&self.directory)?, 0, Sha256::new());
                std::fs::metadata(self.directory.join(&self.manifest))?.len()
            }
        };
        self.read_to(length)?;
        let (path, fresh) = (self.directory.join(NAME), self.directory.join("manifest.seal.new"));
        std::fs::write(&fresh, format!("{} {} {}\n", self.manifest, self.length, hex(&self.sum.clone().finalize())))?;
        std::fs::rename(fresh, path)
    }

    fn read_to(&mut self, length: u64) -> io::Result<()> {
        let mut file = File::open(self.directory.join(&self.manifest))?;
        file.seek(SeekFrom::Start(self.length))?;
        let wanted = length - self.length;
        let mut bytes = Vec::new();
        file.take(wanted).read_to_end(&mut bytes)?;
        self.sum.update(&bytes);
        self.length += bytes.len() as u64;
        if self.length == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// The manifest that counts.
fn current(directory: &Path) -> io::Result<String> {
    Ok(std::fs::read_to_string(directory.join("CURRENT"))?.trim_end().to_owned())
}

fn number(manifest: &str) -> Option<u64> {
    manifest.strip_prefix("MANIFEST-")?.parse().ok()
}
