//! How long a guest may run: its own time on a processor counts, not the time in which the machine let others run.
//!
//! The epoch only tells when to look. A host short of processors lets a thread wait for longer than a call's whole limit, and a good record would be
//! refused for it; so at the end of the limit the thread's processor time is read, and a guest that has not had it all goes on.

use crate::host::Host;
use crate::ticker::ticks;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreContextMut, Trap, UpdateDeadline};

/// Time granted to a call, and where its thread's clock stood.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    limit_ms: u64,
    /// None: not read yet. It is at the end of the limit, and what was used before does not count.
    begun_ms: Option<u64>,
}

impl Allowance {
    /// Time the guest may still take, in milliseconds; nothing is left at the end.
    fn left_ms(&mut self, now_ms: u64) -> Option<u64> {
        let begun_ms = *self.begun_ms.get_or_insert(now_ms);
        self.limit_ms.checked_sub(now_ms.saturating_sub(begun_ms)).filter(|left_ms| *left_ms > 0)
    }
}

/// Has the guests of a store end when their time is used up.
pub(crate) fn watch(store: &mut Store<Host>) {
    store.epoch_deadline_callback(|mut store: StoreContextMut<'_, Host>| {
        match store.data_mut().allowance.left_ms(thread_ms()) {
            Some(left_ms) => Ok(UpdateDeadline::Continue(ticks(left_ms))),
            None => Err(Trap::Interrupt.into()),
        }
    });
}

/// Grants a call its time, from now on.
pub(crate) fn grant(store: &mut Store<Host>, limit_ms: u64) {
    store.data_mut().allowance = Allowance { limit_ms, begun_ms: Some(thread_ms()) };
    store.set_epoch_deadline(ticks(limit_ms));
}

/// As [`grant`], for calls so short that a system call before each would be felt: a guest that never returns gets the time twice.
pub(crate) fn grant_unread(store: &mut Store<Host>, limit_ms: u64) {
    store.data_mut().allowance = Allowance { limit_ms, begun_ms: None };
    store.set_epoch_deadline(ticks(limit_ms));
}

/// Processor time of this thread, in milliseconds.
fn thread_ms() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000 + u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waited_has_its_time_still() {
        let mut allowance = Allowance { limit_ms: 250, begun_ms: Some(1_000) };
        assert_eq!(allowance.left_ms(1_000), Some(250));
        assert_eq!(allowance.left_ms(1_100), Some(150));
        assert_eq!(allowance.left_ms(1_250), None);
        assert_eq!(allowance.left_ms(9_000), None);
    }

    #[test]
    fn a_clock_that_was_not_read_begins_at_the_first_look() {
        let mut allowance = Allowance { limit_ms: 250, begun_ms: None };
        assert_eq!(allowance.left_ms(7_000), Some(250));
        assert_eq!(allowance.left_ms(7_249), Some(1));
        assert_eq!(allowance.left_ms(7_250), None);
    }
}
