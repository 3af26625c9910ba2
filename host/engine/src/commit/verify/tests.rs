#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::ports::{CellRange, ChangeSet, Meta};
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::commit::{BeginRecord, OpenRecord, PartitionPosition};
use millstream_model::ids::{EpochNumber, Incarnation, Lineage};
use millstream_model::key_group::KeyGroup;
use std::collections::BTreeMap;

fn token(lineage: u8, epoch: u64) -> Token {
    Token { lineage: Lineage([lineage; 16]), incarnation: Incarnation(1), epoch: EpochNumber(epoch) }
}

fn open(lineage: u8) -> CommitsEntry {
    CommitsEntry::Open(OpenRecord {
        lineage: Lineage([lineage; 16]),
        incarnation: Incarnation(1),
        host: String::new(),
        pid: 1,
        started_ms: 0,
        cluster_id: String::new(),
        topics: BTreeMap::new(),
        changelog: 0,
        catalog: Default::default(),
        digests: BTreeMap::new(),
        key_groups: String::new(),
        sink_starts: BTreeMap::new(),
        named_since: BTreeMap::new(),
    })
}

fn begin(lineage: u8, epoch: u64) -> CommitsEntry {
    CommitsEntry::Begin(BeginRecord { token: token(lineage, epoch) })
}

/// Epoch n reads offsets 10(n-1) to 10n.
fn commit(lineage: u8, epoch: u64) -> CommitsEntry {
    let position = PartitionPosition {
        source: "in".to_owned(),
        partition: 0,
        from: 10 * (epoch as i64 - 1),
        next: 10 * epoch as i64,
        leader_epoch: -1,
        timestamp_ms_max: None,
        idle: false,
    };
    CommitsEntry::Commit(CommitRecord {
        token: token(lineage, epoch),
        previous: (epoch > 1).then(|| token(lineage, epoch - 1)),
        positions: vec![position],
        ..CommitRecord::default()
    })
}

/// `open`, then five epochs.
fn history(lineage: u8) -> Vec<CommitsEntry> {
    let epochs = (1..=5).flat_map(|epoch| [begin(lineage, epoch), commit(lineage, epoch)]);
    std::iter::once(open(lineage)).chain(epochs).collect()
}

#[test]
fn a_history_is_whole_wherever_compaction_has_cut_it() {
    for cut in 0..=9 {
        let mut entries = history(1);
        entries.drain(1..=cut);
        let walk = walk(entries);
        assert_eq!(walk.findings, [], "cut {cut}");
        assert_eq!(walk.found.commit.unwrap().token, token(1, 5));
    }
}

#[test]
fn nothing_is_no_finding() {
    assert_eq!(walk([]), Walk::default());
}

#[test]
fn each_commit_that_is_removed_from_between_is_found() {
    for epoch in 2..=4 {
        let mut entries = history(1);
        entries.remove(2 * epoch);
        let findings = walk(entries).findings;
        let broken = Finding::Unlinked {
            token: token(1, epoch as u64 + 1),
            previous: Some(token(1, epoch as u64)),
            before: token(1, epoch as u64 - 1),
        };
        assert!(findings.contains(&broken) && findings.contains(&Finding::Torn { token: token(1, epoch as u64) }));
    }
    let mut entries = history(1);
    entries.pop();
    assert_eq!(walk(entries).findings, [Finding::Torn { token: token(1, 5) }]);
}

#[test]
fn each_commit_that_is_doubled_is_found_wherever_the_copy_lies() {
    for epoch in 1..=5 {
        for place in 2 * epoch as usize + 1..=11 {
            let mut entries = history(1);
            entries.insert(place, commit(1, epoch));
            let walk = walk(entries);
            assert!(walk.findings.contains(&Finding::Doubled { token: token(1, epoch) }), "{epoch} at {place}");
            assert_eq!(walk.found.commit.unwrap().token, token(1, 5));
        }
    }
}

#[test]
fn positions_that_do_not_adjoin_are_found() {
    let mut entries = history(1);
    if let Some(CommitsEntry::Commit(commit)) = entries.last_mut() {
        commit.positions.iter_mut().for_each(|position| position.from = 41);
    }
    let apart = Finding::Apart { token: token(1, 5), source_id: "in".to_owned(), partition: 0, from: 41, ended: 40 };
    assert_eq!(walk(entries).findings, [apart]);
}

#[test]
fn what_lies_before_a_reset_proves_nothing() {
    let mut entries = vec![commit(1, 7), begin(1, 9)];
    entries.extend(history(2));
    let walk = walk(entries);
    assert_eq!((walk.findings, walk.commits), (vec![], 5));
    assert_eq!(walk.oldest.unwrap().token, token(2, 1));
    // Compaction has taken the `open` that began the newer one; a later start wrote another.
    let mut entries = history(2);
    entries.rotate_left(1);
    entries.insert(0, commit(1, 7));
    assert_eq!(super::walk(entries).findings, []);
}

#[test]
fn a_commit_of_a_history_that_nobody_opened_is_found() {
    let mut entries = history(1);
    entries.extend([begin(2, 6), commit(2, 6)]);
    assert!(walk(entries).findings.contains(&Finding::Unopened { token: token(2, 6) }));
}

#[test]
fn a_store_may_be_behind_and_never_ahead() {
    let (old, new) = (Some(token(1, 3)), Some(token(1, 4)));
    assert_eq!(standing(new, new), Standing::At);
    assert_eq!(standing(new, old), Standing::Behind { store: old });
    assert_eq!(standing(new, None), Standing::Behind { store: None });
    assert_eq!(standing(new, Some(token(2, 9))), Standing::Elsewhere { store: token(2, 9) });
    for log in [old, None] {
        assert_eq!(standing(log, new), Standing::Ahead(Finding::Behind { log, store: token(1, 4) }));
    }
}

fn topic(records: u64) -> TopicFacts {
    TopicFacts {
        total: OutputTotal { records, checksum: records },
        starts: vec![7, 0],
        begins: vec![7, 0],
        kept_since_ms: Some(1_000),
        oldest_ms: Some(2_000),
        is_compacted: false,
    }
}

#[test]
fn a_topic_with_one_record_more_or_less_is_found() {
    let committed = OutputTotal { records: 5, checksum: 5 };
    assert_eq!(outputs(committed, &topic(5)), Proof::Agrees);
    for records in [4, 6] {
        let found = OutputTotal { records, checksum: records };
        assert_eq!(outputs(committed, &topic(records)), Proof::Finding(Finding::Outputs { committed, found }));
    }
}

#[test]
fn deleting_is_told_from_retention_by_what_retention_may_take() {
    let committed = OutputTotal { records: 5, checksum: 5 };
    let shortened = TopicFacts { begins: vec![7, 2], ..topic(3) };
    assert_eq!(outputs(committed, &shortened), Proof::Finding(Finding::Deleted { partition: 1, begins: 2, start: 0 }));
    for topic in [
        TopicFacts { oldest_ms: Some(500), ..shortened.clone() },
        TopicFacts { kept_since_ms: None, ..shortened.clone() },
        TopicFacts { is_compacted: true, ..shortened },
    ] {
        assert!(matches!(outputs(committed, &topic), Proof::Impossible(_)), "{topic:?}");
    }
}

/// Cells in memory.
struct Cells(BTreeMap<Vec<u8>, Vec<u8>>);

impl StateBackend for Cells {
    fn read(&self, _: &BytesColumn, _: &mut BytesColumn) -> Result<(), StateError> {
        Ok(())
    }

    fn range(&self, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        let cells = self.0.range(range.start.to_vec()..);
        let cells = cells.take_while(|(key, _)| range.end.is_none_or(|end| key.as_slice() < end));
        cells.map(|(key, value)| visit(key, value)).take_while(|goes_on| *goes_on).for_each(drop);
        Ok(())
    }

    fn write(&self, _: &[ChangeSet], _: &[(Meta, Option<&[u8]>)], _: bool) -> Result<(), StateError> {
        Ok(())
    }

    fn meta(&self, _: Meta) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn clear(&self) -> Result<(), StateError> {
        Ok(())
    }
}

fn store(count: u32) -> Cells {
    let cell = |number: u32| {
        let mut key = Vec::new();
        let space = CellSpace { operator: 3, state: 0 };
        cell::write_key(&mut key, space, KeyGroup(0), format!("key-{number:05}").as_bytes(), b"");
        (key, vec![1])
    };
    Cells((0..count).map(cell).collect())
}

#[test]
fn stores_are_compared_cell_by_cell_over_pages() {
    // A page, one less and one more, and several.
    for count in [0, 1, PAGE_CELLS as u32 - 1, PAGE_CELLS as u32, PAGE_CELLS as u32 + 1, 9_000] {
        assert_eq!(cells(&store(count), &store(count)).unwrap(), (u64::from(count), None));
    }
}

#[test]
fn a_cell_that_is_missing_added_or_changed_is_found() {
    let whole = store(5_000);
    let key = whole.0.keys().nth(4_321).unwrap().clone();
    let finding = |cells| Some(Finding::Cells { cells, operator: 3, key: "key-04321".to_owned() });
    let mut missing = store(5_000);
    missing.0.remove(&key);
    assert_eq!(cells(&missing, &whole).unwrap(), (4_999, finding(1)));
    assert_eq!(cells(&whole, &missing).unwrap(), (4_999, finding(1)));
    let mut changed = store(5_000);
    changed.0.insert(key, vec![2]);
    assert_eq!(cells(&changed, &whole).unwrap(), (4_999, finding(1)));
}
