use super::{Worker, WorkerError};
use crate::ports::{PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::{Gap, PartitionPosition};
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::plan::Plan;
use millstream_model::record::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of a piece after a call with a whole batch has failed: small, so that a cut can fall between pieces. After a piece has failed its rows come one by
/// one. Pieces double with each that goes well.
const PIECE_ROWS: usize = 16;

/// A source that had nothing is passed over this often while others have something: asking it takes a wait.
const QUIET_TURNS: u32 = 16;

/// The worker's sources, and what of the last batch is still to be processed.
pub(super) struct Intake {
    sources: Vec<Box<dyn Source>>,
    turns: Vec<Turn>,
    next: usize,
    limits: BatchLimits,
    /// An emptied batch.
    spare: RecordBatch,
    /// What was read last, and is not all processed.
    rest: Option<Rest>,
    /// Rows of a piece; the limit of a batch when all goes well.
    piece_rows: usize,
}

#[derive(Default, Clone)]
struct Turn {
    ended: bool,
    /// Turns to be passed over.
    quiet: u32,
    /// Partitions already made known.
    known: usize,
    /// Whether it is ahead of the others and has to wait.
    is_ahead: bool,
}

/// A batch on its way: what one poll brought. It has the mark of that poll, however it is cut.
struct Rest {
    source: usize,
    batch: Arc<RecordBatch>,
    from: u32,
    /// Rows that go nowhere, ascending, and why: they are refused when their turn comes.
    refused: Vec<(u32, String)>,
    /// The highest timestamp of each partition before this poll.
    before: BTreeMap<PartitionIndex, Option<i64>>,
    now_ms: i64,
}

/// The rows that are processed next.
pub(super) struct Piece {
    pub(super) source: usize,
    /// What goes to the operators.
    pub(super) batch: Arc<RecordBatch>,
    /// Rows of the batch as it was read.
    rows: std::ops::Range<u32>,
    /// The clock of the poll that brought them.
    pub(super) now_ms: i64,
}

impl Intake {
    pub(super) fn new(sources: Vec<Box<dyn Source>>, limits: BatchLimits) -> Self {
        let turns = vec![Turn::default(); sources.len()];
        let piece_rows = limits.rows_max;
        Self { sources, turns, next: 0, limits, spare: RecordBatch::default(), rest: None, piece_rows }
    }

    /// Whether all sources have come to their end and everything read is processed.
    pub(super) fn has_ended(&self) -> bool {
        self.rest.is_none() && self.turns.iter().all(|turn| turn.ended)
    }

    /// Whether a source has come to its end and everything read from it is processed.
    pub(super) fn has_source_ended(&self, at: usize) -> bool {
        self.turns.get(at).is_some_and(|turn| turn.ended) && self.rest.as_ref().is_none_or(|rest| rest.source != at)
    }

    /// Whether what was polled last from a source is all there is.
    pub(super) fn is_at_last_batch(&self, at: usize) -> bool {
        self.turns.get(at).is_some_and(|turn| turn.ended)
    }

    /// The source whose turn it is.
    fn next_turn(&mut self) -> Option<usize> {
        let count = self.sources.len();
        let all_quiet = self.turns.iter().all(|turn| turn.ended || turn.is_ahead || turn.quiet > 0);
        for _ in 0..count {
            let at = self.next % count;
            self.next = at + 1;
            let turn = self.turns.get_mut(at)?;
            if turn.ended || turn.is_ahead {
                continue;
            }
            if all_quiet || turn.quiet == 0 {
                return Some(at);
            }
            turn.quiet -= 1;
        }
        None
    }

    /// Reads records of a source, at most that many.
    fn poll(&mut self, at: usize, rows_max: usize) -> Result<RecordBatch, SourceError> {
        let mut batch = std::mem::take(&mut self.spare);
        let (Some(source), Some(turn)) = (self.sources.get_mut(at), self.turns.get_mut(at)) else { return Ok(batch) };
        let limits = BatchLimits { rows_max: self.limits.rows_max.min(rows_max).max(1), ..self.limits };
        let poll = source.poll(&mut batch, &limits)?;
        turn.ended = poll == Poll::End;
        turn.quiet = if batch.is_empty() { QUIET_TURNS } else { 0 };
        Ok(batch)
    }

    /// Takes the next rows of what was read last, at most that many.
    fn take_piece(&mut self, rows_max: usize) -> Option<Piece> {
        let rest = self.rest.as_ref()?;
        let piece_rows = self.piece_rows.min(rows_max).max(1);
        let to = rest.batch.len().min(rest.from as usize + piece_rows) as u32;
        let rows = rest.from..to;
        let (source, now_ms) = (rest.source, rest.now_ms);
        if rows.len() == rest.batch.len() && rest.refused.is_empty() {
            return Some(Piece { source, batch: Arc::clone(&rest.batch), rows, now_ms });
        }
        let good: Vec<u32> = rows.clone().filter(|row| !rest.is_refused(*row)).collect();
        let mut piece = std::mem::take(&mut self.spare);
        piece.gather(&rest.batch, &good);
        Some(Piece { source, batch: Arc::new(piece), rows, now_ms })
    }

    /// A piece is processed: what was read goes on behind it. Returns what it was part of, to refuse the rows of it that are to be.
    fn pass(&mut self, piece: Piece) -> Passed {
        self.reuse(piece.batch);
        let Some(rest) = &mut self.rest else { return Passed::default() };
        rest.from = piece.rows.end;
        let refused = rest.refused.iter().filter(|(row, _)| piece.rows.contains(row)).cloned().collect();
        let batch = Arc::clone(&rest.batch);
        if rest.from as usize == batch.len() {
            self.rest = None;
        }
        Passed { batch, refused, rows: piece.rows.len() }
    }

    fn reuse(&mut self, batch: Arc<RecordBatch>) {
        if let Ok(mut batch) = Arc::try_unwrap(batch) {
            batch.clear();
            self.spare = batch;
        }
    }

    /// A call with that many rows has failed: pieces become smaller.
    pub(super) fn shrink(&mut self, rows: usize) {
        self.piece_rows = if rows > PIECE_ROWS { PIECE_ROWS } else { 1 };
    }

    fn grow(&mut self) {
        self.piece_rows = (self.piece_rows * 2).min(self.limits.rows_max);
    }

    /// Has a source that is ahead of the others wait, or go on.
    pub(super) fn set_ahead(&mut self, at: usize, is_ahead: bool) {
        if let Some(turn) = self.turns.get_mut(at) {
            turn.is_ahead = is_ahead;
        }
    }

    /// Goes to the positions of a commit.
    pub(super) fn seek(&mut self, plan: &Plan, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        self.rest = None;
        for ((source, turn), node) in self.sources.iter_mut().zip(&mut self.turns).zip(&plan.sources) {
            source.seek(&own(positions, &node.id))?;
            *turn = Turn { known: turn.known, ..Turn::default() };
        }
        Ok(())
    }

    /// Tells every source what is committed.
    pub(super) fn committed(&mut self, plan: &Plan, positions: &[PartitionPosition]) {
        for (source, node) in self.sources.iter_mut().zip(&plan.sources) {
            source.committed(&own(positions, &node.id));
        }
    }

    /// How far each partition is processed: as far as it is read, less what is left of the last batch. `seen` knows the highest timestamp of a partition
    /// where the source's own do not count, and whether it is idle.
    pub(super) fn positions(
        &self,
        plan: &Plan,
        seen: impl Fn(usize, PartitionIndex) -> Option<(Option<i64>, bool)>,
    ) -> Vec<PartitionPosition> {
        let left = self.rest.as_ref().map(Rest::left).unwrap_or_default();
        let sources = (0..).zip(self.sources.iter().zip(&plan.sources));
        sources
            .flat_map(|(at, (source, node))| source.progress().iter().map(move |progress| (at, progress, &node.id)))
            .map(|(at, progress, id)| {
                let seen = seen(at, progress.index);
                let max_ms = seen.map_or(progress.timestamp_ms_max, |(max_ms, _)| max_ms);
                let (next, timestamp_ms_max) = left.get(&progress.index).copied().unwrap_or((progress.next, max_ms));
                PartitionPosition {
                    source: id.clone(),
                    partition: progress.partition,
                    from: next,
                    next,
                    leader_epoch: progress.leader_epoch,
                    timestamp_ms_max,
                    idle: seen.is_some_and(|(_, is_idle)| is_idle),
                }
            })
            .collect()
    }

    /// What the sources say of their partitions.
    pub(super) fn progress(&self) -> Vec<(u16, PartitionProgress)> {
        let sources = self.sources.iter().zip(0u16..);
        sources.flat_map(|(source, at)| source.progress().iter().map(move |progress| (at, progress.clone()))).collect()
    }

    /// A source.
    pub(super) fn source(&mut self, at: usize) -> Option<&mut Box<dyn Source>> {
        self.sources.get_mut(at)
    }

    pub(super) fn take_gaps(&mut self) -> Vec<Gap> {
        self.sources.iter_mut().flat_map(|source| source.take_gaps()).collect()
    }

    /// Partitions of a source that were not yet made known.
    pub(super) fn take_unknown(&mut self, at: usize) -> Vec<PartitionProgress> {
        let (Some(source), Some(turn)) = (self.sources.get(at), self.turns.get_mut(at)) else { return Vec::new() };
        let progress = source.progress();
        if progress.len() == turn.known {
            return Vec::new();
        }
        turn.known = progress.len();
        progress.to_vec()
    }
}

fn own(positions: &[PartitionPosition], source: &str) -> Vec<PartitionPosition> {
    positions.iter().filter(|position| position.source == source).cloned().collect()
}

impl Rest {
    fn is_refused(&self, row: u32) -> bool {
        self.refused.binary_search_by_key(&row, |(refused, _)| *refused).is_ok()
    }

    /// By partition with rows left: the offset of the first one, and the highest timestamp before it.
    fn left(&self) -> BTreeMap<PartitionIndex, (i64, Option<i64>)> {
        let mut left = BTreeMap::new();
        for origin in self.batch.origins.iter().skip(self.from as usize) {
            left.entry(origin.partition).or_insert_with(|| {
                let before = self.before.get(&origin.partition).copied().flatten();
                (origin.offset, before)
            });
        }
        let done = (0..self.from).zip(self.batch.origins.iter().zip(&self.batch.timestamps_ms));
        for (row, (origin, time_ms)) in done {
            if let Some((_, max_ms)) = left.get_mut(&origin.partition)
                && !self.is_refused(row)
            {
                *max_ms = (*max_ms).max(Some(*time_ms));
            }
        }
        left
    }
}

/// What a processed piece was part of.
#[derive(Default)]
struct Passed {
    batch: Arc<RecordBatch>,
    refused: Vec<(u32, String)>,
    rows: usize,
}

impl Worker {
    /// Takes records from a source all the way to the sinks. A mark comes before the records of every poll, and alone where there are none.
    pub(super) fn read(&mut self) -> Result<(), WorkerError> {
        if self.intake.rest.is_none() {
            self.poll()?;
        }
        if self.is_firing() {
            return Ok(());
        }
        let Some(piece) = self.intake.take_piece(self.rows_left()) else { return Ok(()) };
        let plan = Arc::clone(&self.plan);
        self.now_ms = piece.now_ms;
        self.touched = false;
        if !piece.batch.is_empty() {
            for target in plan.sources.get(piece.source).map_or(&[][..], |node| &node.targets) {
                self.deliver(*target, &piece.batch)?;
                if std::mem::take(&mut self.retreat) {
                    // It had no effect, and comes again in smaller pieces.
                    self.intake.reuse(piece.batch);
                    return Ok(());
                }
            }
        }
        self.after_delivery(piece)
    }

    fn poll(&mut self) -> Result<(), WorkerError> {
        self.align_sources();
        // All that have not ended are ahead of another worker's.
        let Some(source) = self.intake.next_turn() else { return self.wait() };
        let had_ended = self.intake.has_ended();
        let mut batch = self.intake.poll(source, self.rows_left())?;
        self.make_known(source);
        let now_ms = self.clock();
        if batch.is_empty() {
            self.intake.spare = batch;
            self.look_for_idle(source);
            self.place_mark(source, now_ms)?;
            return self.tell_end(had_ended);
        }
        fail::fail_point!("after_poll");
        // What the mark says is made of the records before.
        self.place_mark(source, now_ms)?;
        let before = self.highest_before(source, &batch);
        let refused = self.take_times(source, &mut batch, now_ms);
        self.intake.rest = Some(Rest { source, batch: Arc::new(batch), from: 0, refused, before, now_ms });
        Ok(())
    }

    fn after_delivery(&mut self, piece: Piece) -> Result<(), WorkerError> {
        let (source, now_ms) = (piece.source, piece.now_ms);
        let bytes = piece.batch.bytes_len() as u64;
        let passed = self.intake.pass(piece);
        for (row, reason) in &passed.refused {
            self.refuse_at_source(source, &passed.batch, *row, reason)?;
        }
        if let Some(counters) = self.shared.board.sources.get(source) {
            counters.records.add(passed.rows as u64);
            counters.bytes.add(bytes);
        }
        self.intake.grow();
        if self.intake.rest.is_none() {
            self.intake.reuse(passed.batch);
        }
        self.tell_dirty_bytes();
        if self.intake.has_source_ended(source) {
            // No poll comes any more to place the last mark.
            self.place_mark(source, now_ms)?;
            self.tell_end(false)?;
        }
        Ok(())
    }

    /// Says that the sources have come to their end, if that is news and nothing is left to fire.
    pub(super) fn tell_end(&mut self, had_ended: bool) -> Result<(), WorkerError> {
        if !had_ended && self.has_ended() {
            self.report(super::Report::Ended);
        }
        Ok(())
    }

    /// Whether nothing comes any more, neither from the sources nor from timers, unless another worker sends it.
    pub(super) fn has_ended(&self) -> bool {
        self.intake.has_ended() && !self.is_firing()
    }
}
