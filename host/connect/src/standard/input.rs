use crate::block::Block;
use crate::format::Found;
use crate::{Error, LineFormat, Share};
use millstream_engine::ports::{PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::PartitionPosition;
use millstream_model::limits::BatchLimits;
use millstream_model::record::{Origin, RecordBatch};
use std::io::Read;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

const BLOCK_BYTES: usize = 64 << 10;
/// Blocks read ahead.
const BLOCKS_AHEAD: usize = 16;
const WAIT: Duration = Duration::from_millis(5);

/// How standard input is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinSettings {
    /// Id in the pipeline file.
    pub source_id: String,
    /// How lines become records.
    pub format: LineFormat,
    /// Time of records without one of their own, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Length of a line, in bytes; a longer one stops the pipeline.
    pub record_bytes_max: usize,
    /// Bytes kept until they are committed, in case an epoch fails; reading pauses there.
    pub kept_bytes_max: usize,
}

impl StdinSettings {
    /// The defaults: plain lines of up to 16 MiB, 256 MiB kept.
    #[must_use]
    pub fn new(source_id: &str, timestamp_ms: i64) -> Self {
        let format = LineFormat::Lines;
        Self {
            source_id: source_id.to_owned(),
            format,
            timestamp_ms,
            record_bytes_max: 16 << 20,
            kept_bytes_max: 256 << 20,
        }
    }
}

/// Lines of standard input, partition 0. Within one process an epoch that fails is read again; what a process that died had read is gone.
///
/// Offsets are bytes, and go on from run to run where the commits of the pipeline left off.
pub struct StdinSource {
    settings: StdinSettings,
    /// Empty for all workers but one.
    progress: Vec<PartitionProgress>,
    blocks: Receiver<std::io::Result<Vec<u8>>>,
    has_ended: bool,
    /// Bytes taken and not committed; they end at `next`.
    kept: Vec<u8>,
    /// Bytes not taken.
    block: Block,
    found: Found,
    /// Whether a position has been given or a line read.
    has_begun: bool,
}

impl StdinSource {
    /// A source that reads this process's standard input; the lines go to the first worker.
    #[must_use]
    pub fn new(settings: StdinSettings, share: Share) -> Self {
        Self::reading(settings, share, std::io::stdin())
    }

    /// A source that reads from somewhere else.
    #[must_use]
    pub fn reading(settings: StdinSettings, share: Share, input: impl Read + Send + 'static) -> Self {
        let (sender, blocks) = sync_channel(BLOCKS_AHEAD);
        let is_reader = share.worker == 0;
        if is_reader {
            // A read of a terminal or pipe can wait for ever, and a worker must not. The thread ends with the input, or with the process.
            std::thread::spawn(move || read_all(input, &sender));
        }
        let start = PartitionProgress {
            index: share.first,
            partition: 0,
            next: 0,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end: -1,
            ended: false,
        };
        Self {
            settings,
            progress: if is_reader { vec![start] } else { Vec::new() },
            blocks,
            has_ended: !is_reader,
            kept: Vec::new(),
            block: Block::default(),
            found: Found::default(),
            has_begun: false,
        }
    }

    fn take_lines(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<usize, Error> {
        let before = batch.len();
        let Some(progress) = self.progress.first_mut() else { return Ok(0) };
        let mut bytes = batch.bytes_len();
        while batch.len() < limits.rows_max {
            let Some(line) = self.block.line() else { break };
            let limit = self.settings.record_bytes_max;
            if line.content.len() > limit {
                return Err(long_line(progress.next, limit));
            }
            self.settings.format.find(line.content, &mut self.found);
            let key = self.found.has_key.then_some(self.found.key.as_slice());
            bytes += line.content.len() + key.map_or(0, <[u8]>::len);
            if bytes > limits.bytes_max && !batch.is_empty() {
                break;
            }
            let timestamp_ms = self.found.timestamp_ms.unwrap_or(self.settings.timestamp_ms);
            let origin = Origin { partition: progress.index, offset: progress.next };
            batch.push(key, Some(line.content), timestamp_ms, origin);
            self.kept.extend_from_slice(line.whole);
            progress.next += line.whole.len() as i64;
            progress.timestamp_ms_max = progress.timestamp_ms_max.max(Some(timestamp_ms));
            let length = line.whole.len();
            self.block.pass(length);
        }
        Ok(batch.len() - before)
    }

    /// Takes another block from the reading thread, if one comes.
    fn receive(&mut self) -> Result<(), Error> {
        match self.blocks.recv_timeout(WAIT) {
            Ok(Ok(bytes)) => {
                self.block.append(&bytes);
                let limit = self.settings.record_bytes_max;
                let next = self.progress.first().map_or(0, |progress| progress.next);
                if self.block.rest().len() > limit && self.block.line().is_none() {
                    return Err(long_line(next, limit));
                }
            }
            Ok(Err(reason)) => return Err(Error::Standard { stream: "input", reason: reason.to_string() }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.block.finish();
                self.has_ended = self.block.line().is_none();
            }
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "its reader goes by the machine, too; nothing else is to be done meanwhile"
    )]
    fn poll_lines(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, Error> {
        self.has_begun = true;
        if self.kept.len() >= self.settings.kept_bytes_max {
            std::thread::sleep(WAIT);
            return Ok(Poll::Some);
        }
        if !self.has_ended && self.take_lines(batch, limits)? == 0 {
            self.receive()?;
            self.take_lines(batch, limits)?;
        }
        Ok(if self.has_ended { Poll::End } else { Poll::Some })
    }

    fn go_to(&mut self, positions: &[PartitionPosition]) -> Result<(), Error> {
        let Some(progress) = self.progress.first_mut() else { return Ok(()) };
        let from = progress.next - self.kept.len() as i64;
        let to = positions.iter().find(|position| position.partition == 0);
        if !std::mem::replace(&mut self.has_begun, true) {
            // A new process: its first line follows what the pipeline has committed before.
            progress.next = to.map_or(0, |position| position.next);
            progress.timestamp_ms_max = to.and_then(|position| position.timestamp_ms_max);
            return Ok(());
        }
        let next = to.map_or(from, |position| position.next);
        let again = usize::try_from(next - from).ok().and_then(|at| self.kept.get(at..));
        let Some(again) = again else {
            let reason = format!("what was read cannot be read again from byte {next}; it is kept from byte {from} on");
            return Err(Error::Standard { stream: "input", reason });
        };
        let mut bytes = again.to_vec();
        bytes.extend_from_slice(self.block.rest());
        self.kept.truncate(self.kept.len() - again.len());
        self.block.clear();
        self.block.append(&bytes);
        progress.next = next;
        progress.timestamp_ms_max = to.and_then(|position| position.timestamp_ms_max);
        self.has_ended = false;
        Ok(())
    }
}

fn read_all(mut input: impl Read, blocks: &SyncSender<std::io::Result<Vec<u8>>>) {
    loop {
        let mut bytes = vec![0; BLOCK_BYTES];
        let block = match input.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                bytes.truncate(count);
                Ok(bytes)
            }
            Err(reason) if reason.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(reason) => Err(reason),
        };
        let is_last = block.is_err();
        if blocks.send(block).is_err() || is_last {
            return;
        }
    }
}

fn long_line(offset: i64, limit: usize) -> Error {
    Error::LongLine { path: PathBuf::from("standard input"), offset, limit }
}

impl Source for StdinSource {
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError> {
        self.poll_lines(batch, limits).map_err(|error| error.of_source(&self.settings.source_id))
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        self.go_to(positions).map_err(|error| error.of_source(&self.settings.source_id))
    }

    fn committed(&mut self, positions: &[PartitionPosition]) {
        let (Some(progress), Some(position)) = (self.progress.first(), positions.first()) else { return };
        let ahead = usize::try_from(progress.next - position.next).unwrap_or(0);
        self.kept.drain(..self.kept.len().saturating_sub(ahead));
    }
}
