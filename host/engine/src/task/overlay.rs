use crate::ports::{ChangeSet, Meta, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cells laid over a store that is only read: what a shadow writes ends here, and is gone with it.
pub struct Overlay {
    below: Arc<dyn StateBackend>,
    cells: Mutex<Cells>,
}

#[derive(Default)]
struct Cells {
    /// Absent: removed.
    values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

/// Memory that a cell takes beside its bytes, nearly.
const CELL_BYTES: usize = 96;

impl Overlay {
    /// An empty one.
    #[must_use]
    pub fn new(below: Arc<dyn StateBackend>) -> Self {
        Self { below, cells: Mutex::default() }
    }

    /// Bytes that it takes, nearly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateBackend for Overlay {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        let cells = self.lock();
        let is_above = |key: Option<&[u8]>| key.is_some_and(|key| cells.values.contains_key(key));
        let rows: Vec<u32> = (0..keys.len() as u32).filter(|row| !is_above(keys.get(*row))).collect();
        let (mut missing, mut below) = (BytesColumn::default(), BytesColumn::default());
        missing.gather(keys, &rows);
        self.below.read(&missing, &mut below)?;
        let mut from_below = below.iter();
        for key in keys.iter() {
            match key.and_then(|key| cells.values.get(key)) {
                Some(value) => values.push(value.as_deref()),
                None => values.push(from_below.next().flatten()),
            }
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StateError> {
        let cells = self.lock();
        let from = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let above = cells.values.range::<[u8], _>((from, Bound::Unbounded));
        let mut above = above.take_while(|(key, _)| key.starts_with(prefix)).peekable();
        let mut goes_on = true;
        self.below.scan(prefix, after, &mut |key, value| {
            while let Some((upper, upper_value)) = above.next_if(|(upper, _)| upper.as_slice() < key) {
                goes_on = upper_value.as_ref().is_none_or(|upper_value| visit(upper, upper_value));
                if !goes_on {
                    return false;
                }
            }
            goes_on = match above.next_if(|(upper, _)| upper.as_slice() == key) {
                Some((_, Some(upper_value))) => visit(key, upper_value),
                Some((_, None)) => true,
                None => visit(key, value),
            };
            goes_on
        })?;
        for (key, value) in above {
            if !goes_on {
                break;
            }
            goes_on = value.as_ref().is_none_or(|value| visit(key, value));
        }
        Ok(())
    }

    fn write(&self, changes: &[ChangeSet], _: &[(Meta, Option<&[u8]>)], _: bool) -> Result<(), StateError> {
        let mut cells = self.lock();
        for set in changes {
            for (key, value) in set.keys.iter().zip(set.values.iter()) {
                let Some(key) = key else { continue };
                let size = |value: Option<&[u8]>| key.len() + CELL_BYTES + value.map_or(0, <[u8]>::len);
                cells.bytes += size(value);
                if let Some(before) = cells.values.insert(key.to_vec(), value.map(<[u8]>::to_vec)) {
                    cells.bytes -= size(before.as_deref());
                }
            }
        }
        Ok(())
    }

    fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StateError> {
        self.below.meta(name)
    }

    fn clear(&self) -> Result<(), StateError> {
        *self.lock() = Cells::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fakes::{FakeDisk, FakeState, Life};
    use std::collections::BTreeMap;

    fn column(texts: &[Option<&str>]) -> BytesColumn {
        texts.iter().map(|text| text.map(str::as_bytes)).collect()
    }

    fn changes(cells: &[(&str, Option<&str>)]) -> [ChangeSet; 1] {
        let keys: Vec<_> = cells.iter().map(|(key, _)| Some(*key)).collect();
        let values: Vec<_> = cells.iter().map(|(_, value)| *value).collect();
        [ChangeSet { keys: column(&keys), values: column(&values) }]
    }

    fn scanned(store: &dyn StateBackend, prefix: &str, after: Option<&str>, most: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            seen.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
            seen.len() < most
        };
        store.scan(prefix.as_bytes(), after.map(str::as_bytes), &mut visit).unwrap();
        seen
    }

    fn layered() -> (Arc<FakeState>, Overlay) {
        let below = Arc::new(FakeState::new(&Arc::new(FakeDisk::default()), &Life::default()));
        below
            .write(&changes(&[("a1", Some("b")), ("a3", Some("b")), ("a5", Some("b")), ("c", Some("b"))]), &[], true)
            .unwrap();
        let overlay = Overlay::new(Arc::clone(&below) as Arc<dyn StateBackend>);
        let above =
            [("a0", Some("o")), ("a3", None), ("a4", Some("o")), ("a5", Some("o")), ("a9", Some("o")), ("b", None)];
        overlay.write(&changes(&above), &[], false).unwrap();
        (below, overlay)
    }

    #[test]
    fn what_was_written_above_hides_what_is_below_and_leaves_it_alone() {
        let (below, overlay) = layered();
        let mut values = BytesColumn::default();
        let keys = [Some("a0"), Some("a1"), Some("a3"), Some("a5"), Some("b"), Some("c"), Some("z")];
        overlay.read(&column(&keys), &mut values).unwrap();
        assert_eq!(values, column(&[Some("o"), Some("b"), None, Some("o"), None, Some("b"), None]));
        assert_eq!(scanned(below.as_ref(), "", None, 9), ["a1=b", "a3=b", "a5=b", "c=b"]);
    }

    #[test]
    fn both_are_scanned_as_one_in_order_from_anywhere_and_as_far_as_asked() {
        let (_, overlay) = layered();
        assert_eq!(scanned(&overlay, "a", None, 9), ["a0=o", "a1=b", "a4=o", "a5=o", "a9=o"]);
        assert_eq!(scanned(&overlay, "a", Some("a1"), 9), ["a4=o", "a5=o", "a9=o"]);
        assert_eq!(scanned(&overlay, "a", Some("a4"), 1), ["a5=o"]);
        for most in 1..6 {
            assert_eq!(scanned(&overlay, "a", None, most).len(), most.min(5));
        }
        assert_eq!(scanned(&overlay, "b", None, 9), Vec::<String>::new());
    }

    #[test]
    fn its_size_follows_what_it_holds() {
        let (_, overlay) = layered();
        let before = overlay.bytes();
        overlay.write(&changes(&[("a0", Some("longer"))]), &[], false).unwrap();
        assert_eq!(overlay.bytes(), before + 5);
        overlay.clear().unwrap();
        assert_eq!(overlay.bytes(), 0);
        let empty: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        assert_eq!(overlay.lock().values, empty);
    }
}
