use super::*;
use crate::swap::sweep::SweepPart;
use millstream_model::ids::OperatorIndex;

fn stored(rig: &Rig, cell: &Cell) -> Option<(u32, String)> {
    let (version, bytes) = cells_of(&rig.disk).remove(cell)?;
    Some((version, String::from_utf8(bytes).unwrap()))
}

fn part(rig: &Rig) -> SweepPart {
    rig.task.sweep_part(OperatorIndex(0)).unwrap()
}

/// Sweeps and commits until there is nothing to do.
fn sweep_all(rig: &mut Rig) {
    rig.task.start_sweep(0, 1);
    for _ in 0..1_000 {
        while rig.task.has_slice() {
            rig.task.sweep().unwrap();
        }
        rig.commit();
        if part(rig).is_done() {
            return;
        }
    }
    unreachable!("the sweep does not end");
}

#[test]
fn old_values_are_migrated_before_they_are_read_and_as_changes_of_the_epoch() {
    let mut rig = Rig::new(both_older());
    rig.store(&[(count("a"), 1, "one"), (count("b"), 2, "two"), (count("c"), 3, "three"), (item("a", "x"), 2, "item")]);
    assert!(rig.call(&[b"a", b"b", b"c", b"d"]).is_empty());
    assert_eq!(rig.read(&count("a")).unwrap(), "v3:one");
    assert_eq!(rig.read(&count("b")).unwrap(), "v2:two", "read as it is");
    assert_eq!(rig.read(&count("c")).unwrap(), "v3:three");
    assert_eq!(rig.read(&count("d")), None);
    assert_eq!(rig.read(&item("a", "x")).unwrap(), "v3:item");
    assert_eq!(rig.calls(), [(COUNT, 1, 1), (ITEMS, 2, 1)]);
    assert_eq!(stored(&rig, &count("a")).unwrap(), (1, "v1:one".to_owned()), "before the commit");
    rig.commit();
    assert_eq!(stored(&rig, &count("a")).unwrap(), (3, "v3:one".to_owned()));
    assert_eq!(stored(&rig, &count("b")).unwrap(), (2, "v2:two".to_owned()), "only what was migrated has changed");
    assert_eq!(stored(&rig, &item("a", "x")).unwrap(), (3, "v3:item".to_owned()));
    assert!(rig.call(&[b"a", b"b"]).is_empty());
    assert_eq!(rig.calls(), [], "nothing is migrated twice");
    assert_eq!(rig.task.take_migrated().values, 2);
}

#[test]
fn without_older_versions_nobody_is_asked() {
    let mut rig = Rig::new(OlderVersions::new());
    rig.store(&[(count("a"), 1, "one"), (count("b"), 3, "three")]);
    assert!(rig.call(&[b"b"]).is_empty());
    assert!(!rig.task.is_migrating());
    rig.task.start_sweep(0, 1);
    assert!(!rig.task.has_slice());
    let Attempt::Failed(CallError::Host(reason)) = rig.attempt(&[b"a"]) else { unreachable!("it was read") };
    assert_eq!(reason, "state `count` holds version 1, which the operator neither reads nor migrates");
}

#[test]
fn a_lost_epoch_takes_its_migrations_with_it() {
    let mut rig = Rig::new(both_older());
    rig.store(&[(count("a"), 1, "one"), (item("a", "x"), 1, "item")]);
    let before = cells_of(&rig.disk);
    assert!(rig.call(&[b"a"]).is_empty());
    rig.cut();
    rig.lose();
    assert_eq!(cells_of(&rig.disk), before);
    assert!(rig.call(&[b"a"]).is_empty());
    assert_eq!(rig.read(&count("a")).unwrap(), "v3:one");
    assert_eq!(rig.calls().len(), 4, "both are migrated again");
}

#[test]
fn what_a_failed_call_had_migrated_stays_migrated_and_its_effects_do_not() {
    let mut rig = Rig::new(both_older());
    rig.store(&[(count("a"), 1, "one")]);
    rig.notes.lock().unwrap().fails = true;
    rig.notes.lock().unwrap().writes = vec![(count("a"), Some(b"v3:new".to_vec()))];
    assert!(matches!(rig.attempt(&[b"a"]), Attempt::Failed(CallError::Trap { .. })));
    rig.commit();
    assert_eq!(stored(&rig, &count("a")).unwrap(), (3, "v3:one".to_owned()));
}

#[test]
fn an_absent_result_removes_the_value() {
    let mut rig = Rig::new(both_older());
    rig.store(&[(count("a"), 1, "drop"), (item("a", "x"), 1, "drop"), (item("a", "y"), 1, "kept")]);
    assert!(rig.call(&[b"a"]).is_empty());
    assert_eq!((rig.read(&count("a")), rig.read(&item("a", "x"))), (None, None));
    rig.commit();
    assert_eq!(cells_of(&rig.disk).into_keys().collect::<Vec<_>>(), [item("a", "y")]);
}

#[test]
fn a_value_that_cannot_be_migrated_fails_the_records_of_its_key_and_keeps_its_bytes() {
    for poison in POISON {
        let mut rig = Rig::new(both_older());
        let keys: Vec<String> = (0..64).map(|number| format!("k{number}")).collect();
        let texts = keys.iter().map(|key| if key == "k40" { poison } else { "fine" });
        let cells: Vec<_> = keys.iter().zip(texts).map(|(key, text)| (count(key), 1, text)).collect();
        rig.store(&cells);
        let batch: Vec<&[u8]> = keys.iter().map(String::as_bytes).chain([b"k40".as_slice()]).collect();
        let is_fault = matches!(poison, "trap" | "bomb" | "short");
        let Attempt::Failed(error) = rig.attempt(&batch) else { unreachable!("it was migrated") };
        assert_eq!(is_fault, matches!(error, CallError::Blame(_)), "{error:?}");
        let refused = refused_by(error);
        assert_eq!(refused.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [40, 64], "{poison}");
        let reason = &refused[0].1;
        assert!(reason.starts_with("a value of state `count`, version 1, cannot be migrated: "), "{reason}");
        let migrated = rig.task.take_migrated();
        assert_eq!((migrated.values, migrated.refused, migrated.faults), (63, 1, u64::from(is_fault)), "{poison}");
        assert_eq!(migrated.calls_failed, if is_fault { 7 } else { 0 }, "{poison}");
        rig.calls();
        // The rest of the batch, as the worker calls with it.
        assert!(rig.call(&batch[..40]).is_empty());
        assert_eq!(rig.call(&[b"k40", b"k41"]), [(0, reason.clone())]);
        assert_eq!(rig.calls(), [], "what was refused is not asked for again");
        rig.commit();
        assert_eq!(stored(&rig, &count("k40")).unwrap(), (1, format!("v1:{poison}")));
        assert_eq!(stored(&rig, &count("k41")).unwrap(), (3, "v3:fine".to_owned()));
        rig.restart();
        assert_eq!(rig.call(&[b"k41", b"k40"]), [(1, reason.clone())], "another process finds it again");
    }
}

#[test]
fn an_entry_that_cannot_be_migrated_fails_its_map() {
    let mut rig = Rig::new(both_older());
    rig.store(&[(item("a", "x"), 1, "fine"), (item("a", "y"), 2, "trap"), (item("b", "x"), 1, "fine")]);
    for _ in 0..2 {
        let refused = rig.call(&[b"b", b"a", b"a"]);
        assert_eq!(refused.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2]);
        assert!(refused[0].1.contains("`items`, version 2"), "{refused:?}");
    }
    assert_eq!(rig.calls().iter().filter(|(_, from, _)| *from == 2).count(), 1);
    rig.commit();
    assert_eq!(stored(&rig, &item("a", "x")).unwrap().0, 3, "its neighbours are migrated");
    assert_eq!(stored(&rig, &item("a", "y")).unwrap(), (2, "v2:trap".to_owned()));
}

#[test]
fn a_request_to_stop_stops_and_one_for_a_retry_is_granted() {
    let mut rig = Rig::new(both_older());
    rig.store(&[(count("a"), 1, "fine"), (count("b"), 1, "stop")]);
    rig.notes.lock().unwrap().retries = 2;
    assert!(rig.call(&[b"a"]).is_empty());
    assert_eq!(rig.calls().len(), 3);
    let Attempt::Failed(CallError::Stop(reason)) = rig.attempt(&[b"b"]) else { unreachable!("it goes on") };
    assert_eq!(reason, "stop on purpose");
    rig.notes.lock().unwrap().retries = 100;
    rig.store(&[(count("c"), 1, "fine")]);
    assert!(rig.call(&[b"c"])[0].1.contains("asked for a retry: not now"));
}

#[test]
fn a_large_map_is_migrated_piece_by_piece() {
    let mut rig = Rig::with(both_older(), OperatorLimits::default());
    let text = "x".repeat(100_000);
    let keys: Vec<String> = (0..25).map(|number| format!("{number:02}")).collect();
    let cells: Vec<_> = keys.iter().map(|key| (item("a", key), 1, text.as_str())).collect();
    rig.store(&cells);
    rig.store(&[(item("b", "x"), 1, "small")]);
    assert!(rig.call(&[b"a", b"b"]).is_empty());
    let calls = rig.calls();
    assert!(calls.len() > 2 && calls.iter().all(|(_, _, rows)| *rows < 12), "{calls:?}");
    assert_eq!(calls.iter().map(|(_, _, rows)| rows).sum::<usize>(), 26);
    assert_eq!(rig.read(&item("b", "x")).unwrap(), "v3:small");
    assert!(keys.iter().all(|key| rig.read(&item("a", key)).unwrap().starts_with("v3:")));
}

#[test]
fn a_store_that_cannot_be_read_blames_no_record() {
    let mut rig = Rig::new(both_older());
    rig.store(&[(count("a"), 1, "one")]);
    let life = Life::default();
    let state = FakeState::new(&rig.disk, &life);
    rig.task = Rig::task(&state, &rig.notes, &rig.older, &rig.limits);
    rig.task.start_sweep(0, 1);
    life.ends_in(0);
    assert!(matches!(rig.attempt(&[b"a"]), Attempt::Failed(CallError::Host(_))));
    assert!(matches!(rig.task.sweep(), Err(CallError::Host(_))));
    assert_eq!(rig.calls(), []);
}

#[test]
fn a_sweep_migrates_what_no_record_touches_and_passes_over_the_rest() {
    let mut rig = Rig::new(both_older());
    let keys: Vec<String> = (0..3_000).map(|number| format!("k{number}")).collect();
    let cells: Vec<_> = keys.iter().flat_map(|key| [(count(key), 1, "v"), (item(key, "i"), 2, "i")]).collect();
    rig.store(&cells);
    rig.store(&[(count("read-as-it-is"), 2, "v"), (count("new"), 3, "v"), (item("k7", "bad"), 1, "bad")]);
    rig.notes.lock().unwrap().writes = vec![(count("k1"), Some(b"v3:open".to_vec()))];
    assert!(rig.call(&[b"k1", b"k2"]).is_empty());
    rig.cut();
    rig.notes.lock().unwrap().writes = vec![(count("k3"), Some(b"v3:open".to_vec()))];
    assert!(rig.call(&[b"k3"]).is_empty());
    rig.calls();
    rig.task.start_sweep(0, 1);
    while rig.task.has_slice() {
        rig.task.sweep().unwrap();
    }
    let calls = rig.calls();
    assert!(calls.iter().all(|(_, _, rows)| *rows <= 1_024), "{calls:?}");
    rig.apply();
    rig.commit();
    let swept = part(&rig);
    assert!(swept.is_done());
    assert_eq!((swept.cells_seen, swept.cells_migrated), (6_003, 6_000 - 6));
    let left = [((COUNT, 1), 0), ((ITEMS, 1), 1), ((ITEMS, 2), 0)];
    assert_eq!(swept.cells_left, left.into());
    let cells = cells_of(&rig.disk);
    assert_eq!(cells.len(), 6_003);
    assert_eq!(cells[&count("k1")], (3, b"v3:open".to_vec()));
    assert_eq!(cells[&count("k3")], (3, b"v3:open".to_vec()));
    let old: Vec<_> = cells.iter().filter(|(_, (version, _))| *version != 3).map(|(cell, _)| cell.clone()).collect();
    assert_eq!(old, [count("read-as-it-is"), item("k7", "bad")]);
    rig.task.set_older_versions(&[("items".to_owned(), vec![1])].into());
    assert!(rig.task.is_migrating(), "one is left");
    rig.task.set_older_versions(&OlderVersions::new());
    assert!(!rig.task.is_migrating() && rig.task.sweep_part(OperatorIndex(0)).is_none());
}

#[test]
fn a_lost_epoch_takes_the_sweep_back_to_the_last_commit() {
    let mut rig = Rig::new(both_older());
    let keys: Vec<String> = (0..5_000).map(|number| format!("k{number}")).collect();
    rig.store(&keys.iter().map(|key| (count(key), 1, "v")).collect::<Vec<_>>());
    rig.task.start_sweep(0, 1);
    rig.task.sweep().unwrap();
    rig.commit();
    let committed = part(&rig);
    assert!(committed.cells_migrated > 0 && !committed.is_done());
    rig.task.sweep().unwrap();
    rig.cut();
    rig.task.sweep().unwrap();
    assert!(part(&rig).cells_migrated > committed.cells_migrated);
    rig.lose();
    assert_eq!(part(&rig), committed);
    sweep_all(&mut rig);
    assert_eq!((part(&rig).cells_seen, part(&rig).cells_migrated), (5_000, 5_000));
    assert!(cells_of(&rig.disk).values().all(|(version, _)| *version == 3));
}

#[test]
fn an_epoch_takes_so_much_of_a_sweep_and_no_more() {
    let mut rig = Rig::with(both_older(), OperatorLimits::default());
    let text = "x".repeat(10_000);
    let keys: Vec<String> = (0..2_000).map(|number| format!("k{number}")).collect();
    rig.store(&keys.iter().map(|key| (count(key), 1, text.as_str())).collect::<Vec<_>>());
    rig.task.start_sweep(0, 1);
    let mut epochs = 0;
    while !rig.task.sweep_part(OperatorIndex(0)).unwrap().is_done() {
        while rig.task.has_slice() {
            rig.task.sweep().unwrap();
        }
        let mut changes = ChangeSet::default();
        let frozen = rig.task.freeze(&mut changes);
        assert!(changes.bytes_len() < 10 << 20, "{} bytes in an epoch", changes.bytes_len());
        rig.state.write(&[changes], &[], false).unwrap();
        rig.task.applied(frozen, MEMORY);
        assert!(rig.task.state_bytes() <= MEMORY, "swept values make room");
        epochs += 1;
    }
    assert!(epochs >= 3, "{epochs}");
}

#[test]
fn workers_sweep_each_cell_once_together() {
    let keys: Vec<String> = (0..500).map(|number| format!("k{number}")).collect();
    let mut seen = 0;
    for worker in 0..3 {
        let mut rig = Rig::new(both_older());
        rig.store(&keys.iter().map(|key| (count(key), 1, "v")).collect::<Vec<_>>());
        rig.task.start_sweep(worker, 3);
        while rig.task.has_slice() {
            rig.task.sweep().unwrap();
        }
        rig.commit();
        let own = |key: &&String| key_group(key.as_bytes()).part_of(3) as usize == worker;
        let migrated = |key: &String| stored(&rig, &count(key)).unwrap().0 == VERSION;
        assert!(keys.iter().all(|key| migrated(key) == own(&key)), "worker {worker}");
        seen += part(&rig).cells_seen;
    }
    assert_eq!(seen, 500);
}
