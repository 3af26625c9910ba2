use millstream_model::ids::Digest;
use millstream_model::record::{Origin, RecordBatch};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

/// Rows found to be poison in this process, so that a replay after a resolve finds them at once.
///
/// A row is known by where it comes from and by its place among the rows of that origin: one source record may have become many. The verdict holds for
/// this very record only, all its fields compared by a hash, and for the module that failed on it: should another record come to the same place, or
/// another module, it is called for.
#[derive(Debug, Default)]
pub struct Verdicts {
    found: HashMap<(u16, Origin, u32), Found>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug)]
struct Found {
    digest: Digest,
    fingerprint: u64,
    reason: String,
    is_fault: bool,
}

/// A row refused before it is called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The row.
    pub row: u32,
    /// Why it was refused the first time.
    pub reason: String,
    /// Whether the operator was at fault for it, or would not have it.
    pub is_fault: bool,
}

/// Verdicts kept; beyond it poison is found anew.
const VERDICTS_MAX: usize = 100_000;

impl Verdicts {
    /// Whether nothing was found yet: the common case, which costs nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Remembers that an operator, with this module, refused a row of a batch as it was delivered.
    pub fn remember(&mut self, (operator, digest): (u16, Digest), batch: &RecordBatch, verdict: Verdict) {
        if self.found.len() < VERDICTS_MAX
            && let Some((origin, ordinal)) = place(batch, verdict.row)
        {
            let Verdict { row, reason, is_fault } = verdict;
            let found = Found { digest, fingerprint: self.fingerprint(batch, row), reason, is_fault };
            self.found.insert((operator, origin, ordinal), found);
        }
    }

    /// Rows of a batch as delivered that the operator, with this module, refused before.
    #[must_use]
    pub fn known(&self, (operator, digest): (u16, Digest), batch: &RecordBatch) -> Vec<Verdict> {
        let known = |row| {
            let (origin, ordinal) = place(batch, row)?;
            let found = self.found.get(&(operator, origin, ordinal))?;
            let is_same = found.digest == digest && found.fingerprint == self.fingerprint(batch, row);
            is_same.then(|| Verdict { row, reason: found.reason.clone(), is_fault: found.is_fault })
        };
        (0..batch.len() as u32).filter_map(known).collect()
    }

    fn fingerprint(&self, batch: &RecordBatch, row: u32) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        batch.keys.get(row).hash(&mut hasher);
        batch.values.get(row).hash(&mut hasher);
        batch.timestamps_ms.get(row as usize).hash(&mut hasher);
        batch.headers.of(row).for_each(|header| header.hash(&mut hasher));
        hasher.finish()
    }
}

/// A row's origin and its place among the neighbouring rows of that origin. What timers emitted cannot be told apart.
fn place(batch: &RecordBatch, row: u32) -> Option<(Origin, u32)> {
    let origin = *batch.origins.get(row as usize).filter(|origin| **origin != Origin::TIMER)?;
    let before = batch.origins.get(..row as usize)?;
    Some((origin, before.iter().rev().take_while(|&&other| other == origin).count() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_model::ids::PartitionIndex;

    const MODULE: Digest = Digest([1; 32]);

    fn bad(row: u32) -> Verdict {
        Verdict { row, reason: "bad".to_owned(), is_fault: true }
    }

    fn batch(values: &[&[u8]]) -> RecordBatch {
        let mut batch = RecordBatch::default();
        for (value, offset) in values.iter().zip([1, 2, 2, 2, 3]) {
            batch.push(Some(b"k"), Some(value), 0, Origin { partition: PartitionIndex(0), offset });
        }
        batch
    }

    #[test]
    fn siblings_of_one_source_record_are_told_apart() {
        let batch = batch(&[b"a", b"b", b"b", b"b", b"c"]);
        let mut verdicts = Verdicts::default();
        verdicts.remember((0, MODULE), &batch, bad(2));
        assert_eq!(verdicts.known((0, MODULE), &batch), [bad(2)]);
        assert_eq!(verdicts.known((1, MODULE), &batch), []);
    }

    #[test]
    fn another_record_in_the_same_place_is_not_condemned() {
        let mut verdicts = Verdicts::default();
        verdicts.remember((0, MODULE), &batch(&[b"a", b"b"]), bad(1));
        assert_eq!(verdicts.known((0, MODULE), &batch(&[b"a", b"b"])).len(), 1);
        assert_eq!(verdicts.known((0, MODULE), &batch(&[b"a", b"x"])), []);
        let (mut with_header, mut later) = (batch(&[b"a", b"b"]), batch(&[b"a", b"b"]));
        with_header.headers.push(1, b"h", None);
        later.timestamps_ms = vec![0, 1];
        assert_eq!(verdicts.known((0, MODULE), &with_header), []);
        assert_eq!(verdicts.known((0, MODULE), &later), []);
    }

    #[test]
    fn another_module_is_asked_anew() {
        let batch = batch(&[b"a"]);
        let mut verdicts = Verdicts::default();
        verdicts.remember((0, MODULE), &batch, bad(0));
        assert_eq!(verdicts.known((0, Digest([2; 32])), &batch), []);
    }
}
