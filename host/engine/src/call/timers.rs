use super::emit::misuse;
use super::{Call, Fault, TimerOp};

/// Timers that a call fires: row `i` is the timer of key row `i`, its time the row's timestamp.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fired {
    /// Position of each timer in the descriptor.
    pub timers: Vec<u32>,
    /// The id each was set with.
    pub ids: Vec<u64>,
}

impl Call {
    /// Stages timers of key rows. A key row may repeat; the last one of a timer and id counts.
    ///
    /// # Errors
    /// [`Fault::Misuse`] for a timer or a key row that does not exist, and for columns of unequal length.
    pub fn set_timers(&mut self, timer: u32, key_rows: &[u32], ids: &[u64], times_ms: &[i64]) -> Result<(), Fault> {
        if ids.len() != key_rows.len() || times_ms.len() != key_rows.len() {
            return misuse("timers to set: not one id and one time per key row");
        }
        let times = times_ms.iter().copied().map(Some);
        self.stage_timers(timer, key_rows.iter().zip(ids).zip(times))
    }

    /// Stages the removal of timers of key rows; nothing happens where there is none.
    ///
    /// # Errors
    /// As [`Call::set_timers`].
    pub fn cancel_timers(&mut self, timer: u32, key_rows: &[u32], ids: &[u64]) -> Result<(), Fault> {
        if ids.len() != key_rows.len() {
            return misuse("timers to cancel: not one id per key row");
        }
        self.stage_timers(timer, key_rows.iter().zip(ids).zip(std::iter::repeat(None)))
    }

    fn stage_timers<'a>(
        &mut self,
        timer: u32,
        rows: impl Iterator<Item = ((&'a u32, &'a u64), Option<i64>)>,
    ) -> Result<(), Fault> {
        if self.is_broadcast() {
            return misuse("the timers of keys are out of reach in `process-broadcast`");
        }
        if self.rules.is_windowed {
            return misuse("an operator that works inside windows has no timers");
        }
        let count = self.rules.timers;
        if timer as usize >= count {
            return misuse(format!("there is no timer {timer} (there are {count})"));
        }
        for ((&key_row, &id), time_ms) in rows {
            self.check_key_row(key_row)?;
            self.staged.timers.push(TimerOp { timer, key_row, id, time_ms });
        }
        Ok(())
    }
}
