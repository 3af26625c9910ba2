//! Which values still live: decided per call by its mark, the same for the whole call.

use super::KeyedState;
use super::facts::Numbers;
use super::groups::Groups;
use super::held::Held;
use crate::call::{Fault, Mark};
use millstream_model::cell::{self, CellValue};
use millstream_model::descriptor::{Ttl, TtlClock, TtlRefresh};

/// What tells whether something held of a state is still there. In a state with a time to live, values and entries are held as their cells are stored, with version
/// and time; in others, only the operator's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lives<'a>(Option<Timing<'a>>);

#[derive(Debug, Clone, Copy)]
struct Timing<'a> {
    ttl: Ttl,
    /// What the state's clock shows; none before the first watermark.
    now_ms: Option<i64>,
    /// When cells without a time count as refreshed, by key group.
    since: Option<&'a Numbers>,
    groups: Groups,
}

/// What a state's clock shows.
pub(super) fn clock_ms(ttl: &Ttl, mark: Mark) -> Option<i64> {
    match ttl.clock {
        TtlClock::Event => mark.watermark_ms,
        TtlClock::Processing => Some(mark.now_ms),
    }
}

impl<'a> Lives<'a> {
    /// The operator's bytes of what is held, if it has not expired.
    #[inline]
    pub(super) fn live<'h>(&self, held: &'h [u8], user_key: &[u8]) -> Option<&'h [u8]> {
        match &self.0 {
            None => Some(held),
            Some(timing) => timing.live(held, user_key).map(|value| value.bytes),
        }
    }

    /// What is held, refreshed now; `None` if it has expired or was refreshed at this mark already.
    pub(super) fn touched(&self, held: &[u8], user_key: &[u8]) -> Option<Held> {
        let timing = self.0.as_ref()?;
        let value = timing.live(held, user_key)?;
        if timing.now_ms.is_none() || value.refreshed_ms >= timing.now_ms {
            return None;
        }
        let mut touched = Vec::with_capacity(held.len());
        cell::write_timed_value(&mut touched, value.version, timing.now_ms, value.bytes);
        Some(Held::from_slice(&touched))
    }

    /// Whether a stored cell has expired.
    pub(super) fn has_expired(&self, stored: &[u8], user_key: &[u8]) -> bool {
        self.0
            .as_ref()
            .is_some_and(|timing| cell::read_value(stored).is_some_and(|value| !timing.is_live(&value, user_key)))
    }
}

impl Timing<'_> {
    fn live<'h>(&self, held: &'h [u8], user_key: &[u8]) -> Option<CellValue<'h>> {
        cell::read_value(held).filter(|value| self.is_live(value, user_key))
    }

    fn is_live(&self, value: &CellValue<'_>, user_key: &[u8]) -> bool {
        let Some(now_ms) = self.now_ms else { return true };
        let since = || self.since.and_then(|since| since.get(self.groups.of(user_key))).map(u64::cast_signed);
        value.refreshed_ms.or_else(since).is_none_or(|refreshed_ms| !self.ttl.has_expired(refreshed_ms, now_ms))
    }
}

impl KeyedState {
    /// See [`Lives`].
    pub(super) fn lives(&self, state: u32) -> Lives<'_> {
        let ttl = self.states.get(state as usize).and_then(|column| column.descriptor.ttl);
        Lives(ttl.map(|ttl| Timing {
            ttl,
            now_ms: clock_ms(&ttl, self.mark),
            since: self.facts.get(state as usize).map(|facts| &facts.lives_since),
            groups: self.groups,
        }))
    }

    /// Bytes of the operator as they are held, refreshed now.
    pub(super) fn form(&self, state: u32, bytes: &[u8]) -> Held {
        let Some(descriptor) = self.states.get(state as usize).map(|column| &column.descriptor) else {
            return Held::Absent;
        };
        let Some(ttl) = &descriptor.ttl else { return Held::from_slice(bytes) };
        let mut timed = Vec::with_capacity(bytes.len() + TIMED_BYTES);
        cell::write_timed_value(&mut timed, descriptor.version, clock_ms(ttl, self.mark), bytes);
        Held::from_slice(&timed)
    }

    /// Whether what is held of a state begins to live again when the operator says that it read it.
    pub(crate) fn is_touched(&self, state: u32) -> bool {
        let ttl = self.states.get(state as usize).and_then(|column| column.descriptor.ttl);
        ttl.is_some_and(|ttl| ttl.refresh == TtlRefresh::OnAccess)
    }

    /// Notes when a state's clock showed something first: what was written before counts as refreshed then.
    pub(super) fn note_clock(&mut self, state: u32) -> Result<(), Fault> {
        let Some(ttl) = self.states.get(state as usize).and_then(|column| column.descriptor.ttl) else {
            return Ok(());
        };
        let Some(now_ms) = clock_ms(&ttl, self.mark) else { return Ok(()) };
        if self.facts.get(state as usize).is_some_and(|facts| facts.lives_since.is_complete()) {
            return Ok(());
        }
        self.load_facts(state, cell::GroupFact::LivesSince)?;
        let groups = self.share.groups.clone();
        if let Some(facts) = self.facts.get_mut(state as usize) {
            facts.lives_since.complete(groups, now_ms.cast_unsigned());
        }
        Ok(())
    }
}

/// What a time to live adds to a value at most, in bytes.
const TIMED_BYTES: usize = 16;
