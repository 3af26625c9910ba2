//! Windows: which of them the records of a batch belong to, and what is staged for them beside what the operator stages. The state of a window lies under its key and its beginning;
//! what happens to it and when is the work of the timers of [`Windowing::timers`], whose ids are beginnings.

use super::{Attempt, Firing, Task};
use crate::call::{Call, Fault, Fired, FiredWindows, Mark, Rejection, TimerOp, WindowFiring};
use crate::ports::CallError;
use crate::timers::Due;
use millstream_model::record::RecordBatch;
use millstream_model::window::Windowing;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that the beginning of a window adds to the key of its state.
pub(super) const TAIL_BYTES: usize = size_of::<i64>();

/// The records of a batch, once for each of their windows.
struct Spread {
    batch: Arc<RecordBatch>,
    /// By row: where its window begins.
    starts_ms: Vec<i64>,
    /// By row: the row of the batch it was made of; `None`: the batch is as it was.
    rows: Option<Vec<u32>>,
}

impl Spread {
    fn new(windowing: Windowing, batch: &Arc<RecordBatch>, watermark_ms: Option<i64>) -> Self {
        let (mut rows, mut starts_ms) = (Vec::new(), Vec::new());
        for (row, &time_ms) in (0u32..).zip(&batch.timestamps_ms) {
            for start_ms in windowing.starts(time_ms).filter(|start_ms| !windowing.is_over(*start_ms, watermark_ms)) {
                rows.push(row);
                starts_ms.push(start_ms);
            }
        }
        if rows.len() == batch.len() && rows.iter().zip(0u32..).all(|(row, at)| *row == at) {
            return Self { batch: Arc::clone(batch), starts_ms, rows: None };
        }
        let mut spread = RecordBatch::default();
        spread.gather(batch, &rows);
        Self { batch: Arc::new(spread), starts_ms, rows: Some(rows) }
    }

    fn row_of(&self, row: u32) -> u32 {
        self.rows.as_ref().and_then(|rows| rows.get(row as usize).copied()).unwrap_or(row)
    }

    /// Rejections of rows of the batch as it was: a record that was refused in one of its windows must leave nothing in the others, and the call is made again without it.
    fn rejections(&self, rejections: Vec<Rejection>) -> Result<Vec<Rejection>, CallError> {
        let Some(rows) = &self.rows else { return Ok(rejections) };
        let mut refused: BTreeMap<u32, (usize, String)> = BTreeMap::new();
        for rejection in rejections {
            let (count, _) = refused.entry(self.row_of(rejection.row)).or_insert((0, rejection.reason));
            *count += 1;
        }
        let windows = |row: &u32| rows.iter().filter(|other| *other == row).count();
        if refused.iter().any(|(row, (count, _))| windows(row) != *count) {
            return Err(CallError::Reject(refused.into_iter().map(|(row, (_, reason))| (row, reason)).collect()));
        }
        Ok(refused.into_iter().map(|(row, (_, reason))| Rejection { row, reason }).collect())
    }

    fn error(&self, error: CallError) -> CallError {
        let rows = |named: Vec<(u32, String)>| {
            let rows: BTreeMap<u32, String> =
                named.into_iter().map(|(row, reason)| (self.row_of(row), reason)).collect();
            rows.into_iter().collect()
        };
        match error {
            CallError::Reject(named) => CallError::Reject(rows(named)),
            CallError::Blame(named) => CallError::Blame(rows(named)),
            error => error,
        }
    }
}

/// The rows of a batch that belong to no window which still takes records, if they belong to any.
#[must_use]
pub fn late_rows(windowing: Windowing, batch: &RecordBatch, watermark_ms: Option<i64>) -> Vec<u32> {
    let is_late = |time_ms: &i64| {
        // The latest window is the last to be over.
        windowing.starts(*time_ms).next().is_some_and(|start_ms| windowing.is_over(start_ms, watermark_ms))
    };
    let rows = (0u32..).zip(&batch.timestamps_ms).filter(|(_, time_ms)| is_late(time_ms));
    rows.map(|(row, _)| row).collect()
}

impl Task {
    /// Makes one call with records, each in all its windows; see [`Task::attempt`].
    pub(super) fn attempt_windowed(
        &mut self,
        windowing: Windowing,
        (input, batch): (u32, &Arc<RecordBatch>),
        mark: Mark,
        searching: bool,
    ) -> Attempt {
        let spread = Spread::new(windowing, batch, mark.watermark_ms);
        if spread.batch.is_empty() {
            // Between two windows.
            return Attempt::Applied(Vec::new());
        }
        let attempt = self.call_with(&spread.batch, searching, |call| {
            call.begin_windowed(input, Arc::clone(&spread.batch), &spread.starts_ms, mark);
        });
        let rejections = match attempt {
            Attempt::Applied(rejections) => rejections,
            Attempt::Failed(error) => return Attempt::Failed(spread.error(error)),
        };
        let Some(mut call) = self.call.take() else { return Attempt::Applied(rejections) };
        let refused: Vec<u32> = rejections.iter().map(|rejection| rejection.row).collect();
        let applied = spread.rejections(rejections).and_then(|rejections| {
            self.stage_windows(windowing, &mut call, &spread.starts_ms, &refused)?;
            self.apply(&mut call, &[])?;
            Ok(rejections)
        });
        if applied.is_err() {
            call.discard();
        }
        self.call = Some(call);
        applied.map_or_else(Attempt::Failed, Attempt::Applied)
    }

    /// Stages what has to happen to the windows that records were folded into.
    fn stage_windows(
        &mut self,
        windowing: Windowing,
        call: &mut Call,
        starts_ms: &[i64],
        refused: &[u32],
    ) -> Result<(), Fault> {
        let mut touched = vec![false; call.first_rows.len()];
        for (row, &key_row) in (0u32..).zip(&call.key_rows) {
            if let Some(touched) = touched.get_mut(key_row as usize)
                && !refused.contains(&row)
            {
                *touched = true;
            }
        }
        let windows: Vec<(u32, i64)> = (0u32..)
            .zip(call.first_rows.iter().zip(&touched))
            .filter(|(_, (_, touched))| **touched)
            .filter_map(|(key_row, (&row, _))| Some((key_row, *starts_ms.get(row as usize)?)))
            .collect();
        let op = |timer, (key_row, start_ms): (u32, i64), time_ms| TimerOp {
            timer,
            key_row,
            id: start_ms.cast_unsigned(),
            time_ms: Some(time_ms),
        };
        let has_over = windowing.lateness_ms > 0;
        if has_over || windowing.early_ms.is_some() {
            // What is pending decides what becomes of a window.
            let asked = windows
                .iter()
                .flat_map(|window| [Windowing::OVER, Windowing::EARLY].map(|timer| op(timer, *window, 0)));
            let asked: Vec<TimerOp> = asked.collect();
            self.timers.load(&asked, |key_row| call.key(key_row))?;
        }
        let mark = call.mark;
        for window @ (key_row, start_ms) in windows {
            let end_ms = windowing.end_ms(start_ms);
            let id = start_ms.cast_unsigned();
            let is_pending = |timer| self.timers.is_pending(timer, id, call.key(key_row));
            let has_ended = mark.watermark_ms.is_some_and(|watermark_ms| end_ms <= watermark_ms);
            let fires_late = has_ended && is_pending(Windowing::OVER);
            let sets_early = !has_ended && !is_pending(Windowing::EARLY);
            let timer = if fires_late { Windowing::LATE } else { Windowing::END };
            call.staged.timers.push(op(timer, window, end_ms));
            if has_over {
                call.staged.timers.push(op(Windowing::OVER, window, windowing.over_ms(start_ms)));
            }
            if let Some(early_ms) = windowing.early_ms.filter(|_| sets_early) {
                let at_ms = mark.now_ms.saturating_add_unsigned(early_ms);
                call.staged.timers.push(op(Windowing::EARLY, window, at_ms));
            }
        }
        Ok(())
    }

    /// Makes one call with windows that fire, all for the same reason; see [`Task::attempt_timers`].
    pub(super) fn attempt_windows(
        &mut self,
        windowing: Windowing,
        firing: &Firing,
        mark: Mark,
        searching: bool,
    ) -> Attempt {
        let Some(timer) = firing.due.first().map(|due| due.timer) else { return Attempt::Applied(Vec::new()) };
        let windows = FiredWindows {
            starts_ms: firing.due.iter().map(|due| due.id.cast_signed()).collect(),
            ends_ms: firing.due.iter().map(|due| windowing.end_ms(due.id.cast_signed())).collect(),
            firing: match timer {
                Windowing::EARLY => WindowFiring::Early,
                Windowing::LATE => WindowFiring::Late,
                _ => WindowFiring::OnTime,
            },
        };
        let fired = Fired {
            timers: firing.due.iter().map(|due| due.timer).collect(),
            ids: firing.due.iter().map(|due| due.id).collect(),
        };
        let begin = |call: &mut Call| call.begin_windows(fired, windows, Arc::clone(&firing.batch), mark);
        let attempt = if timer == Windowing::OVER {
            self.begin_only(begin)
        } else {
            self.call_with(&firing.batch, searching, begin)
        };
        if let Attempt::Failed(_) = attempt {
            return attempt;
        }
        let Some(mut call) = self.call.take() else { return attempt };
        let is_over = timer == Windowing::OVER || (timer == Windowing::END && windowing.lateness_ms == 0);
        let ended = end_windows(windowing, &mut call, timer, is_over).map_err(CallError::from);
        let applied = ended.and_then(|()| self.apply(&mut call, &firing.due));
        let attempt = match applied {
            Ok(()) => attempt,
            Err(error) => {
                call.discard();
                Attempt::Failed(error)
            }
        };
        self.call = Some(call);
        attempt
    }

    /// A window was refused: it is gone, with all that it held.
    pub(super) fn drop_window(&mut self, windowing: Windowing, due: &Due) -> Result<(), CallError> {
        let firing = Firing::new(vec![due.clone()], Some(windowing));
        let windows = FiredWindows {
            starts_ms: vec![due.id.cast_signed()],
            ends_ms: vec![windowing.end_ms(due.id.cast_signed())],
            firing: WindowFiring::OnTime,
        };
        let fired = Fired { timers: vec![due.timer], ids: vec![due.id] };
        let Some(mut call) = self.call.take() else { return Ok(()) };
        let mark = call.mark;
        call.begin_windows(fired, windows, Arc::clone(&firing.batch), mark);
        let dropped = end_windows(windowing, &mut call, due.timer, true).map_err(CallError::from);
        let dropped = dropped.and_then(|()| self.apply(&mut call, std::slice::from_ref(due)));
        if dropped.is_err() {
            call.discard();
        }
        self.call = Some(call);
        dropped
    }
}

/// Stages what becomes of windows that have fired, or are over.
fn end_windows(windowing: Windowing, call: &mut Call, timer: u32, is_over: bool) -> Result<(), Fault> {
    let key_rows: Vec<u32> = (0..call.batch.len() as u32).collect();
    let starts_ms = call.window.take().map(|windows| windows.starts_ms).unwrap_or_default();
    if timer == Windowing::END && windowing.early_ms.is_some() {
        let early = key_rows.iter().zip(&starts_ms).map(|(&key_row, start_ms)| TimerOp {
            timer: Windowing::EARLY,
            key_row,
            id: start_ms.cast_unsigned(),
            time_ms: None,
        });
        call.staged.timers.extend(early);
    }
    if is_over {
        for state in 0..call.state.states().len() as u32 {
            call.clear_state(state, &key_rows)?;
        }
    }
    Ok(())
}
