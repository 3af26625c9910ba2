use millstream_model::column::{BytesColumn, HeadersColumn};

/// Effects of a call, in the order they were staged.
#[derive(Debug, Default)]
pub struct Staged {
    /// Emitted records; the first `outputs_len` are in use, the rest are buffers kept for later calls.
    outputs: Vec<StagedOutput>,
    outputs_len: usize,
    /// Changes of values.
    pub ops: Vec<StateOp>,
    /// Changes of timers.
    pub timers: Vec<TimerOp>,
    /// Bytes of values that `ops` point into.
    pub arena: Vec<u8>,
    /// Rows refused, in the order they were.
    pub rejections: Vec<Rejection>,
    /// The operator's own metrics.
    pub metrics: Vec<Metric>,
    /// Bytes emitted so far.
    pub output_bytes: u64,
    marks: Vec<MarkPoint>,
}

/// How far staging had come at a mark.
#[derive(Debug, Clone, Copy)]
struct MarkPoint {
    /// Changes that the state has made in place.
    changes: usize,
    outputs: usize,
    ops: usize,
    timers: usize,
    arena: usize,
    rejections: usize,
    metrics: usize,
    output_bytes: u64,
}

/// Records emitted by one request. A column that is `None` is the parents'.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct StagedOutput {
    /// Position of the output in the descriptor.
    pub port: u32,
    /// The row each record comes from, never descending.
    pub parents: Vec<u32>,
    /// Keys.
    pub keys: Option<BytesColumn>,
    /// Values.
    pub values: Option<BytesColumn>,
    /// Event times in milliseconds since 1970.
    pub timestamps_ms: Option<Vec<i64>>,
    /// Headers; rows count the records of this request.
    pub headers: Option<HeadersColumn>,
}

impl StagedOutput {
    fn clear(&mut self) {
        self.parents.clear();
        self.keys = None;
        self.values = None;
        self.timestamps_ms = None;
        self.headers = None;
    }
}

/// One change of a key's value. Ranges are positions in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOp {
    /// Sets a value, or removes it where there is none.
    Put {
        /// Position of the state in the descriptor.
        state: u32,
        /// Whose state.
        key_row: u32,
        /// The value's bytes.
        value: Option<(u32, u32)>,
    },
    /// Starts the time to live of a value again.
    Touch {
        /// Position of the state in the descriptor.
        state: u32,
        /// Whose state.
        key_row: u32,
    },
}

impl StateOp {
    /// Whose state.
    #[must_use]
    #[inline]
    pub fn key_row(&self) -> u32 {
        match self {
            Self::Put { key_row, .. } | Self::Touch { key_row, .. } => *key_row,
        }
    }
}

/// One change of a key's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerOp {
    /// Position of the timer in the descriptor.
    pub timer: u32,
    /// Whose timer.
    pub key_row: u32,
    /// Which of the key's timers of this name.
    pub id: u64,
    /// What it is set for, in milliseconds since 1970; `None` removes it.
    pub time_ms: Option<i64>,
}

/// A row the operator refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The row.
    pub row: u32,
    /// Why, for a person; at most 1 KiB is kept.
    pub reason: String,
}

/// A measurement of the operator's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// Adds to a counter.
    Count(String, u64),
    /// Sets a gauge.
    Gauge(String, f64),
    /// Adds observations to a histogram.
    Observe(String, Vec<f64>),
}

/// Longest reason kept, in bytes.
const REASON_BYTES_MAX: usize = 1 << 10;

impl Staged {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.outputs_len = 0;
        self.ops.clear();
        self.timers.clear();
        self.arena.clear();
        self.rejections.clear();
        self.metrics.clear();
        self.marks.clear();
        self.output_bytes = 0;
    }

    /// Emitted records, one entry per request.
    #[must_use]
    pub fn outputs(&self) -> &[StagedOutput] {
        self.outputs.get(..self.outputs_len).unwrap_or_default()
    }

    /// An empty output to fill; its buffers may have been used before.
    pub(super) fn next_output(&mut self) -> &mut StagedOutput {
        if self.outputs_len == self.outputs.len() {
            self.outputs.push(StagedOutput::default());
        }
        self.outputs_len += 1;
        let at = self.outputs_len - 1;
        #[expect(clippy::indexing_slicing, reason = "the entry was pushed two lines above if it was not there")]
        let output = &mut self.outputs[at];
        output.clear();
        output
    }

    /// Puts bytes into the arena.
    pub(super) fn store(&mut self, bytes: &[u8]) -> (u32, u32) {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        (start, self.arena.len() as u32)
    }

    /// The bytes of a range of the arena.
    #[must_use]
    pub fn bytes(&self, (start, end): (u32, u32)) -> &[u8] {
        self.arena.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Whether a row was refused.
    #[must_use]
    pub fn is_rejected(&self, row: u32) -> bool {
        self.rejections.iter().any(|rejection| rejection.row == row)
    }

    pub(super) fn push_rejection(&mut self, row: u32, reason: &str) {
        let mut cut = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(cut) {
            cut -= 1;
        }
        self.rejections.push(Rejection { row, reason: reason.get(..cut).unwrap_or_default().to_owned() });
    }

    /// How far staging has come; `undo_to` takes it. `changes`: what the state has made in place.
    pub(super) fn mark(&mut self, changes: usize) -> u32 {
        self.marks.push(MarkPoint {
            changes,
            outputs: self.outputs_len,
            ops: self.ops.len(),
            timers: self.timers.len(),
            arena: self.arena.len(),
            rejections: self.rejections.len(),
            metrics: self.metrics.len(),
            output_bytes: self.output_bytes,
        });
        self.marks.len() as u32 - 1
    }

    /// Drops what was staged after a mark, later marks included, and tells how many changes of state there were in place; `None` if there is no such mark.
    pub(super) fn undo_to(&mut self, mark: u32) -> Option<usize> {
        let point = *self.marks.get(mark as usize)?;
        self.marks.truncate(mark as usize + 1);
        self.outputs_len = point.outputs;
        self.ops.truncate(point.ops);
        self.timers.truncate(point.timers);
        self.arena.truncate(point.arena);
        self.rejections.truncate(point.rejections);
        self.metrics.truncate(point.metrics);
        self.output_bytes = point.output_bytes;
        Some(point.changes)
    }
}
