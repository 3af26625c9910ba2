use super::held::Held;
use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// A range of map keys in byte order, and the end to begin at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapRange<'a> {
    /// The lowest map key that may be in it.
    pub start: &'a [u8],
    /// What all map keys in it come before; none for no end.
    pub end: Option<&'a [u8]>,
    /// Whether to walk from the highest to the lowest.
    pub descending: bool,
}

impl MapRange<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| end <= self.start)
    }
}

/// Known entries of one key's map. What is not here may still be in the store, unless it lies where everything is known.
#[derive(Debug, Default)]
pub(super) struct Entries {
    known: BTreeMap<MapKey, Entry>,
    /// No entry in the store that is not known here is of a version to be migrated.
    pub(super) is_migrated: bool,
    covered: Option<Covered>,
    /// Map keys changed in the open epoch, each once, in the order of their first change.
    changed: Vec<MapKey>,
    /// Map keys that were removed, by the epoch in which they were: forgotten once that is in the store.
    removed: VecDeque<(u32, MapKey)>,
    /// On the heap, beside nodes and lists.
    bytes: usize,
    /// Bytes read from the store since entries were last forgotten.
    loaded_bytes: usize,
}

/// One known entry.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The bytes, or known to be absent.
    pub(super) value: Held,
    /// The epoch of its last change; 0 if it is as it was read.
    changed: u32,
}

/// The bytes of a map key; in place if they are short.
#[derive(Debug)]
pub(super) struct MapKey(Held);

/// From `start` on and before `end`, all entries that are not removed are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Covered {
    start: Box<[u8]>,
    end: Option<Box<[u8]>>,
}

/// Memory of a map without its entries.
const MAP_BYTES: usize = size_of::<Entries>() + 8;

/// Memory of a node of a B-tree, and the entries one has on average (at most 11).
const NODE_BYTES: usize = 11 * size_of::<(MapKey, Entry)>() + 16;
const NODE_ENTRIES: usize = 7;

/// Bytes read from the store for one map before those that are unchanged are forgotten: a scan of a large map must not fill the memory.
const LOADED_BYTES_MAX: usize = 4 << 20;

impl MapKey {
    fn new(bytes: &[u8]) -> Self {
        Self(Held::from_slice(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.get().unwrap_or_default()
    }
}

impl Clone for MapKey {
    fn clone(&self) -> Self {
        Self::new(self.bytes())
    }
}

impl Borrow<[u8]> for MapKey {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for MapKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for MapKey {}

impl PartialOrd for MapKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MapKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Entries {
    /// Memory of it all, nearly.
    pub(super) fn memory_bytes(&self) -> usize {
        let nodes = if self.known.is_empty() { 0 } else { 1 + self.known.len() / NODE_ENTRIES };
        let lists =
            self.changed.capacity() * size_of::<MapKey>() + self.removed.capacity() * size_of::<(u32, MapKey)>();
        MAP_BYTES + nodes * NODE_BYTES + lists + self.bytes
    }

    /// What is known of an entry: `None` if the store has to be asked.
    pub(super) fn get(&self, map_key: &[u8]) -> Option<&Held> {
        match self.known.get(map_key) {
            Some(entry) => Some(&entry.value),
            None => self.covered.as_ref().is_some_and(|covered| covered.has(map_key)).then_some(&Held::Absent),
        }
    }

    /// Changes an entry in the open epoch and gives back what was known of it; `None` if nothing was.
    pub(super) fn put(&mut self, map_key: &[u8], value: Held, epoch: u32) -> Option<Entry> {
        self.bytes += value.heap_bytes();
        if let Some(entry) = self.known.get_mut(map_key) {
            if entry.changed != epoch {
                self.changed.push(MapKey::new(map_key));
            }
            let before = std::mem::replace(entry, Entry { value, changed: epoch });
            self.bytes -= before.value.heap_bytes();
            return Some(before);
        }
        let was_absent = self.get(map_key).is_some();
        let key = MapKey::new(map_key);
        self.bytes += key.0.heap_bytes();
        self.changed.push(key.clone());
        self.known.insert(key, Entry { value, changed: epoch });
        was_absent.then(|| Entry { value: Held::Absent, changed: 0 })
    }

    /// Takes the last change back: `before` is what [`Entries::put`] gave.
    pub(super) fn undo(&mut self, map_key: &[u8], before: Option<Entry>, epoch: u32) {
        if before.as_ref().is_none_or(|before| before.changed != epoch) {
            self.changed.pop();
        }
        match before {
            Some(before) => {
                self.bytes += before.value.heap_bytes();
                if let Some(entry) = self.known.get_mut(map_key) {
                    self.bytes -= std::mem::replace(entry, before).value.heap_bytes();
                }
            }
            None => {
                self.forget(map_key);
                // What was read from the store meanwhile left this entry out, as it was known.
                self.covered.take_if(|covered| covered.has(map_key));
            }
        }
    }

    fn forget(&mut self, map_key: &[u8]) {
        if let Some((key, entry)) = self.known.remove_entry(map_key) {
            self.bytes -= key.0.heap_bytes() + entry.value.heap_bytes();
        }
    }

    /// Keeps what the store has under a map key of which nothing was known.
    pub(super) fn load(&mut self, map_key: &[u8], value: Option<&[u8]>) {
        if self.known.contains_key(map_key) {
            return;
        }
        let (key, value) = (MapKey::new(map_key), Held::from_option(value));
        self.bytes += key.0.heap_bytes() + value.heap_bytes();
        self.loaded_bytes += size_of::<(MapKey, Entry)>() + key.0.heap_bytes() + value.heap_bytes();
        self.known.insert(key, Entry { value, changed: 0 });
    }

    /// Says that everything the store has from `start` on and before `end` was loaded.
    pub(super) fn cover(&mut self, start: &[u8], end: Option<&[u8]>) {
        let new = Covered { start: start.into(), end: end.map(Into::into) };
        self.covered = Some(match self.covered.take() {
            Some(before) => before.joined(new),
            None => new,
        });
    }

    /// Where everything is known; to be given back with [`Entries::set_covered`] if that turns out to be untrue.
    pub(super) fn covered(&self) -> Option<&Covered> {
        self.covered.as_ref()
    }

    pub(super) fn set_covered(&mut self, covered: Option<Covered>) {
        self.covered = covered;
    }

    /// Whether everything in a range is known.
    pub(super) fn covers(&self, range: MapRange<'_>) -> bool {
        range.is_empty() || self.covered.as_ref().is_some_and(|covered| covered.has_all(range))
    }

    /// The part of a range, from the end to begin at, in which everything is known: its far end. `None` if there is no such part.
    pub(super) fn known_part<'a>(&'a self, range: MapRange<'a>) -> Option<MapRange<'a>> {
        let covered = self.covered.as_ref()?;
        let before_end = |key: &[u8]| covered.end.as_deref().is_none_or(|end| key < end);
        if range.descending {
            let reaches = match (range.end, covered.end.as_deref()) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(of), Some(end)) => of <= end,
            };
            let is_in = reaches && range.end.is_none_or(|end| *covered.start < *end);
            return is_in.then(|| MapRange { start: range.start.max(&covered.start), ..range });
        }
        let is_in = *covered.start <= *range.start && before_end(range.start);
        let end = match (range.end, covered.end.as_deref()) {
            (Some(of), Some(end)) => Some(of.min(end)),
            (of, end) => of.or(end),
        };
        is_in.then_some(MapRange { end, ..range })
    }

    /// Where a walk through a range, which begins where not everything is known, comes to where everything is.
    pub(super) fn known_beyond(&self, range: MapRange<'_>) -> Option<&[u8]> {
        let covered = self.covered.as_ref()?;
        if range.descending {
            return covered.end.as_deref().filter(|known| range.end.is_none_or(|end| *known < end));
        }
        Some(&*covered.start).filter(|known| *known > range.start)
    }

    /// Known entries of a range that are there, from the end to begin at, until `visit` returns false; whether it never did.
    pub(super) fn visit(&self, range: MapRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> bool {
        if range.is_empty() {
            return true;
        }
        let end = range.end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = self.known.range::<[u8], _>((Bound::Included(range.start), end));
        while let Some((key, entry)) = if range.descending { entries.next_back() } else { entries.next() } {
            if let Some(value) = entry.value.get()
                && !visit(key.bytes(), value)
            {
                return false;
            }
        }
        true
    }

    /// Map keys that are known to be there.
    pub(super) fn present_keys(&self) -> Vec<MapKey> {
        let present = self.known.iter().filter(|(_, entry)| entry.value.get().is_some());
        present.map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn is_known(&self, map_key: &[u8]) -> bool {
        self.known.contains_key(map_key)
    }

    /// Shows the entries that changed in the open epoch, which ends.
    pub(super) fn take_changed(&mut self, epoch: u32, applied: u32, mut change: impl FnMut(&[u8], Option<&[u8]>)) {
        self.forget_removed(applied);
        for key in self.changed.drain(..) {
            let value = self.known.get(key.bytes()).and_then(|entry| entry.value.get());
            change(key.bytes(), value);
            if value.is_none() {
                self.removed.push_back((epoch, key));
            }
        }
    }

    /// Forgets removed entries that the store does not have any more either.
    fn forget_removed(&mut self, applied: u32) {
        while let Some((_, key)) = self.removed.pop_front_if(|(epoch, _)| *epoch <= applied) {
            let is_gone = |entry: &Entry| entry.value.get().is_none() && entry.changed <= applied;
            if self.known.get(key.bytes()).is_some_and(is_gone) {
                self.forget(key.bytes());
            }
        }
    }

    /// Whether so much was read from the store that what is unchanged should be forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.loaded_bytes > LOADED_BYTES_MAX
    }

    /// Forgets what the store has as well.
    pub(super) fn trim(&mut self, applied: u32) {
        self.forget_removed(applied);
        self.loaded_bytes = 0;
        self.covered = None;
        let bytes = &mut self.bytes;
        self.known.retain(|key, entry| {
            let stays = entry.changed > applied;
            if !stays {
                *bytes -= key.0.heap_bytes() + entry.value.heap_bytes();
            }
            stays
        });
    }
}

impl Covered {
    /// All of a map.
    pub(super) fn all() -> Self {
        Self { start: Box::default(), end: None }
    }

    fn has(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_deref().is_none_or(|end| key < end)
    }

    fn has_all(&self, range: MapRange<'_>) -> bool {
        let reaches = match (range.end, self.end.as_deref()) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(of), Some(end)) => of <= end,
        };
        reaches && *self.start <= *range.start
    }

    /// Both together if they touch, else the newer one.
    fn joined(self, new: Self) -> Self {
        let touches = |from: &Self, to: &Self| from.end.as_deref().is_none_or(|end| *to.start <= *end);
        if !touches(&self, &new) || !touches(&new, &self) {
            return new;
        }
        let end = self.end.zip(new.end).map(|(one, other)| one.max(other));
        Self { start: self.start.min(new.start), end }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn covered(start: &str, end: Option<&str>) -> Covered {
        Covered { start: start.as_bytes().into(), end: end.map(|end| end.as_bytes().into()) }
    }

    #[test]
    fn parts_that_touch_are_joined_and_others_replaced() {
        let joined = |one: (&str, Option<&str>), other: (&str, Option<&str>)| {
            covered(one.0, one.1).joined(covered(other.0, other.1))
        };
        assert_eq!(joined(("b", Some("d")), ("d", Some("f"))), covered("b", Some("f")));
        assert_eq!(joined(("d", Some("f")), ("b", Some("d"))), covered("b", Some("f")));
        assert_eq!(joined(("b", None), ("c", Some("d"))), covered("b", None));
        assert_eq!(joined(("b", Some("e")), ("c", Some("d"))), covered("b", Some("e")));
        assert_eq!(joined(("b", Some("c")), ("d", None)), covered("d", None));
        assert_eq!(joined(("d", None), ("b", Some("c"))), covered("b", Some("c")));
    }

    #[test]
    fn the_part_that_is_known_begins_where_the_walk_does() {
        let mut entries = Entries::default();
        entries.cover(b"d", Some(b"m"));
        let part = |start: &'static str, end: Option<&'static str>, descending| {
            let range = MapRange { start: start.as_bytes(), end: end.map(str::as_bytes), descending };
            entries.known_part(range).map(|part| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(part.start), part.end.map(text))
            })
        };
        let some = |start: &str, end: &str| Some((start.to_owned(), Some(end.to_owned())));
        assert_eq!(part("d", None, false), some("d", "m"));
        assert_eq!(part("e", Some("f"), false), some("e", "f"));
        assert_eq!(part("c", Some("f"), false), None);
        assert_eq!(part("m", None, false), None);
        assert_eq!(part("", Some("m"), true), some("d", "m"));
        assert_eq!(part("e", Some("f"), true), some("e", "f"));
        assert_eq!(part("e", None, true), None);
        assert_eq!(part("a", Some("d"), true), None);
    }

    #[test]
    fn a_walk_comes_to_what_is_known_from_either_side() {
        let mut entries = Entries::default();
        entries.cover(b"d", Some(b"m"));
        let beyond = |start: &'static [u8], end, descending| entries.known_beyond(MapRange { start, end, descending });
        assert_eq!(beyond(b"a", None, false), Some(&b"d"[..]));
        assert_eq!(beyond(b"m", None, false), None);
        assert_eq!(beyond(b"a", None, true), Some(&b"m"[..]));
        assert_eq!(beyond(b"a", Some(&b"z"[..]), true), Some(&b"m"[..]));
        assert_eq!(beyond(b"a", Some(&b"c"[..]), true), None);
    }

    #[test]
    fn an_undone_change_leaves_no_trace() {
        let mut entries = Entries::default();
        let empty = entries.bytes;
        let long = [7; 100];
        let before = entries.put(&long, Held::from_slice(&long), 5);
        assert!(before.is_none());
        let between = entries.put(&long, Held::Absent, 5);
        entries.undo(&long, between, 5);
        assert_eq!(entries.get(&long).unwrap().get(), Some(long.as_slice()));
        entries.undo(&long, None, 5);
        assert!(entries.get(&long).is_none());
        assert_eq!((entries.bytes, entries.changed.len()), (empty, 0));
    }

    #[test]
    fn removed_entries_are_forgotten_once_the_store_has_forgotten_them() {
        let mut entries = Entries::default();
        entries.put(b"a", Held::from_slice(b"1"), 1);
        entries.put(b"b", Held::Absent, 1);
        entries.take_changed(1, 0, |_, _| {});
        assert!(entries.is_known(b"b"));
        entries.take_changed(2, 1, |_, _| {});
        assert!(entries.is_known(b"a") && !entries.is_known(b"b"));
    }
}
