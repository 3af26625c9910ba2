use super::{Worker, WorkerError};
use crate::call::Mark;
use crate::ports::{Clock, PartitionProgress, Poll, Source, SourceError};
use millstream_model::commit::{Gap, PartitionPosition};
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
    /// What is left of a batch that is processed in pieces.
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
}

struct Rest {
    source: usize,
    batch: RecordBatch,
    from: u32,
    now_ms: i64,
}

/// Records on their way to the operators.
struct Taken {
    source: usize,
    batch: RecordBatch,
    /// The clock of the poll that brought them, in milliseconds since 1970: all its pieces have it, and those that come again.
    now_ms: i64,
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

    /// The next records, at most that many.
    fn take(&mut self, rows_max: usize, clock: &dyn Clock) -> Result<Option<Taken>, SourceError> {
        let piece_rows = self.piece_rows.min(rows_max).max(1);
        if self.rest.is_some() {
            return Ok(self.take_piece(piece_rows));
        }
        let Some(at) = self.next_turn() else { return Ok(None) };
        let mut batch = std::mem::take(&mut self.spare);
        let (Some(source), Some(turn)) = (self.sources.get_mut(at), self.turns.get_mut(at)) else { return Ok(None) };
        let limits = BatchLimits { rows_max: self.limits.rows_max.min(rows_max).max(1), ..self.limits };
        let poll = source.poll(&mut batch, &limits)?;
        let now_ms = clock.now_ms();
        turn.ended = poll == Poll::End;
        turn.quiet = if batch.is_empty() { QUIET_TURNS } else { 0 };
        if batch.is_empty() {
            self.spare = batch;
            return Ok(None);
        }
        if batch.len() > piece_rows {
            self.rest = Some(Rest { source: at, batch, from: 0, now_ms });
            return Ok(self.take_piece(piece_rows));
        }
        Ok(Some(Taken { source: at, batch, now_ms }))
    }

    fn next_turn(&mut self) -> Option<usize> {
        let count = self.sources.len();
        let all_quiet = self.turns.iter().all(|turn| turn.ended || turn.quiet > 0);
        for _ in 0..count {
            let at = self.next % count;
            self.next = at + 1;
            let turn = self.turns.get_mut(at)?;
            if turn.ended {
                continue;
            }
            if all_quiet || turn.quiet == 0 {
                return Some(at);
            }
            turn.quiet -= 1;
        }
        None
    }

    fn take_piece(&mut self, piece_rows: usize) -> Option<Taken> {
        let rest = self.rest.as_mut()?;
        let to = rest.batch.len().min(rest.from as usize + piece_rows) as u32;
        let rows: Vec<u32> = (rest.from..to).collect();
        let mut piece = std::mem::take(&mut self.spare);
        piece.gather(&rest.batch, &rows);
        rest.from = to;
        let (source, now_ms) = (rest.source, rest.now_ms);
        if to as usize == rest.batch.len() {
            self.rest = None;
        }
        Some(Taken { source, batch: piece, now_ms })
    }

    /// Puts records that had no effect back, to come again in small pieces.
    fn put_back(&mut self, Taken { source, batch, now_ms }: Taken) {
        match &mut self.rest {
            // A piece of what is left: step back over it.
            Some(rest) => {
                rest.from -= batch.len() as u32;
                self.reuse(batch);
            }
            None => self.rest = Some(Rest { source, batch, from: 0, now_ms }),
        }
    }

    fn reuse(&mut self, mut batch: RecordBatch) {
        batch.clear();
        self.spare = batch;
    }

    /// A call with that many rows has failed: pieces become smaller.
    pub(super) fn shrink(&mut self, rows: usize) {
        self.piece_rows = if rows > PIECE_ROWS { PIECE_ROWS } else { 1 };
    }

    fn grow(&mut self) {
        self.piece_rows = (self.piece_rows * 2).min(self.limits.rows_max);
    }

    /// Goes to the positions of a commit.
    pub(super) fn seek(&mut self, plan: &Plan, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        self.rest = None;
        for ((source, turn), node) in self.sources.iter_mut().zip(&mut self.turns).zip(&plan.sources) {
            let own: Vec<PartitionPosition> =
                positions.iter().filter(|position| position.source == node.id).cloned().collect();
            source.seek(&own)?;
            turn.ended = false;
            turn.quiet = 0;
        }
        Ok(())
    }

    /// Tells every source what is committed.
    pub(super) fn committed(&mut self, plan: &Plan, positions: &[PartitionPosition]) {
        for (source, node) in self.sources.iter_mut().zip(&plan.sources) {
            let own: Vec<PartitionPosition> =
                positions.iter().filter(|position| position.source == node.id).cloned().collect();
            source.committed(&own);
        }
    }

    /// How far each partition is processed: as far as it is read, less what is left of a batch in pieces.
    pub(super) fn positions(&self, plan: &Plan) -> Vec<PartitionPosition> {
        let mut left = BTreeMap::new();
        if let Some(rest) = &self.rest {
            for origin in rest.batch.origins.iter().skip(rest.from as usize) {
                left.entry(origin.partition).or_insert(origin.offset);
            }
        }
        let sources = self.sources.iter().zip(&plan.sources);
        sources
            .flat_map(|(source, node)| source.progress().iter().map(|progress| (progress, &node.id)))
            .map(|(progress, id)| {
                let next = left.get(&progress.index).copied().unwrap_or(progress.next);
                PartitionPosition {
                    source: id.clone(),
                    partition: progress.partition,
                    from: next,
                    next,
                    leader_epoch: progress.leader_epoch,
                    timestamp_ms_max: progress.timestamp_ms_max,
                    idle: false,
                }
            })
            .collect()
    }

    /// What the sources say of their partitions.
    pub(super) fn progress(&self) -> Vec<(u16, PartitionProgress)> {
        let sources = self.sources.iter().zip(0u16..);
        sources.flat_map(|(source, at)| source.progress().iter().map(move |progress| (at, progress.clone()))).collect()
    }

    pub(super) fn take_gaps(&mut self) -> Vec<Gap> {
        self.sources.iter_mut().flat_map(|source| source.take_gaps()).collect()
    }

    /// Partitions of a source that were not yet made known.
    fn take_unknown(&mut self, at: usize) -> Vec<PartitionProgress> {
        let (Some(source), Some(turn)) = (self.sources.get(at), self.turns.get_mut(at)) else { return Vec::new() };
        let progress = source.progress();
        if progress.len() == turn.known {
            return Vec::new();
        }
        turn.known = progress.len();
        progress.to_vec()
    }
}

impl Worker {
    /// Takes records from a source all the way to the sinks.
    pub(super) fn read(&mut self) -> Result<(), WorkerError> {
        let had_ended = self.intake.has_ended();
        let shared = Arc::clone(&self.shared);
        let Some(Taken { source, batch, now_ms }) = self.intake.take(self.rows_left(), &*shared.clock)? else {
            if !had_ended && self.intake.has_ended() {
                self.report(super::Report::Ended);
            }
            return Ok(());
        };
        fail::fail_point!("after_poll");
        self.make_known(source);
        let plan = Arc::clone(&self.plan);
        self.mark = Mark { watermark_ms: None, now_ms };
        let batch = Arc::new(batch);
        self.touched = false;
        for target in plan.sources.get(source).map_or(&[][..], |node| &node.targets) {
            self.deliver(*target, &batch)?;
            if self.retreat {
                break;
            }
        }
        let batch = Arc::try_unwrap(batch).unwrap_or_else(|shared| (*shared).clone());
        self.after_delivery(Taken { source, batch, now_ms });
        Ok(())
    }

    fn after_delivery(&mut self, taken: Taken) {
        if std::mem::take(&mut self.retreat) {
            self.intake.put_back(taken);
            return;
        }
        let Taken { source, batch, .. } = taken;
        if let Some(counters) = self.shared.board.sources.get(source) {
            counters.records.add(batch.len() as u64);
            counters.bytes.add(batch.bytes_len() as u64);
        }
        self.intake.grow();
        self.intake.reuse(batch);
        self.tell_dirty_bytes();
        if self.intake.has_ended() {
            self.report(super::Report::Ended);
        }
    }

    /// Partitions are made known before the first record of theirs can be refused somewhere.
    fn make_known(&mut self, source: usize) {
        for progress in self.intake.take_unknown(source) {
            let id = self.plan.sources.get(source).map(|node| node.id.as_str()).unwrap_or_default();
            self.shared.places.insert(progress.index, id, progress.partition);
        }
    }
}
