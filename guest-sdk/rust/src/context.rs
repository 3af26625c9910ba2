//! What the record in hand does.

use crate::{
    Error, Field, Outgoing, Output,
    buffer::Buffers,
    host::{Host, Platform},
    log::LevelCache,
    metrics::{Counter, Gauge, Histogram, MetricBuffers},
    output::OutputBuffer,
    record::Record,
    reject,
    setup::Setup,
    value::{SlotBefore, ValueCache},
};
use std::fmt::Display;

/// Takes what the record in hand does: emits, state, metrics, log lines. All of it counts together when the record is done, or
/// nothing of it when the record is rejected (log lines excepted).
#[derive(Debug)]
pub struct Context<'b> {
    pub(crate) record: Record<'b>,
    pub(crate) work: &'b mut Work,
}

/// Effects that are collected and not yet staged. All buffers are kept from call to call: a record allocates nothing.
#[derive(Debug, Default)]
pub struct Work {
    /// Values, by position among all states; of other kinds unused.
    pub(crate) states: Vec<ValueCache>,
    /// All other states.
    pub(crate) buffers: Buffers,
    pub(crate) outputs: Vec<OutputBuffer>,
    pub(crate) metrics: MetricBuffers,
    pub(crate) levels: LevelCache,
    /// Writes of the record in hand.
    pub(crate) undo: Vec<SlotBefore>,
    /// State and key row of values that were read and live on for it; up to `reads_kept` by records that are done.
    pub(crate) reads: Vec<(u32, u32)>,
    reads_kept: usize,
    pub(crate) rejected: Vec<(u32, String)>,
    /// Why the record in hand is to be rejected although `process` may return ok.
    pub(crate) fault: Option<Error>,
    /// Whether some buffer should be staged or compacted before the next record.
    pub(crate) full: bool,
}

impl Context<'_> {
    /// Emits the record in hand as it is: filters and routers do this.
    pub fn forward(&mut self, to: Output) {
        self.check_kept(Field::Keep);
        self.output(to, |output, record| output.forward(record.call, record.row));
    }

    /// Emits a value; key, timestamp and headers are those of the record in hand.
    pub fn emit(&mut self, to: Output, value: &[u8]) {
        self.output(to, |output, record| output.emit(record.call, record.row, Some(value)));
    }

    /// Emits the text of a value, without a string in between.
    pub fn emit_display(&mut self, to: Output, value: impl Display) {
        let (record, work) = (self.record, &mut *self.work);
        let Some(output) = work.outputs.get_mut(to.0 as usize) else {
            return;
        };
        match output.emit_display(record.call, record.row, value) {
            Ok(full) => work.full |= full,
            Err(_) => drop(work.fault.get_or_insert(reject("a value to emit cannot be formatted"))),
        }
    }

    /// Emits a value under another key.
    pub fn emit_keyed(&mut self, to: Output, key: &[u8], value: &[u8]) {
        self.emit_fields(to, Field::Set(Some(key)), Field::Set(Some(value)));
    }

    /// Emits a record whose key and value are the parent's or its own, and may be absent.
    pub fn emit_fields(&mut self, to: Output, key: Field<'_>, value: Field<'_>) {
        self.check_kept(value);
        self.output(to, |output, record| output.emit_fields(record.call, record.row, key, value));
    }

    /// Emits a record with a timestamp or headers of its own.
    pub fn emit_record(&mut self, to: Output, record: &Outgoing<'_>) {
        self.check_kept(record.value);
        self.output(to, |output, parent| output.emit_record(parent.call, parent.row, record));
    }

    /// A timer or window has no value that what it emits could take over.
    fn check_kept(&mut self, value: Field<'_>) {
        if value == Field::Keep && self.record.call.has_no_values() {
            self.work.fault.get_or_insert_with(|| {
                reject("a timer or window has no value to forward: what it emits needs one of its own")
            });
        }
    }

    fn output(&mut self, to: Output, emit: impl FnOnce(&mut OutputBuffer, Record<'_>) -> bool) {
        if let Some(output) = self.work.outputs.get_mut(to.0 as usize) {
            self.work.full |= emit(output, self.record);
        }
    }

    pub(crate) fn key_row(&self) -> u32 {
        self.record.call.key_row(self.record.row)
    }

    /// The watermark: no record with an earlier timestamp is expected. None before the first one.
    pub fn watermark_ms(&self) -> Option<i64> {
        Platform::watermark_ms()
    }

    /// Processing time in milliseconds since 1970-01-01T00:00Z: the host's, the same when it repeats the call.
    pub fn now_ms(&self) -> i64 {
        Platform::now_ms()
    }

    /// Adds to a counter.
    pub fn count(&mut self, counter: Counter, delta: u64) {
        self.work.metrics.count(counter, delta);
    }

    /// Sets a gauge.
    pub fn gauge(&mut self, gauge: Gauge, value: f64) {
        self.work.metrics.gauge(gauge, value);
    }

    /// Adds an observation to a histogram.
    pub fn observe(&mut self, histogram: Histogram, value: f64) {
        self.work.metrics.observe(histogram, value);
    }
}

impl Work {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            states: setup.descriptor.states.iter().map(ValueCache::new).collect(),
            buffers: setup.buffers,
            outputs: setup.descriptor.outputs.iter().map(|_| OutputBuffer::default()).collect(),
            metrics: MetricBuffers::new(setup.metrics),
            ..Self::default()
        }
    }

    /// Makes room for a call, and forgets one that came to no end.
    pub(crate) fn begin(&mut self, key_rows: &[u32]) {
        if !self.states.is_empty() || !self.buffers.is_empty() {
            let count = key_rows.iter().max().map_or(0, |&last| last as usize + 1);
            self.states.iter_mut().for_each(|state| state.begin(count));
            self.buffers.begin(count);
        }
        self.outputs.iter_mut().for_each(OutputBuffer::clear);
        self.metrics.clear();
        self.levels = LevelCache::default();
        self.undo.clear();
        self.reads.clear();
        self.reads_kept = 0;
        self.rejected.clear();
        self.fault = None;
        self.full = false;
    }

    /// The record in hand is done: what it did stays.
    pub(crate) fn keep_record(&mut self) {
        self.undo.clear();
        self.reads_kept = self.reads.len();
        self.buffers.keep_record();
        self.metrics.keep_record();
        if self.full {
            self.make_room();
        }
    }

    /// The record in hand is refused: slots, columns and metrics are as they were before it.
    pub(crate) fn undo_record(&mut self, row: u32, reason: String) {
        for before in self.undo.drain(..).rev() {
            if let Some(state) = self.states.get_mut(before.state as usize) {
                state.undo(&before);
            }
        }
        self.reads.truncate(self.reads_kept);
        self.buffers.undo_record();
        self.outputs.iter_mut().for_each(|output| output.truncate_from(row));
        self.metrics.undo_record();
        self.fault = None;
        self.rejected.push((row, reason));
        if self.full {
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        self.full = false;
        for (port, output) in self.outputs.iter_mut().enumerate().filter(|(_, output)| output.is_full()) {
            output.stage(port as u32);
        }
        self.states.iter_mut().filter(|state| state.is_full()).for_each(ValueCache::compact);
        self.buffers.make_room();
    }

    /// Hands all that is left to the host: a few calls, whatever the number of rows.
    pub(crate) fn stage(&mut self) {
        for (state, cache) in self.states.iter_mut().enumerate() {
            cache.stage(state as u32, &mut self.reads);
        }
        self.buffers.stage();
        for (port, output) in self.outputs.iter_mut().enumerate() {
            output.stage(port as u32);
        }
        self.metrics.stage();
        if !self.rejected.is_empty() {
            Platform::reject(std::mem::take(&mut self.rejected));
        }
    }
}
