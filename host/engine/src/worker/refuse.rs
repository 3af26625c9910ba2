use super::search::Portion;
use super::{Worker, WorkerError};
use crate::places::Place;
use crate::task::{DeadLetter, Firing, Provenance, admit_keys};
use crate::timers::Due;
use millstream_model::ids::SinkIndex;
use millstream_model::plan::ErrorPolicy;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;

impl Worker {
    /// Takes out of a batch what may not enter the operator: records without a key or with one that is too long, and those it has failed on before.
    pub(super) fn admit(&mut self, at: usize, whole: Portion) -> Result<Portion, WorkerError> {
        let plan = Arc::clone(&self.plan);
        let Some(node) = plan.operators.get(at) else { return Ok(whole) };
        let door = admit_keys(node, &whole.batch);
        if door.is_none() && self.verdicts.is_empty() {
            return Ok(whole);
        }
        let mut out = vec![false; whole.batch.len()];
        let mut keep_out = |row: u32| out.get_mut(row as usize).is_some_and(|out| !std::mem::replace(out, true));
        let door = door.unwrap_or_default();
        for &row in &door.dropped {
            keep_out(row);
        }
        let known = self.verdicts.known((at as u16, node.digest), &whole.batch);
        let refused = door.refused.iter().map(|refused| (refused.row, &refused.reason));
        let refused: Vec<_> = refused.chain(known.iter().map(|known| (known.row, &known.reason))).collect();
        for (row, reason) in refused {
            if keep_out(row) {
                self.refuse(at, &whole.batch, row, reason)?;
            }
        }
        if let Some(counters) = self.shared.board.operators.get(at) {
            counters.dropped.add(door.dropped.len() as u64);
        }
        let whole = match door.replaced {
            Some(batch) => Portion { batch: Arc::new(batch), ..whole },
            None => whole,
        };
        if !out.contains(&true) {
            return Ok(whole);
        }
        let left: Vec<u32> = (0u32..).zip(&out).filter(|(_, out)| !**out).map(|(row, _)| row).collect();
        Ok(whole.part(&left, false))
    }

    /// Applies the operator's error policy to a record.
    pub(super) fn refuse(&mut self, at: usize, batch: &RecordBatch, row: u32, reason: &str) -> Result<(), WorkerError> {
        self.refuse_row(at, batch, row, reason, None)
    }

    /// Applies the operator's error policy to a timer, which is gone.
    pub(super) fn refuse_timer(&mut self, at: usize, firing: &Firing, row: u32, reason: &str) -> Result<(), WorkerError> {
        let Some(due) = firing.due.get(row as usize) else { return Ok(()) };
        if let Some(task) = self.tasks.get_mut(at) {
            task.consume(due);
        }
        self.refuse_row(at, &firing.batch, row, reason, Some(due))
    }

    fn refuse_row(
        &mut self,
        at: usize,
        batch: &RecordBatch,
        row: u32,
        reason: &str,
        due: Option<&Due>,
    ) -> Result<(), WorkerError> {
        let (plan, shared) = (Arc::clone(&self.plan), Arc::clone(&self.shared));
        let Some(node) = plan.operators.get(at) else { return Ok(()) };
        let counters = shared.board.operators.get(at);
        if let Some(counters) = counters {
            counters.refused.add(1);
        }
        self.touched = true;
        match (node.on_error, plan.dead_letters) {
            (ErrorPolicy::Stop, _) => return Err(self.stopped(at, batch, row, reason.to_owned())),
            (ErrorPolicy::DeadLetter, Some(sink)) => {
                let timer = due.and_then(|due| {
                    let name = node.descriptor.timers.get(due.timer as usize)?.name.as_str();
                    Some((name, due.id, due.time_ms))
                });
                let Place { source, partition, offset } = self.place(batch, row);
                let operator = Some((node.id.as_str(), node.digest));
                let provenance = Provenance { source: &source, partition, offset, timer, operator };
                self.write_letter(sink, &DeadLetter { batch, row, reason }, &provenance);
            }
            (ErrorPolicy::Skip, _) | (ErrorPolicy::DeadLetter, None) => {
                if let Some(counters) = counters {
                    counters.dropped.add(1);
                }
                tracing::debug!(operator = node.id, reason, "record skipped");
            }
        }
        Ok(())
    }

    /// Applies a source's error policy to a record that is refused for its timestamp.
    pub(super) fn refuse_at_source(
        &mut self,
        at: usize,
        batch: &RecordBatch,
        row: u32,
        reason: &str,
    ) -> Result<(), WorkerError> {
        let plan = Arc::clone(&self.plan);
        let Some(node) = plan.sources.get(at) else { return Ok(()) };
        if let Some(counters) = self.shared.board.sources.get(at) {
            counters.refused.add(1);
        }
        self.touched = true;
        let Place { source, partition, offset } = self.place(batch, row);
        match (node.time.on_error, plan.dead_letters) {
            (ErrorPolicy::Stop, _) => {
                let (source_id, reason) = (node.id.clone(), reason.to_owned());
                return Err(WorkerError::Refused { source_id, partition, offset, reason });
            }
            (ErrorPolicy::DeadLetter, Some(sink)) => {
                let provenance = Provenance { source: &source, partition, offset, timer: None, operator: None };
                self.write_letter(sink, &DeadLetter { batch, row, reason }, &provenance);
            }
            (ErrorPolicy::Skip, _) | (ErrorPolicy::DeadLetter, None) => {
                tracing::debug!(source = node.id, partition, offset, reason, "record skipped");
            }
        }
        Ok(())
    }

    fn write_letter(&mut self, sink: SinkIndex, letter: &DeadLetter<'_>, provenance: &Provenance<'_>) {
        let max = self.shared.sink_record_bytes_max.get(sink.at()).copied().unwrap_or(usize::MAX);
        if let Some(letters) = self.outputs.get_mut(sink.at()) {
            letter.append_to(provenance, max, letters);
        }
        self.flush_full(sink.at());
    }

    fn place(&self, batch: &RecordBatch, row: u32) -> Place {
        self.shared.places.of(batch.origins.get(row as usize).copied().unwrap_or_default())
    }

    /// The error that stops the pipeline on behalf of an operator.
    pub(super) fn stopped(&self, at: usize, batch: &RecordBatch, row: u32, reason: String) -> WorkerError {
        let operator = self.plan.operators.get(at).map(|node| node.id.clone()).unwrap_or_default();
        let place = if batch.origins.get(row as usize) == Some(&Origin::TIMER) {
            let key = String::from_utf8_lossy(batch.keys.get(row).unwrap_or_default()).into_owned();
            let time_ms = batch.timestamps_ms.get(row as usize).copied().unwrap_or_default();
            format!("a timer of key `{key}` set for {time_ms}")
        } else {
            let Place { source, partition, offset } = self.place(batch, row);
            format!("source `{source}`, partition {partition}, offset {offset}")
        };
        WorkerError::Stopped { operator, place, reason }
    }
}
