use super::{ITEMS, Rig, TAGS, cells_of, lend, owned};
use crate::call::{EntryPage, EntryRange, Fault, MapRange};
use millstream_model::column::BytesColumn;

const ALL: EntryRange<'_> = EntryRange { prefix: &[], after: None, count_max: usize::MAX };

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Map keys of a range, at most so many.
fn scan(rig: &mut Rig, start: &[u8], end: Option<&[u8]>, descending: bool, count: usize) -> Vec<u32> {
    let mut page = EntryPage::default();
    // A number and a value of one byte, with what an entry counts beside them.
    let bytes_max = (count * (4 + 1 + 8)) as u32;
    rig.call.scan((ITEMS, 0), MapRange { start, end, descending }, bytes_max, &mut page).unwrap();
    let keys = page.map_keys.iter().map(|key| u32::from_be_bytes(key.unwrap().try_into().unwrap()));
    keys.collect()
}

/// A store with a map of so many entries under `k`, and nothing of it in memory.
fn stored(count: u32) -> Rig {
    let mut rig = Rig::new();
    rig.begin(&[b"k"]);
    for entry in 0..count {
        rig.call.put_entry(ITEMS, 0, &number(entry), Some(b"v")).unwrap();
    }
    rig.call.apply_state();
    rig.commit();
    rig.call.state.evict(0);
    rig.begin(&[b"k"]);
    rig
}

#[test]
fn a_small_map_is_read_once_and_then_known_as_a_whole() {
    let mut rig = stored(40);
    let before = rig.store.cells_read();
    assert_eq!(scan(&mut rig, &number(10), Some(&number(13)), false, 100), [10, 11, 12]);
    let read = rig.store.cells_read() - before;
    assert!(read <= 40, "{read} cells read");
    assert_eq!(scan(&mut rig, &number(12), None, false, 2), [12, 13]);
    assert_eq!(scan(&mut rig, &number(38), None, true, 100), [39, 38]);
    assert_eq!(rig.call.entry(ITEMS, 0, &number(77)).unwrap(), None);
    assert_eq!(rig.store.cells_read() - before, read, "nothing is asked of the store again");
    assert_eq!(scan(&mut rig, &number(0), Some(&number(3)), false, 100), [0, 1, 2]);
    assert_eq!(rig.store.cells_read() - before, 40);
}

#[test]
fn an_empty_range_is_empty_whatever_is_known() {
    let mut rig = stored(3);
    for (start, end) in [(&b""[..], &b""[..]), (b"b", b""), (b"b", b"a")] {
        assert_eq!(scan(&mut rig, start, Some(end), true, 10), [0u32; 0]);
        assert_eq!(scan(&mut rig, start, Some(end), false, 10), [0u32; 0]);
    }
}

#[test]
fn of_a_large_map_only_what_is_asked_for_is_read() {
    let mut rig = stored(100_000);
    let before = rig.store.cells_read();
    assert_eq!(scan(&mut rig, &[], None, true, 3), [99_999, 99_998, 99_997]);
    assert_eq!(scan(&mut rig, &number(500), Some(&number(502)), false, 10), [500, 501]);
    assert!(rig.store.cells_read() - before < 500, "{} cells read", rig.store.cells_read() - before);
    assert_eq!(scan(&mut rig, &[], None, false, 100_000).len(), 100_000);
}

#[test]
fn ranges_that_move_on_are_found_in_memory() {
    let mut rig = stored(0);
    let before = rig.store.cells_read();
    // As an interval join has them: each record puts an entry and looks at those of late.
    for at in 0..2_000 {
        rig.begin(&[b"k"]);
        rig.call.put_entry(ITEMS, 0, &number(at), Some(b"v")).unwrap();
        let from = number(at.saturating_sub(5));
        let expected: Vec<u32> = (at.saturating_sub(5)..=at).collect();
        assert_eq!(scan(&mut rig, &from, None, false, 100), expected);
        rig.call.apply_state();
        if at % 100 == 0 {
            rig.commit();
        }
    }
    assert!(rig.store.cells_read() - before < 100, "{} cells read", rig.store.cells_read() - before);
}

#[test]
fn a_map_that_stays_is_cut_down_to_what_the_store_does_not_have() {
    let mut rig = stored(50_000);
    assert_eq!(scan(&mut rig, &[], None, false, 50_000).len(), 50_000);
    rig.call.put_entry(ITEMS, 0, &number(7), Some(b"w")).unwrap();
    rig.call.apply_state();
    let full = rig.call.state.memory_bytes();
    rig.call.state.evict(100_000);
    assert!(rig.call.state.memory_bytes() < full / 10, "{} bytes of {full} are left", rig.call.state.memory_bytes());
    rig.begin(&[b"k"]);
    assert_eq!(rig.call.entry(ITEMS, 0, &number(7)).unwrap().unwrap(), b"w");
    assert_eq!(scan(&mut rig, &number(6), Some(&number(9)), false, 9), [6, 7, 8]);
}

#[test]
fn entries_removed_again_leave_nothing_in_memory() {
    let mut rig = stored(0);
    let mut most = 0;
    for at in 0..3_000 {
        rig.set_entries(ITEMS, b"k", &[(&number(at), Some(b"v")), (&number(at.wrapping_sub(10)), None)]);
        if at % 10 == 9 {
            rig.commit();
        }
        if at == 1_000 {
            most = rig.call.state.memory_bytes();
        }
    }
    assert!(rig.call.state.memory_bytes() <= most, "{} bytes, {most} before", rig.call.state.memory_bytes());
    assert_eq!(rig.store.cells().len(), 10);
}

#[test]
fn a_cleared_map_is_empty_at_once_and_a_tombstone_per_entry_later() {
    let mut rig = stored(300);
    rig.call.put_entry(ITEMS, 0, b"new", Some(b"v")).unwrap();
    let mark = rig.call.mark_staged();
    rig.call.clear_state(ITEMS, &[0]).unwrap();
    assert!(scan(&mut rig, &[], None, false, 1).is_empty());
    assert_eq!(rig.call.entry(ITEMS, 0, b"new").unwrap(), None);
    rig.call.undo_to(mark).unwrap();
    assert_eq!(rig.call.entry_keys(ITEMS, 0, ALL).unwrap().len(), 301);
    rig.call.clear_state(ITEMS, &[0]).unwrap();
    rig.call.put_entry(ITEMS, 0, &number(5), Some(b"again")).unwrap();
    assert_eq!(scan(&mut rig, &[], None, false, 9), [5]);
    rig.call.apply_state();
    let changes = cells_of(&rig.commit());
    assert_eq!(changes.values().filter(|value| value.is_none()).count(), 300, "299 that were stored, one that was new");
    assert_eq!(rig.store.cells().len(), 1);
    let before = rig.store.cells_read();
    rig.begin(&[b"k"]);
    assert_eq!(scan(&mut rig, &[], None, true, 9), [5]);
    assert_eq!(rig.store.cells_read(), before, "of a map that was cleared all is known");
}

#[test]
fn many_entries_are_read_with_one_look_at_the_store() {
    let mut rig = Rig::new();
    rig.set_entries(ITEMS, b"a", &[(b"x", Some(b"1")), (b"y", Some(b"2"))]);
    rig.set_entries(ITEMS, b"b", &[(b"x", Some(b"3"))]);
    rig.commit();
    rig.call.state.evict(0);
    rig.begin(&[b"a", b"b"]);
    rig.call.put_entry(ITEMS, 1, b"x", None).unwrap();
    let map_keys: BytesColumn = [b"x", b"y", b"x", b"y", b"x"].into_iter().map(|key| Some(key.as_slice())).collect();
    let mut values = BytesColumn::default();
    rig.call.entries(ITEMS, &[0, 0, 1, 1, 0], lend(&map_keys), &mut values).unwrap();
    assert_eq!(owned(&values), [Some(b"1".to_vec()), Some(b"2".to_vec()), None, None, Some(b"1".to_vec())]);
    let read = rig.store.cells_read();
    rig.call.entries(ITEMS, &[0, 0, 1, 1, 0], lend(&map_keys), &mut values).unwrap();
    assert_eq!(rig.store.cells_read(), read, "what was read is known");
}

#[test]
fn removing_what_is_known_not_to_be_there_changes_nothing() {
    let mut rig = Rig::new();
    rig.begin(&[b"k"]);
    assert_eq!(rig.call.entry(ITEMS, 0, b"x").unwrap(), None);
    rig.call.put_entry(ITEMS, 0, b"x", None).unwrap();
    rig.call.apply_state();
    assert!(rig.freeze().1.is_empty());
}

#[test]
fn what_breaks_the_contract_or_a_limit_is_told() {
    let mut rig = Rig::new();
    rig.begin(&[b"a", b"b", b"a"]);
    let (one, absent) = ([Some(b"x".as_slice())], [None]);
    let (one, absent): (BytesColumn, BytesColumn) = (one.into_iter().collect(), absent.into_iter().collect());
    let mut found = BytesColumn::default();
    let misuse = |result: Result<(), Fault>, hint: &str| match result {
        Err(Fault::Misuse(reason)) => assert!(reason.contains(hint), "{reason}"),
        other => unreachable!("{other:?} where misuse ({hint}) was due"),
    };
    misuse(rig.call.put_entries(ITEMS, &[0], lend(&absent), lend(&one)), "map keys: row 0 is absent");
    misuse(rig.call.put_entries(ITEMS, &[0, 1], lend(&one), lend(&one)), "map keys: 1 rows where 2 were due");
    misuse(rig.call.put_entries(ITEMS, &[2], lend(&one), lend(&one)), "no key row 2");
    misuse(rig.call.put_entries(super::COUNT, &[0], lend(&one), lend(&one)), "`state-0` is of kind `value`, not `map`");
    misuse(rig.call.entries(77, &[0], lend(&one), &mut found), "there is no state 77");
    misuse(rig.call.touch(ITEMS, &[0], None), "named by map keys");
    misuse(rig.call.touch(super::COUNT, &[0], Some(lend(&one))), "no map keys");
    let long = [7; 2_000];
    let long: BytesColumn = [Some(long.as_slice())].into_iter().collect();
    let refused = rig.call.put_entries(TAGS, &[1], lend(&long), lend(&one));
    assert!(matches!(&refused, Err(Fault::Refuse { row: 1, reason }) if reason.contains("limits.key")), "{refused:?}");
}
