use super::{BROADCAST, COUNT, RULES, Rig, lend, owned};
use crate::call::{Fault, OutputColumns};
use crate::keyed::Share;
use millstream_model::column::BytesColumn;

fn column(values: &[Option<&str>]) -> BytesColumn {
    values.iter().map(|value| value.map(str::as_bytes)).collect()
}

fn put(rig: &mut Rig, map_key: &str, value: Option<&str>) {
    rig.begin_at(BROADCAST, &[b"record"]);
    let (map_keys, values) = (column(&[Some(map_key)]), column(&[value]));
    rig.call.put_broadcast(RULES, lend(&map_keys), lend(&values)).unwrap();
    rig.call.apply_state();
}

fn get(rig: &mut Rig, map_key: &str) -> Option<String> {
    rig.begin(&[b"record"]);
    let mut values = BytesColumn::default();
    rig.call.broadcast_entries(RULES, lend(&column(&[Some(map_key)])), &mut values).unwrap();
    owned(&values).remove(0).map(|value| String::from_utf8(value).unwrap())
}

#[test]
fn a_change_is_there_for_the_next_batch_and_after_a_restart() {
    let mut rig = Rig::whole();
    put(&mut rig, "limit", Some("5"));
    assert_eq!(get(&mut rig, "limit").as_deref(), Some("5"));
    rig.commit();
    put(&mut rig, "limit", Some("6"));
    let mut rig = Rig::over(rig.store.clone(), ..super::KINDS.len() as u32);
    assert_eq!(get(&mut rig, "limit").as_deref(), Some("5"), "the epoch of the second change was lost");
    put(&mut rig, "limit", None);
    rig.commit();
    assert_eq!(get(&mut rig, "limit"), None);
}

#[test]
fn equal_bytes_are_no_change() {
    let mut rig = Rig::whole();
    put(&mut rig, "limit", Some("5"));
    rig.commit();
    let before = rig.call.revision(RULES).unwrap();
    put(&mut rig, "limit", Some("5"));
    assert_eq!(rig.call.revision(RULES).unwrap(), before);
    assert!(rig.commit().is_empty());
}

#[test]
fn the_changes_of_one_worker_alone_become_cells() {
    let mut rig = Rig::whole();
    rig.call.state.share(Share::of(1, 2));
    put(&mut rig, "limit", Some("5"));
    let (_, changes) = rig.freeze();
    assert!(super::cells_of(&changes).is_empty());
    assert_eq!(get(&mut rig, "limit").as_deref(), Some("5"));
}

#[test]
fn what_may_be_done_where_is_kept_apart() {
    let mut rig = Rig::whole();
    rig.begin_at(BROADCAST, &[b"a", b"a"]);
    assert_eq!(rig.call.key_rows, [0, 1], "keys mean nothing");
    let misuse = |result: Result<(), Fault>, hint: &str| match result {
        Err(Fault::Misuse(reason)) => assert!(reason.contains(hint), "{reason}"),
        other => unreachable!("{other:?} where misuse ({hint}) was due"),
    };
    let one = column(&[Some("x")]);
    let mut found = BytesColumn::default();
    misuse(rig.call.values(COUNT, &mut found), "out of reach");
    misuse(rig.call.put_values(COUNT, &[0], lend(&one)), "out of reach");
    misuse(rig.call.clear_state(COUNT, &[0]), "out of reach");
    let parents = [0];
    let output =
        OutputColumns { port: 0, parents: &parents, keys: None, values: None, timestamps_ms: None, headers: None };
    misuse(rig.call.emit(output), "emits nothing");
    misuse(rig.call.put_broadcast(COUNT, lend(&one), lend(&one)), "not `broadcast`");
    rig.begin(&[b"a"]);
    misuse(rig.call.put_broadcast(RULES, lend(&one), lend(&one)), "`process-broadcast` alone");
    misuse(rig.call.clear_broadcast(RULES), "`process-broadcast` alone");
    misuse(rig.call.clear_state(RULES, &[0]), "no key's");
}
