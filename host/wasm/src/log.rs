//! An operator's log: what it writes through `log`, standard output and standard error, within its limits.

use crate::stdio::LineBuffer;
use millstream_engine::places::Places;
use millstream_engine::ports::Clock;
use millstream_model::ids::Digest;
use millstream_model::limits::OperatorLimits;
use millstream_model::record::Origin;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::Level;

/// Where lines go; subscribers filter by it.
pub(crate) const TARGET: &str = "millstream::operator";

/// Bytes of standard error kept for the reason of a trap.
const LAST_WORDS_BYTES_MAX: usize = 2 << 10;

/// The log of one instance. Shared with its standard streams; the lock is never contended, the guest has one thread.
pub(crate) struct OperatorLog {
    who: Arc<Who>,
    lines_per_second_max: u32,
    line_bytes_max: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    second: u64,
    lines: u32,
    dropped: u64,
    last_words: String,
    stdout: LineBuffer,
    stderr: LineBuffer,
}

/// Whose lines they are: what every line carries.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) pipeline: String,
    pub(crate) operator: String,
    pub(crate) digest: Digest,
}

/// A standard stream of a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The record a line is about, and what tells where it comes from.
pub(crate) type LineOrigin = Option<(Arc<Places>, Origin)>;

impl OperatorLog {
    pub(crate) fn new(who: Arc<Who>, limits: &OperatorLimits, clock: Arc<dyn Clock>) -> Self {
        Self {
            who,
            lines_per_second_max: limits.log_lines_per_second_max,
            line_bytes_max: limits.log_line_bytes_max as usize,
            clock,
            state: Mutex::default(),
        }
    }

    /// Writes one line, cut to its limit, unless the second's lines are used up.
    pub(crate) fn line(&self, level: Level, origin: LineOrigin, text: &str) {
        let granted = self.grant();
        if let Some(dropped) = granted.dropped_before {
            write(Level::WARN, &self.who, None, &format!("{dropped} lines dropped (`limits.log_lines`)"));
        }
        if granted.this_one {
            write(level, &self.who, origin, cut(text, self.line_bytes_max));
        }
    }

    fn grant(&self) -> Granted {
        let second = self.clock.monotonic_ms() / 1_000;
        let mut state = self.lock();
        let mut dropped_before = None;
        if state.second != second {
            (state.second, state.lines) = (second, 0);
            dropped_before = Some(std::mem::take(&mut state.dropped)).filter(|&dropped| dropped > 0);
        }
        let this_one = state.lines < self.lines_per_second_max;
        if this_one {
            state.lines += 1;
        } else {
            state.dropped += 1;
        }
        Granted { this_one, dropped_before }
    }

    /// Takes bytes of a standard stream: whole lines are logged. What standard error says is kept for the reason of a trap.
    pub(crate) fn stream(&self, stream: Stream, bytes: &[u8]) {
        let lines = {
            let mut state = self.lock();
            let buffer = match stream {
                Stream::Stdout => &mut state.stdout,
                Stream::Stderr => &mut state.stderr,
            };
            buffer.push(bytes, self.line_bytes_max)
        };
        let level = match stream {
            Stream::Stdout => Level::INFO,
            Stream::Stderr => Level::WARN,
        };
        for line in lines.iter().filter(|line| !line.trim().is_empty()) {
            if matches!(stream, Stream::Stderr) {
                self.keep_last_words(line);
            }
            self.line(level, None, line);
        }
    }

    /// Keeps a line for the reason of a trap that may follow.
    pub(crate) fn keep_last_words(&self, line: &str) {
        let mut state = self.lock();
        let words = &mut state.last_words;
        if !words.is_empty() {
            words.push('\n');
        }
        words.push_str(cut(line, LAST_WORDS_BYTES_MAX));
        while words.len() > LAST_WORDS_BYTES_MAX {
            let first = words.find('\n').map_or(words.len(), |end| end + 1);
            words.drain(..first);
        }
    }

    /// Forgets what was said before a call.
    pub(crate) fn begin_call(&self) {
        self.lock().last_words.clear();
    }

    /// What was said since the call began, the unfinished line of standard error included.
    pub(crate) fn last_words(&self) -> String {
        let rest = self.lock().stderr.finish();
        if let Some(rest) = rest {
            self.keep_last_words(&rest);
        }
        std::mem::take(&mut self.lock().last_words)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Granted {
    this_one: bool,
    dropped_before: Option<u64>,
}

/// The longest prefix of at most `bytes_max` bytes that ends between two characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Whether anybody listens to lines of this level.
pub(crate) fn enabled(level: Level) -> bool {
    match level {
        Level::TRACE => tracing::enabled!(target: TARGET, Level::TRACE),
        Level::DEBUG => tracing::enabled!(target: TARGET, Level::DEBUG),
        Level::INFO => tracing::enabled!(target: TARGET, Level::INFO),
        Level::WARN => tracing::enabled!(target: TARGET, Level::WARN),
        Level::ERROR => tracing::enabled!(target: TARGET, Level::ERROR),
    }
}

fn write(level: Level, who: &Who, origin: LineOrigin, text: &str) {
    /// The levels are part of what is known of a line before it is written.
    macro_rules! line {
        ($write:ident, $place:ident) => {
            tracing::$write!(
                target: TARGET,
                pipeline = who.pipeline,
                operator = who.operator,
                digest = %who.digest,
                source = $place.as_ref().map(|place| &*place.source),
                partition = $place.as_ref().map(|place| place.partition),
                offset = $place.as_ref().map(|place| place.offset),
                "{text}"
            )
        };
    }
    let place = origin.map(|(places, origin)| places.of(origin));
    match level {
        Level::TRACE => line!(trace, place),
        Level::DEBUG => line!(debug, place),
        Level::INFO => line!(info, place),
        Level::WARN => line!(warn, place),
        Level::ERROR => line!(error, place),
    }
}
