use super::{Attempt, Task};
use crate::call::{Call, Fault, Fired, Mark};
use crate::ports::CallError;
use crate::timers::Due;
use millstream_model::descriptor::TimerClock;
use millstream_model::record::{Origin, RecordBatch};
use millstream_model::window::Windowing;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Timers that fire together, and the rows they are to the operator.
#[derive(Debug, Clone, Default)]
pub struct Firing {
    /// One of each key; in windows, all for the same reason.
    pub due: Vec<Due>,
    /// Keys and times of these; of windows, the last moment of each.
    pub batch: Arc<RecordBatch>,
    windowing: Option<Windowing>,
}

impl Firing {
    /// Makes the rows.
    #[must_use]
    pub fn new(due: Vec<Due>, windowing: Option<Windowing>) -> Self {
        let mut batch = RecordBatch::default();
        for one in &due {
            let last_ms = windowing.map(|windowing| windowing.end_ms(one.id.cast_signed()).saturating_sub(1));
            batch.push(Some(&one.key), None, last_ms.unwrap_or(one.time_ms), Origin::TIMER);
        }
        Self { due, batch: Arc::new(batch), windowing }
    }

    /// Some of them.
    #[must_use]
    pub fn part(&self, rows: impl Iterator<Item = usize>) -> Self {
        Self::new(rows.filter_map(|row| self.due.get(row).cloned()).collect(), self.windowing)
    }
}

impl Task {
    /// Whether a timer may be due: a `false` is certain.
    #[must_use]
    pub fn has_due(&self, mark: Mark) -> bool {
        self.timers.has_due(mark)
    }

    /// Timers that are due, at most `rows_max` and one of each key.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn due(&mut self, mark: Mark, rows_max: usize) -> Result<Vec<Due>, Fault> {
        let due = self.timers.due(mark, rows_max)?;
        if due.is_empty() {
            self.rounds.clear();
        }
        Ok(due)
    }

    /// The earliest due timer of each key of a batch.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn due_of(&self, batch: &RecordBatch, mark: Mark) -> Result<Vec<Due>, Fault> {
        self.timers.due_of(batch.keys.iter().map(Option::unwrap_or_default), mark)
    }

    /// What fires together: of windows, those that do for the same reason.
    #[must_use]
    pub fn firings(&self, due: Vec<Due>) -> Vec<Firing> {
        let Some(windowing) = self.parts.node.windows else { return vec![Firing::new(due, None)] };
        let mut by_timer: BTreeMap<u32, Vec<Due>> = BTreeMap::new();
        due.into_iter().for_each(|one| by_timer.entry(one.timer).or_default().push(one));
        by_timer.into_values().map(|due| Firing::new(due, Some(windowing))).collect()
    }

    /// Makes one call with timers. Those it was made for are gone when it succeeded; see [`Task::attempt`] for the rest.
    pub fn attempt_timers(&mut self, firing: &Firing, mark: Mark, searching: bool) -> Attempt {
        if let Some(windowing) = self.parts.node.windows {
            return self.attempt_windows(windowing, firing, mark, searching);
        }
        let fired = Fired {
            timers: firing.due.iter().map(|due| due.timer).collect(),
            ids: firing.due.iter().map(|due| due.id).collect(),
        };
        let batch = &firing.batch;
        let attempt = self.call_with(batch, searching, |call| call.begin_timers(fired, Arc::clone(batch), mark));
        if let Attempt::Failed(_) = attempt {
            return attempt;
        }
        let Some(mut call) = self.call.take() else { return attempt };
        let applied = self.check_rounds(firing, &call).and_then(|()| self.apply(&mut call, &firing.due));
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

    /// Merges what a call staged into the open epoch; timers that it fired are gone first.
    pub(super) fn apply(&mut self, call: &mut Call, fired: &[Due]) -> Result<(), CallError> {
        if self.timers.is_used() {
            self.timers.load(&call.staged.timers, |key_row| call.key(key_row))?;
            fired.iter().for_each(|due| self.timers.consume(due));
            self.timers.apply(&call.staged.timers, |key_row| call.key(key_row));
        }
        call.apply_state();
        call.apply_metrics(&mut self.measured);
        Ok(())
    }

    /// A timer was refused: it is gone, and left nothing else.
    ///
    /// # Errors
    /// When what a window held cannot be removed.
    pub fn consume(&mut self, due: &Due) -> Result<(), CallError> {
        match self.parts.node.windows {
            Some(windowing) => self.drop_window(windowing, due),
            None => {
                self.timers.consume(due);
                Ok(())
            }
        }
    }

    /// Counts timers that fire and set another one that is due at once: one that does so for ever is a trap.
    fn check_rounds(&mut self, firing: &Firing, call: &Call) -> Result<(), CallError> {
        let max = self.parts.node.limits.timer_rounds_max;
        for op in &call.staged.timers {
            let clock = self.parts.node.descriptor.timers.get(op.timer as usize).map(|timer| timer.clock);
            let until_ms = match clock {
                Some(TimerClock::Event) => call.mark.watermark_ms,
                _ => Some(call.mark.now_ms),
            };
            if op.time_ms.is_none() || op.time_ms > until_ms {
                continue;
            }
            let rounds = self.rounds.entry(call.key(op.key_row).into()).or_insert(0);
            if *rounds >= max {
                let reason = format!(
                    "timers of one key ({} in this call) set one that is due at once more than {max} times in a row (`limits.timer_rounds`)",
                    firing.due.len()
                );
                return Err(CallError::Trap { reason, backtrace: None });
            }
            *rounds += 1;
        }
        Ok(())
    }
}
