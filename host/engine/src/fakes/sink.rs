use super::{Chance, Life};
use crate::ports::{Sink, SinkError};
use millstream_model::record::RecordBatch;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: usize,
}

/// A file: outlives processes.
#[derive(Debug, Default)]
pub struct FakeFile(Mutex<Content>);

impl FakeFile {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine loses power: what was not made durable is cut somewhere.
    pub fn lose_power(&self, chance: &mut Chance) {
        let mut content = self.lock();
        let length = content.durable + chance.below((content.bytes.len() - content.durable) as u64 + 1) as usize;
        content.bytes.truncate(length);
        content.durable = length;
    }

    /// The first `length` bytes.
    #[must_use]
    pub fn bytes(&self, length: u64) -> Vec<u8> {
        let content = self.lock();
        content.bytes.get(..length as usize).unwrap_or(&content.bytes).to_vec()
    }
}

/// A process's hands on a [`FakeFile`]: one line a record, key, a space and the value.
pub struct FakeSink {
    file: Arc<FakeFile>,
    life: Life,
}

impl FakeSink {
    /// The file as a process with this life has it.
    #[must_use]
    pub fn new(file: &Arc<FakeFile>, life: &Life) -> Self {
        Self { file: Arc::clone(file), life: life.clone() }
    }

    fn live(&self) -> Result<(), SinkError> {
        if self.life.step() { Ok(()) } else { Err(failed("the process is dead")) }
    }
}

fn failed(reason: &str) -> SinkError {
    SinkError { sink: "file".to_owned(), reason: reason.to_owned() }
}

impl Sink for FakeSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        for row in 0..batch.len() as u32 {
            self.live()?;
            let mut content = self.file.lock();
            content.bytes.extend_from_slice(batch.keys.get(row).unwrap_or_default());
            content.bytes.push(b' ');
            content.bytes.extend_from_slice(batch.values.get(row).unwrap_or_default());
            content.bytes.push(b'\n');
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<u64, SinkError> {
        self.live()?;
        let mut content = self.file.lock();
        content.durable = content.bytes.len();
        let length = content.durable as u64;
        drop(content);
        self.live()?;
        Ok(length)
    }

    fn recover(&mut self, committed_length: u64) -> Result<(), SinkError> {
        self.live()?;
        let mut content = self.file.lock();
        let length = committed_length as usize;
        if content.bytes.len() < length {
            return Err(failed("the file is shorter than what was committed"));
        }
        content.bytes.truncate(length);
        content.durable = length;
        Ok(())
    }
}
