use super::cells::time_of;
use std::collections::{BTreeMap, BTreeSet};

/// Timers of a key group that are kept at hand, in the order of time, at most.
pub(super) const NEAR_MAX: usize = 1_024;

/// Memory of a cell in one of the ordered sets with a short key, nearly.
pub(super) const CELL_BYTES: usize = 88;

/// The timers of one key group in the order of time: the first ones at hand, and what changed and is not in the store.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// All timers up to `loaded`.
    pub(super) near: BTreeSet<Box<[u8]>>,
    pub(super) loaded: Loaded,
    /// No timer behind `loaded` is earlier.
    far_ms: Far,
    /// Changes of the open epoch: whether a timer is there that was not, or not there that was.
    pub(super) open: BTreeMap<Box<[u8]>, bool>,
    /// The same of the frozen epoch.
    pub(super) frozen: BTreeMap<Box<[u8]>, bool>,
}

/// How far a group's timers are at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Loaded {
    /// None is.
    #[default]
    Nothing,
    /// Those up to this one.
    UpTo(Box<[u8]>),
    /// All are.
    All,
}

#[derive(Debug, Clone, Copy)]
struct Far(i64);

impl Default for Far {
    fn default() -> Self {
        // Nobody has looked yet.
        Self(i64::MIN)
    }
}

impl Group {
    /// No timer is earlier.
    pub(super) fn first_ms(&self) -> i64 {
        self.near.first().map_or(i64::MAX, |ordered| time_of(ordered)).min(self.far_ms())
    }

    /// Whether all timers are at hand.
    pub(super) fn has_all(&self) -> bool {
        self.loaded == Loaded::All
    }

    /// No timer that is not at hand is earlier.
    pub(super) fn far_ms(&self) -> i64 {
        if self.loaded == Loaded::All { i64::MAX } else { self.far_ms.0 }
    }

    fn is_near(&self, ordered: &[u8]) -> bool {
        match &self.loaded {
            Loaded::Nothing => false,
            Loaded::UpTo(last) => ordered <= &**last,
            Loaded::All => true,
        }
    }

    /// A timer is there now; `was_stored`: it was at the last cut.
    pub(super) fn add(&mut self, ordered: Box<[u8]>, was_stored: bool) {
        if self.is_near(&ordered) {
            self.near.insert(ordered.clone());
            self.make_room();
        } else {
            self.far_ms.0 = self.far_ms.0.min(time_of(&ordered));
        }
        if was_stored {
            self.open.remove(&ordered);
        } else {
            self.open.insert(ordered, true);
        }
    }

    /// A timer is gone; `was_stored`: it was there at the last cut.
    pub(super) fn remove(&mut self, ordered: &[u8], was_stored: bool) {
        self.near.remove(ordered);
        if was_stored {
            self.open.insert(ordered.into(), false);
        } else {
            self.open.remove(ordered);
        }
    }

    /// Lets the later half go where too many are at hand.
    fn make_room(&mut self) {
        if self.near.len() <= NEAR_MAX {
            return;
        }
        let Some(middle) = self.near.iter().nth(NEAR_MAX / 2).cloned() else { return };
        let gone = self.near.split_off(&middle);
        self.far_ms.0 = gone.first().map_or(i64::MAX, |first| time_of(first));
        self.loaded = self.near.last().map_or(Loaded::Nothing, |last| Loaded::UpTo(last.clone()));
    }

    /// Where the timers not at hand begin: behind this one.
    pub(super) fn loaded_to(&self) -> Option<&[u8]> {
        match &self.loaded {
            Loaded::UpTo(last) => Some(last),
            Loaded::Nothing | Loaded::All => None,
        }
    }

    /// Takes in what comes next in the order of time: timers of the store as it is, at least one unless `is_end`, laid under what has changed since.
    /// At most `count_max` changes are looked at for each.
    pub(super) fn take_in(&mut self, stored: Vec<Box<[u8]>>, is_end: bool, count_max: usize) {
        let stored_to =
            if is_end { Loaded::All } else { stored.last().map_or(Loaded::All, |last| Loaded::UpTo(last.clone())) };
        let from = self.loaded_to().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = (from, std::ops::Bound::Unbounded);
        let mut added = BTreeSet::new();
        let mut added_to = Loaded::All;
        let frozen = self
            .frozen
            .range::<[u8], _>(range)
            .filter(|(ordered, is_there)| **is_there && !self.open.contains_key(*ordered));
        let open = self.open.range::<[u8], _>(range).filter(|(_, is_there)| **is_there);
        for side in [
            &mut frozen.map(|(ordered, _)| ordered) as &mut dyn Iterator<Item = &Box<[u8]>>,
            &mut open.map(|(ordered, _)| ordered),
        ] {
            let first: Vec<_> = side.take(count_max).cloned().collect();
            if first.len() == count_max
                && let Some(last) = first.last()
            {
                added_to = earlier(added_to, Loaded::UpTo(last.clone()));
            }
            added.extend(first);
        }
        let to = earlier(stored_to, added_to);
        let is_within = |ordered: &[u8]| match &to {
            Loaded::UpTo(last) => ordered <= &**last,
            Loaded::Nothing | Loaded::All => true,
        };
        let is_gone = |ordered: &[u8]| {
            self.open.get(ordered).or_else(|| self.frozen.get(ordered)).is_some_and(|is_there| !is_there)
        };
        let all = stored.into_iter().filter(|ordered| !is_gone(ordered)).chain(added);
        let near: Vec<_> = all.filter(|ordered| is_within(ordered)).collect();
        self.far_ms.0 = match &to {
            Loaded::UpTo(last) => time_of(last),
            Loaded::Nothing | Loaded::All => i64::MAX,
        };
        self.near.extend(near);
        self.loaded = to;
    }

    pub(super) fn freeze(&mut self) {
        self.frozen.append(&mut self.open);
    }

    pub(super) fn applied(&mut self) {
        self.frozen = BTreeMap::new();
    }

    pub(super) fn len(&self) -> usize {
        self.near.len() + self.open.len() + self.frozen.len()
    }
}

fn earlier(one: Loaded, other: Loaded) -> Loaded {
    match (one, other) {
        (Loaded::UpTo(one), Loaded::UpTo(other)) => Loaded::UpTo(one.min(other)),
        (Loaded::UpTo(last), _) | (_, Loaded::UpTo(last)) => Loaded::UpTo(last),
        _ => Loaded::All,
    }
}
