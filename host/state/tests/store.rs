//! The store, its files and what may befall them.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Chance, MEMORY_BYTES, Model, all, changes, commit, open, read};
use millstream_engine::ports::{ChangeSet, Meta, StateBackend};
use millstream_state::RocksStore;
use proptest::prelude::*;
use std::path::Path;

#[test]
fn what_was_written_is_read_back_by_key_in_the_order_asked() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("db"));
    let set = changes([(b"b".as_slice(), Some(b"2".as_slice())), (b"a", Some(b"")), (b"c", Some(b"3"))]);
    store.write(&[set], &[], false).unwrap();
    let found = read(&store, &[b"c", b"x", b"a", b"b", b"c"]);
    let value = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(found, [value("3"), None, value(""), value("2"), value("3")]);
}

#[test]
fn of_a_cell_in_two_sets_the_later_set_counts() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("db"));
    let sets = [
        changes([(b"k".as_slice(), Some(b"old".as_slice())), (b"gone", Some(b"x"))]),
        changes([(b"k".as_slice(), Some(b"new".as_slice())), (b"gone", None)]),
    ];
    store.write(&sets, &[], false).unwrap();
    assert_eq!(read(&store, &[b"k", b"gone"]), [Some(b"new".to_vec()), None]);
}

#[test]
fn a_scan_stays_within_its_prefix_goes_on_after_a_key_and_stops_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("db"));
    let keys: [&[u8]; 6] = [b"a", b"p", b"p1", b"p2", b"p3", b"q"];
    store.write(&[changes(keys.map(|key| (key, Some(key))))], &[], false).unwrap();
    let scanned = |prefix: &[u8], after: Option<&[u8]>, limit: usize| {
        let mut found = Vec::new();
        store
            .scan(prefix, after, &mut |key, _| {
                found.push(key.to_vec());
                found.len() < limit
            })
            .unwrap();
        found
    };
    assert_eq!(scanned(b"p", None, 9), [&b"p"[..], b"p1", b"p2", b"p3"]);
    assert_eq!(scanned(b"p", Some(b"p1"), 9), [b"p2", b"p3"]);
    assert_eq!(scanned(b"p", Some(b"a"), 9).len(), 4);
    assert_eq!(scanned(b"p", None, 2), [&b"p"[..], b"p1"]);
    assert_eq!(scanned(b"z", None, 9), Vec::<Vec<u8>>::new());
}

#[test]
fn facts_are_written_with_the_cells_and_removed_by_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let store = open(&path);
    assert_eq!(store.meta(Meta::Applied).unwrap(), None);
    store.write(&[], &[(Meta::Applied, Some(b"one")), (Meta::Restoring, Some(b""))], true).unwrap();
    store.write(&[], &[(Meta::Restoring, None)], false).unwrap();
    drop(store);
    let store = open(&path);
    assert_eq!(store.meta(Meta::Applied).unwrap(), Some(b"one".to_vec()));
    assert_eq!(store.meta(Meta::Restoring).unwrap(), None);
    assert_eq!(store.meta(Meta::Open).unwrap(), None);
}

#[test]
fn an_emptied_store_holds_nothing_takes_new_cells_and_stays_so_when_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let store = open(&path);
    let mut model = Model::new();
    commit(&store, &mut model, 1, 2_000);
    store.clear().unwrap();
    assert!(all(&store).is_empty());
    assert_eq!(store.meta(Meta::Applied).unwrap(), None);
    assert_eq!(read(&store, &[b"key-000017"]), [None]);
    let mut model = Model::new();
    commit(&store, &mut model, 2, 10);
    drop(store);
    assert_eq!(all(&open(&path)), model);
}

#[test]
fn a_store_is_looked_at_while_another_handle_writes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let store = open(&path);
    let mut model = Model::new();
    commit(&store, &mut model, 1, 500);
    let seen = RocksStore::open_read_only(&path).unwrap();
    let then = model.clone();
    commit(&store, &mut model, 2, 500);
    assert_eq!(all(&seen), then);
    assert!(seen.write(&[ChangeSet::default()], &[(Meta::Applied, Some(b"x"))], false).is_err());
    assert_eq!(all(&store), model);
}

#[test]
fn looking_for_a_store_where_there_is_none_says_so_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let Err(error) = RocksStore::open_read_only(&path) else { panic!("opened") };
    assert!(error.reason.contains("there is no store here"), "{error}");
    assert!(!path.exists());
}

#[test]
fn sizes_tell_of_cells_and_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("db"));
    commit(&store, &mut Model::new(), 1, 1_000);
    let sizes = store.sizes();
    assert!((1_000..1_010).contains(&sizes.cells), "{sizes:?}");
    assert!(sizes.memory_bytes() > 0 && !sizes.is_delayed, "{sizes:?}");
}

#[test]
fn a_copy_taken_in_the_middle_of_writing_opens_at_a_commit() {
    let mut chance = Chance::printed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let store = open(&path);
    let mut after = vec![(None, Model::new())];
    let mut model = Model::new();
    let (done, copies) = (std::sync::atomic::AtomicBool::new(false), directory.path().join("copies"));
    std::thread::scope(|scope| {
        let (done, path) = (&done, &path);
        let copier = scope.spawn(move || {
            let mut made = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Acquire) && made.len() < 8 {
                // The log alone: what a dead process leaves of files that only grow.
                let copy = copies.join(made.len().to_string());
                common::copy_directory(path, &copy);
                made.push(copy);
            }
            made
        });
        for epoch in 1..=60 {
            let record = commit(&store, &mut model, epoch, 1 + chance.below(200));
            after.push((Some(millstream_engine::commit::codec::encode_commit(&record)), model.clone()));
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        for copy in copier.join().unwrap() {
            // Memory this small is never flushed by 60 epochs of ≤ 200 cells, so the copy is of one growing log.
            let store = open(&copy);
            let applied = store.meta(Meta::Applied).unwrap();
            let (_, expected) = after.iter().find(|(record, _)| *record == applied).unwrap();
            assert_eq!(all(&store), *expected);
        }
    });
}

#[test]
fn a_store_whose_process_died_without_a_word_has_every_write() {
    let directory = tempfile::tempdir().unwrap();
    let (path, left) = (directory.path().join("db"), directory.path().join("left"));
    let store = open(&path);
    let mut model = Model::new();
    for epoch in 1..=40 {
        commit(&store, &mut model, epoch, 1_000);
    }
    // The files as they are now, with the first handle never closed: what the system has of a killed process.
    common::copy_directory(&path, &left);
    assert_eq!(all(&open(&left)), model);
}

/// Opens and reads everything; the first error there is.
fn look(path: &Path) -> Result<(Option<Vec<u8>>, Model), String> {
    let store = RocksStore::open(path, MEMORY_BYTES).map_err(|error| error.to_string())?;
    let mut found = Model::new();
    let mut keep = |key: &[u8], value: &[u8]| {
        found.insert(key.to_vec(), value.to_vec());
        true
    };
    store.scan(&[], None, &mut keep).map_err(|error| error.to_string())?;
    let keys: millstream_model::column::BytesColumn = found.keys().map(|key| Some(key.as_slice())).collect();
    store.read(&keys, &mut millstream_model::column::BytesColumn::default()).map_err(|error| error.to_string())?;
    Ok((store.meta(Meta::Applied).map_err(|error| error.to_string())?, found))
}

#[test]
fn a_store_damaged_at_any_byte_says_so_or_is_whole_never_half() {
    let mut chance = Chance::printed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut commits = vec![(None, Model::new())];
    {
        let mut model = Model::new();
        for run in 0..3 {
            // Each opening moves the log of the run before into files.
            let store = open(&path);
            for epoch in 1..=4 {
                let record = commit(&store, &mut model, run * 4 + epoch, 400);
                commits.push((Some(millstream_engine::commit::codec::encode_commit(&record)), model.clone()));
            }
        }
    }
    let mut files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| {
        let name = file.file_name().unwrap().to_str().unwrap();
        !name.starts_with("LOG") && name != "LOCK" && !name.starts_with("OPTIONS") && file.metadata().unwrap().len() > 0
    });
    files.sort();
    let mut said = 0;
    for trial in 0..100 {
        let damaged = directory.path().join(format!("damaged-{trial}"));
        common::copy_directory(&path, &damaged);
        let victim = damaged.join(files[chance.below(files.len() as u64) as usize].file_name().unwrap());
        let mut bytes = std::fs::read(&victim).unwrap();
        let at = chance.below(bytes.len() as u64) as usize;
        let what = match chance.below(3) {
            0 => {
                bytes.truncate(at);
                "cut"
            }
            1 => {
                std::fs::remove_file(&victim).unwrap();
                "removed"
            }
            _ => {
                bytes[at] ^= 1 << chance.below(8);
                "flipped"
            }
        };
        if what != "removed" {
            std::fs::write(&victim, &bytes).unwrap();
        }
        let which = format!("{what} {} at {at}", victim.file_name().unwrap().to_str().unwrap());
        match look(&damaged) {
            Ok((applied, found)) => {
                let (_, expected) = commits
                    .iter()
                    .find(|(record, _)| *record == applied)
                    .unwrap_or_else(|| panic!("{which}: no such commit"));
                assert!(found == *expected, "{which}: {} cells, its commit had {}", found.len(), expected.len());
            }
            Err(error) => {
                said += 1;
                assert!(error.contains("Delete this directory"), "{which}: {error}");
                assert!(error.contains(damaged.to_str().unwrap()), "{which}: {error}");
            }
        }
        std::fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(said > 0, "no damage was ever noticed");
}

#[test]
fn a_store_without_its_current_file_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    commit(&open(&path), &mut Model::new(), 1, 10);
    std::fs::remove_file(path.join("CURRENT")).unwrap();
    let Err(error) = RocksStore::open(&path, MEMORY_BYTES) else { panic!("opened") };
    assert!(error.reason.contains("`CURRENT` is missing") && error.reason.contains("Delete this directory"), "{error}");
}

#[test]
fn a_store_that_is_open_is_not_opened_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let _first = open(&path);
    let Err(error) = RocksStore::open(&path, MEMORY_BYTES) else { panic!("opened") };
    assert!(error.reason.contains("another process has the store open"), "{error}");
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u8, Option<Vec<u8>>)>),
    Clear,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cell = (0..40u8, prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..20)));
    let step = prop_oneof![
        8 => prop::collection::vec(cell, 0..30).prop_map(Step::Write),
        1 => Just(Step::Clear),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_the_map_a_model_is(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let mut store = open(&path);
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Write(cells) => {
                    let cells: std::collections::BTreeMap<u8, _> = cells.into_iter().collect();
                    let keys: Vec<Vec<u8>> = cells.keys().map(|key| vec![b'k', *key, b'-', *key]).collect();
                    // Neither sorted nor sorted backwards.
                    let rows: Vec<_> = keys.iter().zip(cells.values()).map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
                    let (even, odd): (Vec<_>, Vec<_>) = rows.iter().partition(|(key, _)| key[1] % 2 == 0);
                    store.write(&[changes(odd.into_iter().chain(even))], &[], false).unwrap();
                    for (key, value) in rows {
                        match value {
                            Some(value) => model.insert(key.to_vec(), value.to_vec()),
                            None => model.remove(key),
                        };
                    }
                }
                Step::Clear => {
                    store.clear().unwrap();
                    model.clear();
                }
                Step::Reopen => {
                    drop(store);
                    store = open(&path);
                }
            }
            prop_assert_eq!(&all(&store), &model);
            let keys: Vec<Vec<u8>> = (0..40u8).rev().map(|key| vec![b'k', key, b'-', key]).collect();
            let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
            prop_assert_eq!(read(&store, &asked), expected);
        }
    }
}
