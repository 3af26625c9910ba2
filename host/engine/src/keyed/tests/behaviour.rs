use super::store::Failure;
use super::{COUNT, ITEMS, LAST, READABLE_VERSION, Rig, TAGS, VERSION, cells_of, columns};
use crate::call::{EntryRange, Fault};
use crate::keyed::{KeyedState, StateColumn};
use crate::ports::ChangeSet;
use millstream_model::cell::{self, CellSpace};
use millstream_model::column::BytesColumn;
use millstream_model::key_group;
use std::sync::Arc;

const ALL: EntryRange<'_> = EntryRange { prefix: &[], after: None, count_max: usize::MAX };

fn is_host<T>(result: &Result<T, Fault>) -> bool {
    matches!(result, Err(Fault::Host(_)))
}

#[test]
fn key_rows_are_numbered_in_order_of_first_appearance() {
    let mut rig = Rig::new();
    rig.begin(&[b"b", b"a", b"b", b"", b"a"]);
    assert_eq!(rig.call.key_rows, [0, 1, 0, 2, 1]);
    assert_eq!(rig.call.first_rows, [0, 1, 3]);
    rig.begin(&[b"a"]);
    assert_eq!((rig.call.key_rows.as_slice(), rig.call.first_rows.as_slice()), ([0].as_slice(), [0].as_slice()));
}

#[test]
fn a_key_is_asked_of_the_store_once_and_absent_is_remembered() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.begin(&[b"a", b"b", b"a"]);
        assert_eq!(rig.values(COUNT).unwrap(), [None, None]);
    }
    assert_eq!(rig.store.cells_read(), 2);
    for _ in 0..3 {
        assert_eq!(rig.call.entry(ITEMS, 0, b"x").unwrap(), None);
    }
    assert_eq!(rig.store.cells_read(), 3);
}

#[test]
fn a_value_put_without_being_read_is_never_read() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b"1"));
    assert_eq!(rig.get(COUNT, b"a").unwrap().unwrap(), b"1");
    assert_eq!(rig.store.cells_read(), 0);
}

#[test]
fn a_removed_value_is_absent_and_a_tombstone() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b"1"));
    rig.commit();
    rig.set(COUNT, b"a", None);
    assert_eq!(rig.get(COUNT, b"a").unwrap(), None);
    let cell = (COUNT, b"a".to_vec(), Vec::new());
    assert_eq!(cells_of(&rig.commit()).get(&cell), Some(&None));
    assert!(rig.store.cells().is_empty());
}

#[test]
fn an_empty_value_is_not_an_absent_one() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b""));
    rig.begin(&[b"a"]);
    rig.call.put_entry(ITEMS, 0, b"", Some(b"")).unwrap();
    rig.call.apply_state();
    rig.commit();
    rig.call.state.evict(0);
    assert_eq!(rig.get(COUNT, b"a").unwrap(), Some(Vec::new()));
    assert_eq!(rig.call.entry(ITEMS, 0, b"").unwrap(), Some(Vec::new()));
}

#[test]
fn a_call_that_is_not_applied_leaves_nothing() {
    let mut rig = Rig::new();
    rig.begin(&[b"a"]);
    rig.put(COUNT, 0, Some(b"1"));
    rig.call.put_entry(ITEMS, 0, b"x", Some(b"1")).unwrap();
    assert_eq!(rig.values(COUNT).unwrap(), [Some(b"1".to_vec())]);
    assert_eq!(rig.get(COUNT, b"a").unwrap(), None);
    assert_eq!(rig.call.entry(ITEMS, 0, b"x").unwrap(), None);
    assert!(rig.freeze().1.is_empty());
}

#[test]
fn only_cells_that_changed_are_in_a_change_set() {
    let mut rig = Rig::new();
    rig.begin(&[b"a", b"b"]);
    for state in [COUNT, LAST] {
        rig.put(state, 0, Some(b"1"));
        rig.put(state, 1, Some(b"2"));
    }
    rig.call.put_entry(TAGS, 0, b"x", Some(b"1")).unwrap();
    rig.call.put_entry(TAGS, 0, b"y", Some(b"1")).unwrap();
    rig.call.apply_state();
    assert_eq!(rig.commit().len(), 6);
    rig.begin(&[b"a", b"b"]);
    assert!(rig.values(COUNT).is_ok());
    rig.put(LAST, 1, Some(b"3"));
    rig.call.put_entry(TAGS, 0, b"y", None).unwrap();
    rig.call.apply_state();
    assert_eq!(rig.call.state.dirty_count(), 2);
    let expected =
        [((LAST, b"b".to_vec(), Vec::new()), Some(b"3".to_vec())), ((TAGS, b"a".to_vec(), b"y".to_vec()), None)];
    assert_eq!(cells_of(&rig.freeze().1), expected.into_iter().collect());
    assert!(rig.freeze().1.is_empty());
}

#[test]
fn states_beyond_the_thirtieth_are_states_like_others() {
    let column = |state: u8| StateColumn {
        space: CellSpace { operator: 9, state },
        ..columns()[if state.is_multiple_of(2) { COUNT as usize } else { ITEMS as usize }].clone()
    };
    let mut rig = Rig::new();
    rig.call.state = KeyedState::new((0..40).map(column).collect(), Arc::clone(&rig.store) as _);
    rig.set(34, b"a", Some(b"1"));
    rig.set(36, b"a", Some(b"2"));
    rig.begin(&[b"a"]);
    rig.call.put_entry(37, 0, b"x", Some(b"3")).unwrap();
    rig.call.apply_state();
    assert_eq!(rig.commit().len(), 3);
    rig.call.state.evict(0);
    assert_eq!(rig.call.state.key_count(), 0);
    assert_eq!(rig.get(34, b"a").unwrap().unwrap(), b"1");
    assert_eq!(rig.get(36, b"a").unwrap().unwrap(), b"2");
    assert_eq!(rig.call.entry(37, 0, b"x").unwrap().unwrap(), b"3");
}

#[test]
fn an_epoch_goes_on_over_a_frozen_one() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b"1"));
    let (frozen, first) = rig.freeze();
    rig.set(COUNT, b"a", Some(b"2"));
    rig.store.apply(&first);
    rig.call.state.applied(frozen);
    rig.call.state.evict(0);
    assert_eq!(rig.call.state.key_count(), 1, "changed in the open epoch");
    assert_eq!(rig.get(COUNT, b"a").unwrap().unwrap(), b"2");
    assert_eq!(cells_of(&rig.commit()).into_values().collect::<Vec<_>>(), [Some(b"2".to_vec())]);
    rig.call.state.evict(0);
    assert_eq!(rig.call.state.key_count(), 0);
    assert_eq!(rig.get(COUNT, b"a").unwrap().unwrap(), b"2");
}

#[test]
fn a_frozen_key_stays_until_its_epoch_is_applied() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b"1"));
    let (frozen, changes) = rig.freeze();
    rig.call.state.evict(0);
    assert_eq!(rig.get(COUNT, b"a").unwrap().unwrap(), b"1");
    rig.store.apply(&changes);
    rig.call.state.applied(frozen);
    rig.call.state.evict(0);
    assert_eq!(rig.call.state.key_count(), 0);
}

#[test]
fn dropped_epochs_leave_what_the_store_has() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b"1"));
    rig.commit();
    rig.set(COUNT, b"a", Some(b"2"));
    rig.freeze();
    rig.set(COUNT, b"a", Some(b"3"));
    rig.call.state.drop_epochs();
    assert_eq!(rig.get(COUNT, b"a").unwrap().unwrap(), b"1");
    assert!(rig.freeze().1.is_empty());
}

#[test]
fn news_of_a_dropped_epoch_frees_nothing_of_a_later_one() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b"1"));
    rig.freeze();
    rig.set(COUNT, b"a", Some(b"2"));
    let (dropped, _) = rig.freeze();
    rig.call.state.drop_epochs();
    rig.set(COUNT, b"a", Some(b"3"));
    rig.freeze();
    rig.call.state.applied(dropped);
    rig.call.state.evict(0);
    assert_eq!(rig.get(COUNT, b"a").unwrap().unwrap(), b"3");
}

#[test]
fn a_failed_read_is_a_fault_of_the_host_and_nothing_is_remembered() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"b", Some(b"1"));
    rig.begin(&[b"b"]);
    rig.call.put_entry(ITEMS, 0, b"x", Some(b"1")).unwrap();
    rig.call.apply_state();
    rig.commit();
    rig.call.state.evict(0);
    for failure in [Failure::Error, Failure::Short] {
        rig.begin(&[b"a", b"b"]);
        rig.store.fail(failure);
        assert!(is_host(&rig.values(COUNT)));
        assert!(is_host(&rig.call.entry(ITEMS, 1, b"x")));
    }
    rig.store.fail(Failure::Error);
    assert!(is_host(&rig.call.entry_keys(ITEMS, 1, ALL)));
    assert!(is_host(&rig.call.clear_state(ITEMS, &[1])));
    rig.store.fail(Failure::None);
    assert_eq!(rig.values(COUNT).unwrap(), [None, Some(b"1".to_vec())]);
    assert_eq!(rig.call.entry(ITEMS, 1, b"x").unwrap().unwrap(), b"1");
    assert_eq!(rig.call.entry_keys(ITEMS, 1, ALL).unwrap(), [b"x"]);
}

fn stored(state: u8, user_key: &[u8], map_key: &[u8], version: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let space = CellSpace { operator: 9, state: state + 20 };
    cell::write_key(&mut key, space, key_group(user_key), user_key, map_key);
    cell::write_value(&mut value, version, b"old");
    (key, value)
}

#[test]
fn versions_that_the_operator_reads_are_read_and_others_are_named() {
    let mut rig = Rig::new();
    for (key, version) in [(b"a", VERSION), (b"b", READABLE_VERSION), (b"c", 8)] {
        let (cell, value) = stored(0, key, b"", version);
        rig.store.put(cell, value);
        let (cell, value) = stored(1, key, b"x", version);
        rig.store.put(cell, value);
    }
    for key in [b"a", b"b"] {
        assert_eq!(rig.get(COUNT, key).unwrap().unwrap(), b"old");
        assert_eq!(rig.call.entry(ITEMS, 0, b"x").unwrap().unwrap(), b"old");
    }
    for _ in 0..2 {
        let Err(Fault::Host(reason)) = rig.get(COUNT, b"c") else {
            unreachable!("version 8 was read");
        };
        assert!(reason.contains("`state-0` holds version 8"), "{reason}");
        assert!(is_host(&rig.call.entry(ITEMS, 0, b"x")));
    }
    let (cell, _) = stored(0, b"d", b"", 1);
    rig.store.put(cell, Vec::new());
    assert!(is_host(&rig.get(COUNT, b"d")), "a cell without a version");
}

#[test]
fn map_keys_come_in_order_from_store_epochs_and_call() {
    let mut rig = Rig::new();
    let entry = |rig: &mut Rig, map_key: &[u8], value: Option<&[u8]>| {
        rig.begin(&[b"k"]);
        rig.call.put_entry(ITEMS, 0, map_key, value).unwrap();
        rig.call.apply_state();
    };
    for map_key in [b"a1".as_slice(), b"a3", b"a5", b"b1"] {
        entry(&mut rig, map_key, Some(b"v"));
    }
    rig.commit();
    rig.call.state.evict(0);
    entry(&mut rig, b"a3", None);
    rig.freeze();
    entry(&mut rig, b"a4", Some(b"v"));
    rig.begin(&[b"k"]);
    rig.call.put_entry(ITEMS, 0, b"a0", Some(b"v")).unwrap();
    rig.call.put_entry(ITEMS, 0, b"a5", None).unwrap();
    let of = |rig: &mut Rig, prefix: &[u8], after: Option<&[u8]>, count_max| {
        rig.call.entry_keys(ITEMS, 0, EntryRange { prefix, after, count_max }).unwrap()
    };
    assert_eq!(of(&mut rig, b"", None, 9), [b"a0", b"a1", b"a4", b"b1"]);
    assert_eq!(of(&mut rig, b"a", None, 9), [b"a0", b"a1", b"a4"]);
    assert_eq!(of(&mut rig, b"", Some(b"a1"), 9), [b"a4", b"b1"]);
    assert_eq!(of(&mut rig, b"a", Some(b"a0"), 1), [b"a1"]);
    assert!(of(&mut rig, b"", None, 0).is_empty());
}

#[test]
fn keys_of_one_map_are_not_those_of_another() {
    let mut rig = Rig::new();
    rig.begin(&[b"k", b"kk"]);
    rig.call.put_entry(ITEMS, 0, b"kx", Some(b"1")).unwrap();
    rig.call.put_entry(ITEMS, 1, b"x", Some(b"2")).unwrap();
    rig.call.put_entry(TAGS, 1, b"y", Some(b"3")).unwrap();
    rig.call.apply_state();
    rig.commit();
    rig.call.state.evict(0);
    rig.begin(&[b"k", b"kk"]);
    assert_eq!(rig.call.entry_keys(ITEMS, 0, ALL).unwrap(), [b"kx"]);
    assert_eq!(rig.call.entry_keys(ITEMS, 1, ALL).unwrap(), [b"x"]);
    assert_eq!(rig.call.entry_keys(TAGS, 1, ALL).unwrap(), [b"y"]);
    assert_eq!(rig.call.entry(ITEMS, 1, b"kx").unwrap(), None);
}

#[test]
fn room_is_made_down_to_the_budget_and_keys_just_seen_go_last() {
    let mut rig = Rig::new();
    let keys: Vec<[u8; 4]> = (0..20_000u32).map(u32::to_be_bytes).collect();
    for keys in keys.chunks(1_000) {
        rig.begin(&keys.iter().map(<[u8; 4]>::as_slice).collect::<Vec<_>>());
        assert!(rig.values(COUNT).is_ok());
    }
    let full = rig.call.state.memory_bytes();
    rig.call.state.evict(full / 2);
    let kept = rig.call.state.key_count();
    assert!(rig.call.state.memory_bytes() <= full / 2);
    assert!((2_000..15_000).contains(&kept), "{kept} keys kept");
    let before = rig.store.cells_read();
    rig.begin(&keys[19_000..].iter().map(<[u8; 4]>::as_slice).collect::<Vec<_>>());
    assert!(rig.values(COUNT).is_ok());
    assert_eq!(rig.store.cells_read(), before, "the last batch was kept");
}

#[test]
fn room_of_evicted_keys_is_used_again() {
    let mut rig = Rig::new();
    let mut most = 0;
    for round in 0..50u32 {
        let keys: Vec<Vec<u8>> =
            (0..500u32).map(|key| format!("key-{round}-{key}-{}", "x".repeat(30)).into_bytes()).collect();
        rig.begin(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for key_row in 0..500 {
            rig.put(COUNT, key_row, Some(&[7; 100]));
        }
        rig.call.apply_state();
        rig.commit();
        rig.call.state.evict(0);
        assert_eq!(rig.call.state.key_count(), 0);
        most = most.max(rig.call.state.memory_bytes());
    }
    let one_round = {
        let mut state = Rig::new();
        state.begin(&[b"k"]);
        state.call.state.memory_bytes()
    };
    assert!(most < one_round + 500 * 1_000, "{most} bytes after 25 000 keys, never more than 500 at once");
}

#[test]
fn a_state_without_keys_has_nothing_to_freeze_or_evict() {
    let mut state = KeyedState::default();
    let mut changes = ChangeSet::default();
    let (mut key_rows, mut first_rows) = (vec![1], vec![1]);
    state.begin_batch(&BytesColumn::default(), &mut key_rows, &mut first_rows);
    assert!(key_rows.is_empty() && first_rows.is_empty());
    state.evict(0);
    let frozen = state.freeze(&mut changes);
    state.applied(frozen);
    assert!(changes.is_empty());
    assert_eq!((state.key_count(), state.dirty_count()), (0, 0));
}
