use super::{COUNT, LEASE, RECENT, Rig, SEEN, TRAIL, columns};
use crate::call::{EntryPage, MapRange};
use crate::keyed::{KeyedState, StateColumn};
use millstream_model::cell::{self, CellSpace};
use millstream_model::key_group;
use std::sync::Arc;

fn names(rig: &mut Rig) -> Vec<Vec<u8>> {
    let mut page = EntryPage::default();
    rig.call.scan((RECENT, 0), MapRange::default(), u32::MAX, &mut page).unwrap();
    page.map_keys.iter().map(|key| key.unwrap().to_vec()).collect()
}

/// Keys of cells in the store, facts left out.
fn stored(rig: &Rig) -> usize {
    rig.store.cells().keys().filter(|key| !cell::is_fact_key(key)).count()
}

#[test]
fn a_value_is_absent_from_the_moment_its_time_is_over() {
    let mut rig = Rig::whole();
    rig.at(Some(100), 0).set(SEEN, b"a", Some(b"1"));
    assert!(rig.at(Some(109), 0).get(SEEN, b"a").unwrap().is_some());
    assert!(rig.at(Some(110), 0).get(SEEN, b"a").unwrap().is_none());
}

#[test]
fn equal_bytes_written_refresh_and_reading_does_not() {
    let mut rig = Rig::whole();
    rig.at(Some(100), 0).set(SEEN, b"a", Some(b"1"));
    rig.at(Some(105), 0).set(SEEN, b"a", Some(b"1"));
    assert!(rig.at(Some(114), 0).get(SEEN, b"a").unwrap().is_some());
    rig.call.touch(SEEN, &[0], None).unwrap();
    rig.call.apply_state();
    assert!(rig.at(Some(115), 0).get(SEEN, b"a").unwrap().is_none(), "it is refreshed on write alone");
}

#[test]
fn what_was_read_lives_on_if_the_operator_says_so_and_the_call_succeeds() {
    let mut rig = Rig::whole();
    rig.at(None, 100).set(LEASE, b"a", Some(b"1"));
    for applies in [true, false] {
        assert!(rig.at(None, 108).get(LEASE, b"a").unwrap().is_some());
        rig.call.touch(LEASE, &[0], None).unwrap();
        if applies {
            rig.call.apply_state();
        }
    }
    assert!(rig.at(None, 117).get(LEASE, b"a").unwrap().is_some());
    assert!(rig.at(None, 118).get(LEASE, b"a").unwrap().is_none());
    rig.call.touch(LEASE, &[0], None).unwrap();
    rig.call.apply_state();
    assert!(rig.get(LEASE, b"a").unwrap().is_none(), "what is over does not come back");
}

#[test]
fn entries_and_elements_expire_one_by_one_for_every_kind_of_read() {
    let mut rig = Rig::whole();
    for at in 0..4 {
        rig.at(Some(at * 5), at * 5).set_entries(RECENT, b"a", &[(&[at as u8], Some(b"v"))]);
        rig.begin(&[b"a"]);
        rig.append(TRAIL, &[0], &[&[at as u8]]);
        rig.call.apply_state();
    }
    rig.commit();
    rig.call.state.evict(0);
    rig.at(Some(25), 25).begin(&[b"a"]);
    assert_eq!(names(&mut rig), [[2], [3]]);
    assert_eq!(rig.call.entry(RECENT, 0, &[1]).unwrap(), None);
    assert_eq!(rig.elements(TRAIL, 0, 0).unwrap(), [[3]]);
    rig.call.touch(TRAIL, &[0], None).unwrap();
    rig.call.apply_state();
    rig.at(Some(39), 39).begin(&[b"a"]);
    assert_eq!(rig.elements(TRAIL, 0, 0).unwrap(), [[3]]);
}

#[test]
fn before_the_first_watermark_nothing_expires_and_then_all_of_it_begins_to_live() {
    let mut rig = Rig::whole();
    rig.at(None, 0).set(SEEN, b"a", Some(b"1"));
    rig.commit();
    let mut rig = Rig::over(rig.store.clone(), ..super::KINDS.len() as u32);
    rig.at(None, 5_000).set(SEEN, b"b", Some(b"1"));
    rig.commit();
    // The first watermark comes with a call about another key, and is kept over a restart.
    assert!(rig.at(Some(1_000), 0).get(SEEN, b"c").unwrap().is_none());
    rig.commit();
    let mut rig = Rig::over(rig.store.clone(), ..super::KINDS.len() as u32);
    for key in [b"a", b"b"] {
        assert!(rig.at(Some(1_009), 0).get(SEEN, key).unwrap().is_some());
        assert!(rig.at(Some(1_010), 0).get(SEEN, key).unwrap().is_none());
    }
}

#[test]
fn a_state_that_gets_a_time_to_live_later_begins_to_live_then() {
    let mut rig = Rig::new();
    rig.set(COUNT, b"a", Some(b"1"));
    rig.commit();
    let timed = |ttl| {
        let mut column = columns()[COUNT as usize].clone();
        column.descriptor.ttl = super::ttl_of(ttl);
        vec![column]
    };
    let open = |rig: &mut Rig, columns: Vec<StateColumn>| {
        rig.call.state = KeyedState::new(columns, Arc::clone(&rig.store) as _);
    };
    open(&mut rig, timed(LEASE));
    assert!(rig.at(None, 70).get(COUNT, b"a").unwrap().is_some());
    rig.commit();
    assert!(rig.at(None, 79).get(COUNT, b"a").unwrap().is_some());
    assert!(rig.at(None, 80).get(COUNT, b"a").unwrap().is_none());
    // Without it for a while, and with it again: it does not go by when it had one before.
    open(&mut rig, timed(COUNT));
    rig.at(None, 90).set(COUNT, b"b", Some(b"2"));
    rig.commit();
    open(&mut rig, timed(LEASE));
    assert!(rig.at(None, 100).get(COUNT, b"b").unwrap().is_some());
    rig.commit();
    assert!(rig.at(None, 110).get(COUNT, b"b").unwrap().is_none());
}

#[test]
fn what_is_over_leaves_the_store_in_the_background() {
    let mut rig = Rig::whole();
    rig.at(Some(0), 0);
    for key in 0..50u8 {
        rig.set(SEEN, &[key], Some(b"1"));
        rig.set_entries(RECENT, &[key], &[(b"x", Some(b"1")), (b"y", Some(b"1"))]);
    }
    rig.set(COUNT, b"stays", Some(b"1"));
    rig.commit();
    assert_eq!(stored(&rig), 151);
    rig.call.state.evict(0);
    // Some of them are held again, one is written anew: that one lives.
    rig.at(Some(100), 100).set(SEEN, &[7], Some(b"2"));
    for key in 0..20u8 {
        assert_eq!(rig.get(SEEN, &[key]).unwrap().is_some(), key == 7);
        rig.begin(&[&[key]]);
        assert!(names(&mut rig).is_empty());
    }
    rig.commit();
    assert_eq!(stored(&rig), 2);
    assert_eq!(rig.get(SEEN, &[7]).unwrap().unwrap(), b"2");
    assert!(rig.commit().is_empty(), "there is nothing left to do");
}

#[test]
fn a_sweep_goes_on_where_it_was_and_takes_a_slice_at_a_time() {
    let mut rig = Rig::whole();
    rig.at(Some(0), 0);
    for from in (0..20_000u32).step_by(1_000) {
        let keys: Vec<[u8; 4]> = (from..from + 1_000).map(u32::to_be_bytes).collect();
        rig.begin(&keys.iter().map(<[u8; 4]>::as_slice).collect::<Vec<_>>());
        (0..1_000).for_each(|key_row| rig.put(SEEN, key_row, Some(b"1")));
        rig.call.apply_state();
    }
    rig.commit();
    rig.call.state.evict(0);
    rig.at(Some(100), 100).begin(&[b"other"]);
    // The first slice is half of what the epoch before changed; those after it have the least size.
    rig.commit();
    let mut cuts = 0;
    while stored(&rig) > 0 {
        let before = (rig.store.cells_read(), stored(&rig));
        rig.begin(&[b"other"]);
        rig.commit();
        cuts += 1;
        assert!(rig.store.cells_read() - before.0 < 12_000, "a slice of {}", rig.store.cells_read() - before.0);
        assert!(cuts < 20);
    }
    assert!(cuts > 1, "all at once");
}

#[test]
fn a_sweep_takes_nothing_that_is_newer_than_the_store() {
    let mut rig = Rig::whole();
    rig.at(Some(0), 0).set(SEEN, b"a", Some(b"1"));
    rig.set_entries(RECENT, b"a", &[(b"x", Some(b"1"))]);
    rig.commit();
    rig.at(Some(100), 100).set(SEEN, b"a", Some(b"2"));
    rig.set_entries(RECENT, b"a", &[(b"x", Some(b"2"))]);
    // Frozen, and not in the store yet, when the next cut sweeps.
    let (first, changes) = rig.freeze();
    rig.begin(&[b"other"]);
    let (second, later) = rig.freeze();
    rig.store.apply(&changes);
    rig.call.state.applied(first);
    rig.store.apply(&later);
    rig.call.state.applied(second);
    rig.call.state.evict(0);
    assert_eq!(rig.get(SEEN, b"a").unwrap().unwrap(), b"2");
    assert_eq!(rig.call.entry(RECENT, 0, b"x").unwrap().unwrap(), b"2");
}

#[test]
fn a_refresh_keeps_the_version_that_wrote_the_bytes() {
    let mut rig = Rig::whole();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let space = CellSpace { operator: 9, state: LEASE as u8 + 20 };
    cell::write_key(&mut key, space, key_group(b"a"), b"a", b"");
    cell::write_timed_value(&mut value, super::READABLE_VERSION, Some(0), b"old");
    rig.store.put(key.clone(), value);
    assert_eq!(rig.at(None, 5).get(LEASE, b"a").unwrap().unwrap(), b"old");
    rig.call.touch(LEASE, &[0], None).unwrap();
    rig.call.apply_state();
    rig.commit();
    let cells = rig.store.cells();
    let value = cell::read_value(cells.get(&key).unwrap()).unwrap();
    assert_eq!((value.version, value.refreshed_ms), (super::READABLE_VERSION, Some(5)));
}
