use super::search::Portion;
use super::{Worker, WorkerError};
use crate::places::Place;
use crate::swap::Tally;
use crate::task::{DeadLetter, Firing, LETTER_BYTES_MIN, Provenance, Verdict, admit_keys, late_rows};
use crate::timers::Due;
use millstream_model::ids::{Digest, SinkIndex};
use millstream_model::plan::ErrorPolicy;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;

impl Worker {
    /// Takes out of a batch what may not enter the operator: records without a key or with one that is too long, and those it has failed on before. To a broadcast
    /// input keys mean nothing.
    pub(super) fn admit(&mut self, at: usize, whole: Portion, is_broadcast: bool) -> Result<Portion, WorkerError> {
        let plan = Arc::clone(&self.plan);
        let Some(node) = plan.operators.get(at) else { return Ok(whole) };
        let door = if is_broadcast { None } else { admit_keys(node, &whole.batch) };
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
        for refused in &door.refused {
            if keep_out(refused.row) {
                self.refuse(at, &whole.batch, refused.row, &refused.reason)?;
            }
        }
        for known in &known {
            if keep_out(known.row) {
                self.refuse_again(at, &whole.batch, known)?;
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

    /// Takes records out that are too late for all their windows, and hands them to where such go.
    pub(super) fn part_late(&mut self, at: usize, whole: Portion) -> Result<Portion, WorkerError> {
        let plan = Arc::clone(&self.plan);
        let Some((node, windowing)) = plan.operators.get(at).and_then(|node| Some((node, node.windows?))) else {
            return Ok(whole);
        };
        let watermark_ms = self.mark_of(at).watermark_ms;
        let late = late_rows(windowing, &whole.batch, watermark_ms);
        if late.is_empty() {
            return Ok(whole);
        }
        if let Some(counters) = self.shared.board.operators.get(at) {
            counters.late.add(late.len() as u64);
        }
        self.touched = true;
        if !node.late.is_empty() {
            let mut batch = RecordBatch::default();
            batch.gather(&whole.batch, &late);
            let batch = Arc::new(batch);
            node.late.iter().try_for_each(|target| self.deliver(*target, &batch))?;
        }
        let left: Vec<u32> = (0..whole.batch.len() as u32).filter(|row| late.binary_search(row).is_err()).collect();
        Ok(whole.part(&left, false))
    }

    /// Refuses a record for which the operator was called before.
    fn refuse_again(&mut self, at: usize, batch: &RecordBatch, known: &Verdict) -> Result<(), WorkerError> {
        if known.is_fault && self.is_tried(at) {
            return Err(self.stopped(at, batch, known.row, known.reason.clone()));
        }
        if known.is_fault {
            self.blame(at, batch, known.row);
        } else {
            self.count(at, Tally { records: 1, rejected: 1, ..Tally::default() });
        }
        self.refuse(at, batch, known.row, &known.reason)
    }

    /// Applies the operator's error policy to a record.
    pub(super) fn refuse(&mut self, at: usize, batch: &RecordBatch, row: u32, reason: &str) -> Result<(), WorkerError> {
        self.refuse_row(at, DeadLetter { batch, row, reason }, None)
    }

    /// Applies the operator's error policy to a timer, which is gone.
    pub(super) fn refuse_timer(
        &mut self,
        at: usize,
        firing: &Firing,
        row: u32,
        reason: &str,
    ) -> Result<(), WorkerError> {
        let Some(due) = firing.due.get(row as usize) else { return Ok(()) };
        let gone = self.tasks.get_mut(at).map_or(Ok(()), |task| task.consume(due));
        gone.map_err(|error| self.stopped(at, &firing.batch, row, error.to_string()))?;
        self.refuse_row(at, DeadLetter { batch: &firing.batch, row, reason }, Some(due))
    }

    fn refuse_row(&mut self, at: usize, letter: DeadLetter<'_>, due: Option<&Due>) -> Result<(), WorkerError> {
        let (plan, shared) = (Arc::clone(&self.plan), Arc::clone(&self.shared));
        let Some(node) = plan.operators.get(at) else { return Ok(()) };
        self.touched = true;
        if self.is_echo {
            return Ok(());
        }
        let counters = shared.board.operators.get(at);
        if let Some(counters) = counters {
            counters.refused.add(1);
        }
        match (node.on_error, plan.dead_letters) {
            (ErrorPolicy::Stop, _) => {
                return Err(self.stopped(at, letter.batch, letter.row, letter.reason.to_owned()));
            }
            (ErrorPolicy::DeadLetter, Some(_)) => {
                let timer = due.and_then(|due| {
                    let name = node.descriptor.timers.get(due.timer as usize)?.name.as_str();
                    Some((name, due.id, due.time_ms))
                });
                self.write_letter(letter, Some((&node.id, node.digest)), timer)?;
            }
            (ErrorPolicy::Skip, _) | (ErrorPolicy::DeadLetter, None) => {
                if let Some(counters) = counters {
                    counters.dropped.add(1);
                }
                tracing::debug!(operator = node.id, reason = letter.reason, "record skipped");
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
        match (node.time.on_error, plan.dead_letters) {
            (ErrorPolicy::Stop, _) => {
                let Place { partition, offset, .. } = self.place(batch, row);
                let (source_id, reason) = (node.id.clone(), reason.to_owned());
                return Err(WorkerError::Refused { source_id, partition, offset, reason });
            }
            (ErrorPolicy::DeadLetter, Some(_)) => self.write_letter(DeadLetter { batch, row, reason }, None, None)?,
            (ErrorPolicy::Skip, _) | (ErrorPolicy::DeadLetter, None) => {
                tracing::debug!(source = node.id, reason, "record skipped");
            }
        }
        Ok(())
    }

    /// Hands records of a source to a sink, but for those it does not take: no operator was there that could have refused them.
    pub(super) fn deliver_fitting(&mut self, sink: SinkIndex, batch: &RecordBatch) -> Result<(), WorkerError> {
        let (plan, max) = (Arc::clone(&self.plan), self.shared.sizes.of_sink(sink));
        let (fitting, too_large): (Vec<u32>, Vec<u32>) =
            (0..batch.len() as u32).partition(|row| batch.framed_bytes(*row) <= max);
        if let Some(output) = self.outputs.get_mut(sink.at()) {
            output.gather(batch, &fitting);
        }
        for row in too_large {
            let id = plan.sinks.get(sink.at()).map_or("", |node| node.id.as_str());
            let bytes = batch.framed_bytes(row);
            let reason =
                format!("the record has {bytes} bytes, sink `{id}` takes {max} (the topic's `max.message.bytes`)");
            if plan.dead_letters.is_none() {
                let reason = format!("{reason}: raise that, or name `dead_letters`");
                return Err(WorkerError::TooLarge { place: self.shown_place(batch, row), reason });
            }
            self.write_letter(DeadLetter { batch, row, reason: &reason }, None, None)?;
        }
        Ok(())
    }

    fn write_letter(
        &mut self,
        letter: DeadLetter<'_>,
        operator: Option<(&str, Digest)>,
        timer: Option<(&str, u64, i64)>,
    ) -> Result<(), WorkerError> {
        let Some(sink) = self.plan.dead_letters else { return Ok(()) };
        let Place { source, partition, offset } = self.place(letter.batch, letter.row);
        let topic = self.shared.topics.get(&*source).map_or("", String::as_str);
        let provenance = Provenance { source: &source, topic, partition, offset, timer, operator };
        let max = self.shared.sizes.of_sink(sink);
        let letters = self.outputs.get_mut(sink.at());
        if letters.is_none_or(|letters| letter.append_to(&provenance, max, letters)) {
            self.flush_full(sink.at());
            return Ok(());
        }
        let reason = format!(
            "`dead_letters` takes records of {max} bytes (the topic's `max.message.bytes`), and no letter of this one is that small: {LETTER_BYTES_MIN} are enough for any. \
             It was refused because: {}",
            letter.reason
        );
        Err(WorkerError::TooLarge { place: self.shown_place(letter.batch, letter.row), reason })
    }

    fn place(&self, batch: &RecordBatch, row: u32) -> Place {
        self.shared.places.of(batch.origins.get(row as usize).copied().unwrap_or_default())
    }

    fn shown_place(&self, batch: &RecordBatch, row: u32) -> String {
        if batch.origins.get(row as usize) == Some(&Origin::TIMER) {
            let key = String::from_utf8_lossy(batch.keys.get(row).unwrap_or_default()).into_owned();
            let time_ms = batch.timestamps_ms.get(row as usize).copied().unwrap_or_default();
            return format!("a timer of key `{key}` set for {time_ms}");
        }
        let Place { source, partition, offset } = self.place(batch, row);
        format!("source `{source}`, partition {partition}, offset {offset}")
    }

    /// The error that stops the pipeline on behalf of an operator.
    pub(super) fn stopped(&mut self, at: usize, batch: &RecordBatch, row: u32, reason: String) -> WorkerError {
        self.blamed = batch.origins.get(row as usize).copied();
        let operator = self.plan.operators.get(at).map(|node| node.id.clone()).unwrap_or_default();
        WorkerError::Stopped { operator, place: self.shown_place(batch, row), reason }
    }
}
