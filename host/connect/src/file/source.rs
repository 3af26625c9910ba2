use super::FileSet;
use super::partition::{Partition, Sizes, fingerprint};
use crate::block::Block;
use crate::format::Found;
use crate::{Error, LineFormat, Share};
use millstream_engine::ports::{Clock, PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::PartitionPosition;
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;

/// Files looked at in a poll that brings nothing.
const LOOKS_PER_POLL: usize = 16;
/// Wait when no followed file has grown.
const WAIT_MS: u64 = 5;

/// How files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSourceSettings {
    /// Id in the pipeline file.
    pub source_id: String,
    /// How lines become records.
    pub format: LineFormat,
    /// Whether to wait for more at the end of a file. Else the source ends when all files have been read, and a last line without a newline is a record.
    pub follow: bool,
    /// What to do about a file that the newest commit names and that is gone.
    pub missing_file: MissingFile,
    /// Length of a line, in bytes; a longer one stops the pipeline.
    pub record_bytes_max: usize,
    /// Bytes read at once.
    pub block_bytes: usize,
}

impl FileSourceSettings {
    /// The defaults: plain lines, up to their end, a missing file stops, lines of up to 16 MiB.
    #[must_use]
    pub fn new(source_id: &str) -> Self {
        Self {
            source_id: source_id.to_owned(),
            format: LineFormat::Lines,
            follow: false,
            missing_file: MissingFile::Stop,
            record_bytes_max: 16 << 20,
            block_bytes: 256 << 10,
        }
    }
}

/// What to do about a file that the newest commit names and that is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingFile {
    /// Nobody knows whether it was read to its end: stop.
    #[default]
    Stop,
    /// Warn and go on without it.
    Skip,
}

/// A worker's files. Offsets are bytes from the beginning of the file to that of the line.
pub struct FileSource {
    settings: FileSourceSettings,
    files: Arc<FileSet>,
    clock: Arc<dyn Clock>,
    partitions: Vec<Partition>,
    progress: Vec<PartitionProgress>,
    /// The partition that `block` is of.
    at: usize,
    block: Block,
    found: Found,
}

impl FileSource {
    /// A worker's part of the files.
    #[must_use]
    pub fn new(settings: FileSourceSettings, files: Arc<FileSet>, share: Share, clock: Arc<dyn Clock>) -> Self {
        let (mut partitions, mut progress) = (Vec::new(), Vec::new());
        for (place, index) in share.places(files.len()) {
            let Some((number, path)) = files.get(place) else { continue };
            tracing::info!(source = settings.source_id, partition = number, file = %path.display(), "reads a file");
            partitions.push(Partition::new(path));
            progress.push(at_start(index, number));
        }
        // So that the first turn is the first file's.
        let at = partitions.len().saturating_sub(1);
        let (block, found) = (Block::default(), Found::default());
        Self { settings, files, clock, partitions, progress, at, block, found }
    }

    /// Takes lines of the block as records.
    fn take_lines(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<usize, Error> {
        let before = batch.len();
        let (Some(partition), Some(progress)) = (self.partitions.get_mut(self.at), self.progress.get_mut(self.at))
        else {
            return Ok(0);
        };
        let mut bytes = batch.bytes_len();
        while batch.len() < limits.rows_max {
            let Some(line) = self.block.line() else { break };
            let limit = self.settings.record_bytes_max;
            if line.content.len() > limit {
                return Err(Error::LongLine { path: partition.path().to_owned(), offset: progress.next, limit });
            }
            self.settings.format.find(line.content, &mut self.found);
            let key = self.found.has_key.then_some(self.found.key.as_slice());
            bytes += line.content.len() + key.map_or(0, <[u8]>::len);
            if bytes > limits.bytes_max && !batch.is_empty() {
                break;
            }
            if !self.found.is_complete && !std::mem::replace(&mut partition.has_warned, true) {
                warn_once(&self.settings, partition, progress.next);
            }
            let timestamp_ms = self.found.timestamp_ms.unwrap_or(partition.modified_ms);
            let origin = Origin { partition: progress.index, offset: progress.next };
            batch.push(key, Some(line.content), timestamp_ms, origin);
            if progress.next == 0 {
                progress.leader_epoch = fingerprint(line.whole);
            }
            progress.next += line.whole.len() as i64;
            progress.timestamp_ms_max = progress.timestamp_ms_max.max(Some(timestamp_ms));
            let length = line.whole.len();
            self.block.pass(length);
        }
        Ok(batch.len() - before)
    }

    /// Goes on to the next file that has not ended. False if there is none.
    fn turn(&mut self) -> bool {
        let count = self.partitions.len();
        self.block.clear();
        if let (Some(partition), Some(progress)) = (self.partitions.get(self.at), self.progress.get_mut(self.at)) {
            progress.ended = partition.has_ended;
        }
        for _ in 0..count {
            self.at = (self.at + 1) % count;
            if self.partitions.get(self.at).is_some_and(|partition| !partition.has_ended) {
                return true;
            }
        }
        false
    }

    /// Loads a block of the file whose turn it is.
    fn load(&mut self) -> Result<(), Error> {
        let (Some(partition), Some(progress)) = (self.partitions.get_mut(self.at), self.progress.get_mut(self.at))
        else {
            return Ok(());
        };
        let sizes =
            Sizes { block_bytes: self.settings.block_bytes.max(1), record_bytes_max: self.settings.record_bytes_max };
        let loaded = partition.load(progress.next, &mut self.block, sizes)?;
        progress.end = i64::try_from(loaded.length).unwrap_or(i64::MAX);
        if loaded.is_end && !self.settings.follow {
            partition.has_ended = true;
            self.block.finish();
        }
        Ok(())
    }

    fn poll_files(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, Error> {
        let looks = if self.settings.follow { LOOKS_PER_POLL } else { self.partitions.len() };
        for _ in 0..looks.min(self.partitions.len()) {
            // What is left in the block did not fit into the batch.
            if self.take_lines(batch, limits)? > 0 || self.block.line().is_some() {
                return Ok(Poll::Some);
            }
            if !self.turn() {
                return Ok(Poll::End);
            }
            self.load()?;
        }
        if self.take_lines(batch, limits)? > 0 {
            return Ok(Poll::Some);
        }
        if self.partitions.iter().all(|partition| partition.has_ended) {
            return Ok(Poll::End);
        }
        if self.settings.follow {
            self.clock.pause(WAIT_MS);
        }
        Ok(Poll::Some)
    }

    fn go_to(&mut self, positions: &[PartitionPosition]) -> Result<(), Error> {
        self.block.clear();
        for position in positions {
            if !self.files.iter().any(|(number, _)| number == position.partition) {
                self.miss(position)?;
            }
        }
        for (partition, progress) in self.partitions.iter_mut().zip(&mut self.progress) {
            partition.has_ended = false;
            let start = at_start(progress.index, progress.partition);
            let Some(position) = positions.iter().find(|position| position.partition == progress.partition) else {
                *progress = start;
                continue;
            };
            partition.verify(position, self.settings.follow)?;
            *progress = PartitionProgress {
                next: position.next,
                leader_epoch: position.leader_epoch,
                timestamp_ms_max: position.timestamp_ms_max,
                ..start
            };
        }
        Ok(())
    }

    fn miss(&self, position: &PartitionPosition) -> Result<(), Error> {
        let (partition, offset) = (position.partition, position.next);
        if self.settings.missing_file == MissingFile::Stop {
            return Err(Error::Missing { partition, offset, pattern: self.files.pattern().to_owned() });
        }
        tracing::warn!(source = self.settings.source_id, partition, offset, "a file is gone; goes on without it");
        Ok(())
    }
}

fn at_start(index: PartitionIndex, partition: i32) -> PartitionProgress {
    PartitionProgress { index, partition, next: 0, leader_epoch: -1, timestamp_ms_max: None, end: -1, ended: false }
}

fn warn_once(settings: &FileSourceSettings, partition: &Partition, offset: i64) {
    tracing::warn!(
        source = settings.source_id,
        file = %partition.path().display(),
        offset,
        "a line is not JSON or lacks the key or timestamp; such records get a null key and the file's time; told once per file"
    );
}

impl Source for FileSource {
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError> {
        self.poll_files(batch, limits).map_err(|error| error.of_source(&self.settings.source_id))
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        self.go_to(positions).map_err(|error| error.of_source(&self.settings.source_id))
    }
}
