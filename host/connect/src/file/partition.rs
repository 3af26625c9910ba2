use crate::Error;
use crate::block::Block;
use millstream_model::commit::PartitionPosition;
use millstream_model::key_group::murmur2;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Bytes of the first line that tell a file from another.
const HEAD_BYTES: usize = 1_024;

/// A file of the source.
#[derive(Debug)]
pub(super) struct Partition {
    path: PathBuf,
    /// Device and inode as first seen by this process.
    identity: Option<(u64, u64)>,
    /// When the file was last written before this process first opened it, in milliseconds since 1970.
    pub(super) modified_ms: i64,
    /// Whether it has been read to its end, and is not followed.
    pub(super) has_ended: bool,
    /// Whether a line that lacks what was asked for has been told of.
    pub(super) has_warned: bool,
}

/// What a look at a file brought.
pub(super) struct Loaded {
    /// Its length now.
    pub(super) length: u64,
    /// Whether there is nothing behind what was loaded.
    pub(super) is_end: bool,
}

impl Partition {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: None, modified_ms: 0, has_ended: false, has_warned: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file and makes sure that it is the one read so far, at least up to `offset`. A file is opened for every block, so that thousands may be read in turns.
    fn open(&mut self, offset: i64) -> Result<(File, Metadata), Error> {
        let path = &self.path;
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("look at", path))?;
        let identity = (metadata.dev(), metadata.ino());
        match self.identity {
            None => {
                self.identity = Some(identity);
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                self.modified_ms = modified.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
            }
            Some(before) if before != identity => {
                return Err(Error::Replaced { path: path.clone(), offset, sign: "another file has its name now" });
            }
            Some(_) => {}
        }
        if metadata.len() < offset as u64 {
            return Err(Error::Truncated { path: path.clone(), length: metadata.len(), offset });
        }
        Ok((file, metadata))
    }

    /// Fills the block with what lies behind `offset`: `block_bytes`, or more, up to the end of a line that is longer.
    pub(super) fn load(&mut self, offset: i64, block: &mut Block, sizes: Sizes) -> Result<Loaded, Error> {
        block.clear();
        let (file, metadata) = self.open(offset)?;
        loop {
            let position = offset as u64 + block.rest().len() as u64;
            let count = block.read(At { file: &file, position }, sizes.block_bytes);
            if count.map_err(Error::io("read", &self.path))? == 0 {
                return Ok(Loaded { length: metadata.len().max(position), is_end: true });
            }
            if block.line().is_some() {
                return Ok(Loaded { length: metadata.len(), is_end: false });
            }
            if block.rest().len() > sizes.record_bytes_max {
                return Err(Error::LongLine { path: self.path.clone(), offset, limit: sizes.record_bytes_max });
            }
        }
    }

    /// Makes sure that the file is the one that a commit's position is of.
    pub(super) fn verify(&mut self, position: &PartitionPosition, is_followed: bool) -> Result<(), Error> {
        let offset = position.next;
        if offset == 0 {
            return Ok(());
        }
        let (file, metadata) = self.open(offset)?;
        let mut before = [0];
        let replaced = |sign| Error::Replaced { path: self.path.clone(), offset, sign };
        file.read_exact_at(&mut before, offset as u64 - 1).map_err(Error::io("read", &self.path))?;
        let is_whole = metadata.len() == offset as u64 && !is_followed;
        if before != *b"\n" && !is_whole {
            return Err(replaced("no line ends there; a file must not grow behind a last line without a newline"));
        }
        let mut head = vec![0; HEAD_BYTES.min(offset as usize)];
        file.read_exact_at(&mut head, 0).map_err(Error::io("read", &self.path))?;
        if position.leader_epoch >= 0 && position.leader_epoch != fingerprint(&head) {
            return Err(replaced("its first line is another one"));
        }
        Ok(())
    }
}

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) block_bytes: usize,
    pub(super) record_bytes_max: usize,
}

/// A number for a file, made of its first line: what the leader epoch is to a Kafka partition. Not negative.
pub(super) fn fingerprint(head: &[u8]) -> i32 {
    let head = head.get(..HEAD_BYTES).unwrap_or(head);
    let line = head.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    (murmur2(line) >> 1) as i32
}

/// Reads at a position and leaves the file's own alone.
struct At<'a> {
    file: &'a File,
    position: u64,
}

impl std::io::Read for At<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(room, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
