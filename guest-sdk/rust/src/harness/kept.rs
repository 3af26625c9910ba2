//! What a state holds between calls, as the host keeps it.

use crate::descriptor::State;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Watermark and clock of a call.
pub(crate) type Clock = (Option<i64>, i64);

/// All that a state holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// By the key of the records, then by map key or number of the element; a value has an empty one, a broadcast state no key.
    pub(crate) items: BTreeMap<(Vec<u8>, Vec<u8>), Item>,
    /// What the state's clock showed first: things without a time of their own count as refreshed then.
    since_ms: Option<i64>,
    /// Goes up with every change.
    pub(crate) revision: u64,
}

/// How often it has changed is no part of what it holds: that depends on how batches are cut.
impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        (&self.items, self.since_ms) == (&other.items, other.since_ms)
    }
}

impl Eq for Kept {}

/// A value, an entry or an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) bytes: Vec<u8>,
    /// The version that wrote it, if it is not the operator's.
    pub(crate) older_version: Option<u32>,
    refreshed_ms: Option<i64>,
}

impl Item {
    /// Something that was there before the first record.
    pub(crate) fn stored(bytes: Vec<u8>, older_version: Option<u32>) -> Self {
        Self { bytes, older_version, refreshed_ms: None }
    }
}

fn now_ms(state: &State, (watermark_ms, now_ms): Clock) -> Option<i64> {
    if state.ttl.is_some_and(|ttl| ttl.is_event) { watermark_ms } else { state.ttl.map(|_| now_ms) }
}

impl Kept {
    /// Notes what the clock shows at a call.
    pub(crate) fn note_clock(&mut self, state: &State, clock: Clock) {
        self.since_ms = self.since_ms.or(now_ms(state, clock));
    }

    fn lives(&self, state: &State, clock: Clock, item: &Item) -> bool {
        let (Some(ttl), Some(now_ms)) = (state.ttl, now_ms(state, clock)) else { return true };
        let since_ms = item.refreshed_ms.or(self.since_ms);
        since_ms.is_none_or(|since_ms| since_ms.saturating_add_unsigned(ttl.duration_ms()) > now_ms)
    }

    /// What is under a key, if it has not expired.
    pub(crate) fn get(&self, (state, clock): (&State, Clock), key: &[u8], map_key: &[u8]) -> Option<&[u8]> {
        let item = self.items.get(&(key.to_vec(), map_key.to_vec()))?;
        self.lives(state, clock, item).then_some(item.bytes.as_slice())
    }

    /// All that is under a key and has not expired, in order.
    pub(crate) fn of<'a>(
        &'a self,
        (state, clock): (&'a State, Clock),
        key: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        let start = Bound::Included((key.to_vec(), Vec::new()));
        // One byte more is the next key there can be.
        let end = Bound::Excluded(([key, &[0]].concat(), Vec::new()));
        let items = self.items.range((start, end)).filter(move |(_, item)| self.lives(state, clock, item));
        items.map(|((_, map_key), item)| (map_key.as_slice(), item.bytes.as_slice()))
    }

    /// Sets what is under a key, or removes it.
    pub(crate) fn put(&mut self, (state, clock): (&State, Clock), key: &[u8], map_key: &[u8], value: Option<&[u8]>) {
        let at = (key.to_vec(), map_key.to_vec());
        let is_same = self.items.get(&at).map(|item| item.bytes.as_slice()) == value;
        self.revision += u64::from(!is_same);
        match value {
            Some(bytes) => {
                let refreshed_ms = now_ms(state, clock);
                self.items.insert(at, Item { bytes: bytes.to_vec(), older_version: None, refreshed_ms });
            }
            None => drop(self.items.remove(&at)),
        }
    }

    /// Puts an element behind all others.
    pub(crate) fn append(&mut self, of: (&State, Clock), key: &[u8], element: &[u8]) {
        let end = ([key, &[0]].concat(), Vec::new());
        let last = self.items.range(..end).next_back().filter(|((of, _), _)| of == key);
        let last = last.and_then(|((_, number), _)| number.as_slice().try_into().ok()).map(u64::from_be_bytes);
        let number = last.map_or(0, |last| last + 1);
        self.put(of, key, &number.to_be_bytes(), Some(element));
    }

    /// Removes all that is under a key.
    pub(crate) fn clear(&mut self, key: &[u8]) {
        let before = self.items.len();
        self.items.retain(|(of, _), _| of != key);
        self.revision += u64::from(before != self.items.len());
    }

    /// Starts the time to live again, if it is not over.
    pub(crate) fn touch(&mut self, (state, clock): (&State, Clock), key: &[u8], map_key: &[u8]) {
        let at = (key.to_vec(), map_key.to_vec());
        let lives = self.items.get(&at).is_some_and(|item| self.lives(state, clock, item));
        if let Some(item) = self.items.get_mut(&at).filter(|_| lives) {
            item.refreshed_ms = now_ms(state, clock).or(item.refreshed_ms);
        }
    }

    /// Keys with something that an older version wrote.
    pub(crate) fn older_keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.items.iter().filter(|(_, item)| item.older_version.is_some()).map(|((key, _), _)| key)
    }
}
