//! A version that runs beside the one that counts: it is given the same batches, what it makes of them is compared, and nothing of it stays.

use super::trial::FaultPlace;
use crate::call::Call;
use millstream_model::record::RecordBatch;
use serde::Serialize;
use std::cmp::Ordering;

/// Bytes of a key or value that are kept of a difference, for people.
const SHOWN_BYTES_MAX: usize = 512;

/// What a shadow did in committed epochs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ShadowTally {
    /// Records it was given.
    pub records: u64,
    /// Outputs that both made, alike in key, value, timestamp and headers.
    pub equal: u64,
    /// Outputs that only the version which counts made.
    pub only_old: u64,
    /// Outputs that only the shadow made.
    pub only_new: u64,
    /// Outputs of the same place that differ.
    pub changed: u64,
    /// Records that the version which counts rejected in these calls.
    pub rejected_old: u64,
    /// Records that the shadow rejected.
    pub rejected_new: u64,
    /// Records the shadow was at fault for: alone in a call that trapped, ran too long or hit a limit.
    pub failed: u64,
    /// Time in calls of the version that counts, in nanoseconds.
    pub busy_old_ns: u64,
    /// Time in calls of the shadow, failed ones included, in nanoseconds.
    pub busy_new_ns: u64,
    /// Time the comparison took, in nanoseconds.
    pub compared_ns: u64,
    /// Bytes of state that the version which counts holds in memory, as of the last cut of each worker.
    pub state_old_bytes: u64,
    /// Bytes of state the shadow holds in memory, as of the last cut of each worker.
    pub state_new_bytes: u64,
    /// The first thing on which the two do not agree.
    pub first: Option<Difference>,
}

impl ShadowTally {
    /// Adds what was done later.
    pub fn add(&mut self, later: &Self) {
        self.records += later.records;
        self.equal += later.equal;
        self.only_old += later.only_old;
        self.only_new += later.only_new;
        self.changed += later.changed;
        self.rejected_old += later.rejected_old;
        self.rejected_new += later.rejected_new;
        self.failed += later.failed;
        self.busy_old_ns += later.busy_old_ns;
        self.busy_new_ns += later.busy_new_ns;
        self.compared_ns += later.compared_ns;
        if self.first.is_none() {
            self.first.clone_from(&later.first);
        }
    }

    /// Whether the two agreed on everything.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.only_old + self.only_new + self.changed + self.failed == 0 && self.rejected_old == self.rejected_new
    }
}

/// Where two versions do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The record that they were given.
    pub place: FaultPlace,
    /// Name of the output; empty if the shadow failed on the record.
    pub output: String,
    /// What the version that counts made of it.
    pub old: Option<Shown>,
    /// What the shadow made of it.
    pub new: Option<Shown>,
    /// How the shadow failed, if it did.
    pub failure: Option<String>,
}

/// A record for people: text as far as it is text, and cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: Option<String>,
    /// Its event time, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Shown {
    fn of(batch: &RecordBatch, row: u32) -> Self {
        let text = |bytes: &[u8]| {
            let cut = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
            let more = if cut.len() < bytes.len() { "…" } else { "" };
            format!("{}{more}", String::from_utf8_lossy(cut))
        };
        Self {
            key: batch.keys.get(row).map(text),
            value: batch.values.get(row).map(text),
            timestamp_ms: batch.timestamps_ms.get(row as usize).copied().unwrap_or_default(),
        }
    }
}

/// What one version made of a batch.
#[derive(Debug, Default)]
pub struct Emitted {
    /// For each record: the row it was made of, and the output.
    places: Vec<(u32, u16)>,
    records: RecordBatch,
}

impl Emitted {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.places.clear();
        self.records.clear();
    }

    /// Takes what a call emitted. `ports`: what each of its outputs is called here; `row`: the row of the whole batch that a row of the call's is.
    pub fn take(&mut self, call: &Call, ports: &[u16], row: impl Fn(u32) -> u32) {
        for output in call.staged.outputs() {
            let Some(port) = ports.get(output.port as usize) else { continue };
            self.places.extend(output.parents.iter().map(|parent| (row(*parent), *port)));
            output.append_to(&call.batch, &mut self.records);
        }
    }

    /// Its records by the row they were made of and the output; of each such place in the order they were made.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.places.len() as u32).collect();
        order.sort_by_key(|&at| self.places.get(at as usize).copied());
        order
    }

    fn place(&self, at: Option<&u32>) -> Option<(u32, u16)> {
        self.places.get(*at? as usize).copied()
    }

    fn is_same(&self, at: u32, other: &Self, other_at: u32) -> bool {
        let (one, two) = (&self.records, &other.records);
        one.keys.get(at) == two.keys.get(other_at)
            && one.values.get(at) == two.values.get(other_at)
            && one.timestamps_ms.get(at as usize) == two.timestamps_ms.get(other_at as usize)
            && one.headers.of(at).eq(two.headers.of(other_at))
    }
}

/// Compares what two versions made of a batch. `difference` makes one of the row and the output on which they do not agree.
pub fn compare(
    (old, new): (&Emitted, &Emitted),
    tally: &mut ShadowTally,
    difference: impl Fn((u32, u16), Option<Shown>, Option<Shown>) -> Difference,
) {
    let (by_old, by_new) = (old.order(), new.order());
    let (mut at_old, mut at_new) = (0, 0);
    loop {
        let (one, two) = (by_old.get(at_old), by_new.get(at_new));
        let (place_old, place_new) = (old.place(one), new.place(two));
        let order = match (place_old, place_new) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(place_old), Some(place_new)) => place_old.cmp(&place_new),
        };
        let (has_old, has_new) = (order != Ordering::Greater, order != Ordering::Less);
        at_old += usize::from(has_old);
        at_new += usize::from(has_new);
        match (order, one, two) {
            (Ordering::Equal, Some(one), Some(two)) if old.is_same(*one, new, *two) => {
                tally.equal += 1;
                continue;
            }
            (Ordering::Equal, ..) => tally.changed += 1,
            (Ordering::Less, ..) => tally.only_old += 1,
            (Ordering::Greater, ..) => tally.only_new += 1,
        }
        if tally.first.is_none() {
            let place = if has_old { place_old } else { place_new };
            let shown_old = one.filter(|_| has_old).map(|at| Shown::of(&old.records, *at));
            let shown_new = two.filter(|_| has_new).map(|at| Shown::of(&new.records, *at));
            tally.first = place.map(|place| difference(place, shown_old, shown_new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_model::record::Origin;

    /// Outputs as row, output and value.
    fn emitted(outputs: &[(u32, u16, &str)]) -> Emitted {
        let mut emitted = Emitted::default();
        for (row, port, value) in outputs {
            emitted.places.push((*row, *port));
            emitted.records.push(Some(b"k"), Some(value.as_bytes()), 7, Origin::default());
        }
        emitted
    }

    fn compared(old: &[(u32, u16, &str)], new: &[(u32, u16, &str)]) -> ShadowTally {
        let mut tally = ShadowTally::default();
        let difference = |(row, output): (u32, u16), old, new| Difference {
            place: FaultPlace { source: "in".to_owned(), partition: 0, offset: i64::from(row) },
            output: output.to_string(),
            old,
            new,
            failure: None,
        };
        compare((&emitted(old), &emitted(new)), &mut tally, difference);
        tally
    }

    fn counts(tally: &ShadowTally) -> (u64, u64, u64, u64) {
        (tally.equal, tally.only_old, tally.only_new, tally.changed)
    }

    #[test]
    fn outputs_of_one_record_are_compared_in_their_order_whatever_comes_between() {
        // The same in another order between records and outputs.
        let tally = compared(&[(0, 0, "a"), (1, 0, "b"), (0, 1, "c")], &[(0, 1, "c"), (0, 0, "a"), (1, 0, "b")]);
        assert_eq!((counts(&tally), tally.is_equal()), ((3, 0, 0, 0), true));
        let tally = compared(&[(0, 0, "a"), (0, 0, "b")], &[(0, 0, "b"), (0, 0, "a")]);
        assert_eq!((counts(&tally), tally.is_equal()), ((0, 0, 0, 2), false));
    }

    #[test]
    fn what_only_one_of_them_made_is_told_as_that() {
        let tally = compared(&[(0, 0, "a"), (1, 0, "b"), (3, 0, "d")], &[(0, 0, "a"), (2, 0, "c"), (3, 0, "d")]);
        assert_eq!(counts(&tally), (2, 1, 1, 0));
        let first = tally.first.unwrap_or_else(|| unreachable!());
        assert_eq!((first.place.offset, first.new), (1, None));
        let tally = compared(&[], &[(5, 1, "x"), (5, 1, "y")]);
        assert_eq!(counts(&tally), (0, 0, 2, 0));
        let first = tally.first.unwrap_or_else(|| unreachable!());
        assert_eq!((first.place.offset, first.output.as_str(), first.old), (5, "1", None));
        assert_eq!(first.new.and_then(|new| new.value).as_deref(), Some("x"));
    }

    #[test]
    fn of_all_differences_the_first_is_kept() {
        let mut tally = compared(&[(0, 0, "a"), (4, 0, "b")], &[(0, 0, "a"), (4, 0, "c")]);
        tally.add(&compared(&[(1, 0, "a")], &[(1, 0, "z")]));
        assert_eq!(counts(&tally), (1, 0, 0, 2));
        assert_eq!(tally.first.map(|first| first.place.offset), Some(4));
        assert_eq!(ShadowTally::default().first, None);
    }
}
