use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Times of timers by name: what changed in the open and the frozen epoch, and what was asked for lately. What is not here is as the store says.
#[derive(Default)]
pub(super) struct Known {
    entries: HashMap<Box<[u8]>, Entry, RandomState>,
    /// Changes at or before this epoch are in the store.
    applied: u32,
    /// Counts up; what was asked for lately is told by it.
    turn: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Now; `None`: not set.
    time_ms: Option<i64>,
    /// At the last cut.
    stored: Option<i64>,
    /// Epoch of the last change.
    changed: u32,
    /// When it was last asked for.
    seen: u32,
}

/// How a timer was before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// Its time just before.
    pub(super) before: Option<i64>,
    /// Its time at the last cut.
    pub(super) stored: Option<i64>,
}

/// Memory of an entry with a short key, nearly.
pub(super) const ENTRY_BYTES: usize = size_of::<(Box<[u8]>, Entry)>() * 8 / 7 + 48;

/// Turns after which half of what may go goes.
const TURNS: u32 = 2;

impl Known {
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.entries.contains_key(name)
    }

    /// What the store says of a timer that was not known.
    pub(super) fn learn(&mut self, name: Box<[u8]>, time_ms: Option<i64>) {
        let seen = self.turn;
        self.entries.entry(name).or_insert(Entry { time_ms, stored: time_ms, changed: 0, seen });
    }

    /// Changes a known timer; `None` if that changes nothing.
    pub(super) fn change(&mut self, name: &[u8], after: Option<i64>, epoch: u32) -> Option<Change> {
        let entry = self.entries.get_mut(name)?;
        entry.seen = self.turn;
        if entry.time_ms == after {
            return None;
        }
        let change = Change { before: entry.time_ms, stored: entry.stored };
        entry.time_ms = after;
        entry.changed = epoch;
        Some(change)
    }

    /// The time of a known timer; the outer `None`: not known.
    pub(super) fn get(&self, name: &[u8]) -> Option<Option<i64>> {
        self.entries.get(name).map(|entry| entry.time_ms)
    }

    /// Takes the time now for the one at the cut, and returns it.
    pub(super) fn freeze(&mut self, name: &[u8]) -> Option<i64> {
        let entry = self.entries.get_mut(name)?;
        entry.stored = entry.time_ms;
        entry.time_ms
    }

    pub(super) fn applied(&mut self, epoch: u32) {
        self.applied = self.applied.max(epoch);
    }

    pub(super) fn clear(&mut self) {
        self.entries = HashMap::default();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * ENTRY_BYTES
    }

    /// Forgets what is in the store: at first what was not asked for since the last time but one, then everything.
    pub(super) fn evict(&mut self, memory_bytes_max: usize) {
        let (applied, turn) = (self.applied, self.turn);
        let keeps = memory_bytes_max / ENTRY_BYTES / 2;
        let is_bound = |entry: &Entry| entry.changed > applied || entry.stored != entry.time_ms;
        self.entries.retain(|_, entry| is_bound(entry) || turn - entry.seen < TURNS);
        if self.entries.len() > keeps {
            self.entries.retain(|_, entry| is_bound(entry));
        }
        self.entries.shrink_to_fit();
        self.turn += 1;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_not_in_the_store_is_never_forgotten() {
        let mut known = Known::default();
        for name in [b"open", b"cold"] {
            known.learn(name.as_slice().into(), None);
        }
        assert_eq!(known.change(b"open", Some(5), 1).unwrap(), Change { before: None, stored: None });
        known.evict(0);
        assert!(known.has(b"open") && !known.has(b"cold"));
        assert_eq!(known.freeze(b"open"), Some(5));
        known.evict(0);
        assert_eq!(known.get(b"open"), Some(Some(5)), "frozen, not yet applied");
        known.applied(1);
        known.evict(0);
        assert!(!known.has(b"open"));
    }
}
