//! Planted bugs of stores and files.

use crate::mutants::Mutant;
use millstream_engine::fakes::{FakeFile, FakeSink, FakeState};
use millstream_engine::ports::{CellRange, ChangeSet, Meta, Sink, SinkError, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use millstream_model::record::RecordBatch;
use std::sync::Arc;

/// A store that is written otherwise than the protocol says.
pub(crate) struct MutantState {
    mutant: Mutant,
    state: FakeState,
}

impl MutantState {
    pub(crate) fn new(mutant: Mutant, state: FakeState) -> Self {
        Self { mutant, state }
    }
}

impl StateBackend for MutantState {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        self.state.read(keys, values)
    }

    fn range(&self, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        self.state.range(range, visit)
    }

    fn write(&self, changes: &[ChangeSet], meta: &[(Meta, Option<&[u8]>)], sync: bool) -> Result<(), StateError> {
        match self.mutant {
            Mutant::RestoreUnmarked => {
                let meta: Vec<_> = meta.iter().filter(|(name, _)| *name != Meta::Restoring).copied().collect();
                self.state.write(changes, &meta, sync)
            }
            Mutant::ApplyInTwoWrites if !changes.is_empty() && !meta.is_empty() => {
                self.state.write(changes, &[], sync)?;
                self.state.write(&[], meta, sync)
            }
            Mutant::CommitUnsynced if matches!(meta, [(Meta::Applied, Some(_))]) => {
                self.state.write(changes, meta, false)
            }
            _ => self.state.write(changes, meta, sync),
        }
    }

    fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StateError> {
        self.state.meta(name)
    }

    fn clear(&self) -> Result<(), StateError> {
        self.state.clear()
    }
}

/// A file that is not what it says.
pub(crate) struct MutantSink {
    mutant: Mutant,
    sink: FakeSink,
    file: Arc<FakeFile>,
}

impl MutantSink {
    pub(crate) fn new(mutant: Mutant, sink: FakeSink, file: &Arc<FakeFile>) -> Self {
        Self { mutant, sink, file: Arc::clone(file) }
    }
}

impl Sink for MutantSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.sink.write(batch)
    }

    fn prepare(&mut self) -> Result<u64, SinkError> {
        if self.mutant == Mutant::SinkNotDurable {
            return Ok(self.file.bytes(u64::MAX).len() as u64);
        }
        self.sink.prepare()
    }

    fn recover(&mut self, committed_length: u64) -> Result<(), SinkError> {
        if self.mutant == Mutant::SinkNotCutOff { Ok(()) } else { self.sink.recover(committed_length) }
    }
}
