//! Checkpoints: taken, listed, collected, verified and restored.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Chance, MEMORY_BYTES, Model, all, commit};
use millstream_engine::commit::codec::encode_commit;
use millstream_engine::ports::{CheckpointError, CheckpointKind, CheckpointTaken, Checkpoints, Meta, StateBackend};
use millstream_model::commit::CommitRecord;
use millstream_state::{CheckpointSettings, CheckpointStore, Error, RocksCheckpoints, RocksStore, StateDir};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

/// A pipeline's directory with its store and its checkpoints.
struct Pipeline {
    directory: StateDir,
    place: PathBuf,
    settings: CheckpointSettings,
    store: Arc<RocksStore>,
    checkpoints: RocksCheckpoints,
    model: Model,
    _base: tempfile::TempDir,
}

impl Pipeline {
    fn new(retained: usize) -> Self {
        Self::of("words", None, retained)
    }

    /// A pipeline of its own, whose checkpoints may lie elsewhere.
    fn of(id: &str, place: Option<&Path>, retained: usize) -> Self {
        let base = tempfile::tempdir().unwrap();
        let directory = StateDir::take(base.path(), id).unwrap();
        let place = place.map_or_else(|| directory.checkpoints(), Path::to_owned);
        let store = Arc::new(RocksStore::open(&directory.store(), MEMORY_BYTES).unwrap());
        let settings = CheckpointSettings { pipeline: id.to_owned(), staging: directory.staging(), retained };
        let shared = CheckpointStore::in_directory(&place).unwrap();
        let checkpoints = RocksCheckpoints::new(Arc::clone(&store), shared, settings.clone());
        Self { directory, place, settings, store, checkpoints, model: Model::new(), _base: base }
    }

    fn place(&self) -> CheckpointStore {
        CheckpointStore::in_directory(&self.place).unwrap()
    }

    fn commit(&mut self, epoch: u64, count: u64) -> CommitRecord {
        commit(&self.store, &mut self.model, epoch, count)
    }

    /// Begins a checkpoint; the end of the channel tells.
    fn begin(
        &mut self,
        commit: &CommitRecord,
        kind: CheckpointKind,
    ) -> mpsc::Receiver<Result<CheckpointTaken, CheckpointError>> {
        let (done, told) = mpsc::channel();
        self.checkpoints.take(commit, kind, Box::new(move |taken| done.send(taken).unwrap()));
        told
    }

    fn take(&mut self, epoch: u64, kind: CheckpointKind) -> CheckpointTaken {
        let record = self.commit(epoch, 200);
        let told = self.begin(&record, kind).recv().unwrap().unwrap();
        // `done` is told from the thread; the next `take` finds it ended.
        while self.directory.staging().exists() {
            std::thread::yield_now();
        }
        self.settle();
        told
    }

    /// Waits for the thread of the last checkpoint by taking none.
    fn settle(&mut self) {
        let fresh = RocksCheckpoints::new(Arc::clone(&self.store), self.place(), self.settings.clone());
        drop(std::mem::replace(&mut self.checkpoints, fresh));
    }

    fn names(&self) -> Vec<String> {
        self.place().list().unwrap().into_iter().map(|listed| listed.name).collect()
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        entries(&self.place.join("files"))
    }
}

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn empty_directory() -> (tempfile::TempDir, StateDir) {
    let base = tempfile::tempdir().unwrap();
    let directory = StateDir::take(base.path(), "copy").unwrap();
    (base, directory)
}

fn locate(taken: &CheckpointTaken) -> (CheckpointStore, String) {
    CheckpointStore::locate(Path::new(&taken.location)).unwrap()
}

#[test]
fn a_checkpoint_restored_elsewhere_has_cells_commit_and_open_record() {
    let mut pipeline = Pipeline::new(3);
    let taken = pipeline.take(7, CheckpointKind::Savepoint);
    let then = pipeline.model.clone();
    pipeline.commit(8, 500);
    let (place, name) = locate(&taken);
    assert_eq!(place.verify(&name).unwrap().bytes(), taken.bytes);
    let (_base, into) = empty_directory();
    let restored = place.restore(&name, &into).unwrap();
    assert_eq!(restored.commit.token.epoch.0, 7);
    assert_eq!(restored.pipeline, "words");
    assert_eq!(restored.open.unwrap().cluster_id, "cluster");
    let store = RocksStore::open(&into.store(), MEMORY_BYTES).unwrap();
    assert_eq!(all(&store), then);
    assert_eq!(store.meta(Meta::Applied).unwrap(), Some(encode_commit(&common::commit_record(7))));
    assert!(store.meta(Meta::Open).unwrap().is_some());
    assert!(!into.staging().exists());
    // The pipeline itself never noticed.
    assert_eq!(all(pipeline.store.as_ref()), pipeline.model);
}

#[test]
fn writes_after_the_beginning_of_a_checkpoint_are_not_in_it() {
    let mut chance = Chance::printed();
    let mut pipeline = Pipeline::new(3);
    for round in 0..5 {
        let record = pipeline.commit(round * 10 + 1, 1 + chance.below(1_000));
        let then = pipeline.model.clone();
        let told = pipeline.begin(&record, CheckpointKind::Savepoint);
        for epoch in 2..8 {
            pipeline.commit(round * 10 + epoch, 1 + chance.below(1_000));
        }
        let (place, name) = locate(&told.recv().unwrap().unwrap());
        pipeline.settle();
        let (_base, into) = empty_directory();
        place.restore(&name, &into).unwrap();
        assert_eq!(all(&RocksStore::open(&into.store(), MEMORY_BYTES).unwrap()), then);
    }
}

#[test]
fn while_one_is_under_way_another_fails_and_a_wrong_commit_is_refused() {
    let mut pipeline = Pipeline::new(3);
    let record = pipeline.commit(1, 2_000);
    // A checkpoint is under way until whoever is told of its end has heard of it.
    let (heard, wait) = mpsc::channel::<()>();
    let (done, told) = mpsc::channel();
    let slow = move |taken: Result<CheckpointTaken, CheckpointError>| {
        wait.recv().unwrap();
        done.send(taken).unwrap();
    };
    pipeline.checkpoints.take(&record, CheckpointKind::Periodic, Box::new(slow));
    let error = pipeline.begin(&record, CheckpointKind::Savepoint).recv().unwrap().unwrap_err();
    assert!(error.reason.contains("another one is still being written"), "{error}");
    heard.send(()).unwrap();
    told.recv().unwrap().unwrap();
    pipeline.settle();
    let error = pipeline.begin(&common::commit_record(99), CheckpointKind::Periodic).recv().unwrap().unwrap_err();
    assert!(error.reason.contains("the store is not at commit"), "{error}");
}

#[test]
fn unchanged_files_are_shared_and_only_periodic_checkpoints_are_collected() {
    let mut pipeline = Pipeline::new(3);
    let savepoint = pipeline.take(1, CheckpointKind::Savepoint);
    let before = pipeline.files();
    let periodic: Vec<_> = (2..=6).map(|epoch| pipeline.take(epoch, CheckpointKind::Periodic)).collect();
    let kept: Vec<String> = pipeline.names();
    let name = |taken: &CheckpointTaken| locate(taken).1;
    assert_eq!(kept, [name(&savepoint), name(&periodic[2]), name(&periodic[3]), name(&periodic[4])]);
    for name in &kept {
        pipeline.place().verify(name).unwrap();
    }
    assert!(!Path::new(&periodic[0].location).exists(), "the directory of a collected checkpoint is left");
    // Everything there is used, and by the savepoint what it had.
    let used: BTreeSet<String> =
        kept.iter().flat_map(|name| pipeline.place().inspect(name).unwrap().files).map(|file| file.sha256).collect();
    let there: BTreeSet<String> =
        pipeline.files().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(there, used);
    assert!(before.is_subset(&pipeline.files()));
    let all: usize = kept.iter().map(|name| pipeline.place().inspect(name).unwrap().files.len()).sum();
    assert!(used.len() < all, "{all} files, none of them shared");
}

#[test]
fn checkpoints_of_another_pipeline_in_the_same_place_stay() {
    let mut other = Pipeline::of("other", None, 1);
    let theirs = other.take(1, CheckpointKind::Periodic);
    let mut ours = Pipeline::of("words", Some(&other.place), 1);
    // What a checkpoint is called says nothing of whose it is: epochs of their own keep the names apart.
    let taken: Vec<_> = (11..=14).map(|epoch| ours.take(epoch, CheckpointKind::Periodic)).collect();
    let name = |taken: &CheckpointTaken| locate(taken).1;
    assert_eq!(ours.names().into_iter().collect::<BTreeSet<_>>(), [name(&theirs), name(&taken[3])].into());
    for name in ours.names() {
        ours.place().verify(&name).unwrap();
    }
}

#[test]
fn checkpoints_of_the_history_before_a_reset_stay() {
    let mut before = Pipeline::new(1);
    let old = before.take(1, CheckpointKind::Periodic);
    let mut after = Pipeline::of("words", Some(&before.place), 1);
    let mut names = Vec::new();
    for epoch in 2..=4 {
        let mut record = common::commit_record(epoch);
        record.token.lineage.0 = [8; 16];
        after.store.write(&[], &[(Meta::Applied, Some(&encode_commit(&record)))], false).unwrap();
        names.push(after.begin(&record, CheckpointKind::Periodic).recv().unwrap().unwrap());
        after.settle();
    }
    let name = |taken: &CheckpointTaken| locate(taken).1;
    assert_eq!(after.names().into_iter().collect::<BTreeSet<_>>(), [name(&old), name(&names[2])].into());
    after.place().verify(&name(&old)).unwrap();
}

#[test]
fn a_start_from_a_checkpoint_that_was_cut_off_can_be_made_again() {
    let mut pipeline = Pipeline::new(3);
    let taken = pipeline.take(1, CheckpointKind::Savepoint);
    let expected = pipeline.model.clone();
    let (place, name) = locate(&taken);
    let base = tempfile::tempdir().unwrap();
    let directory = StateDir::take(base.path(), "words").unwrap();
    place.restore(&name, &directory).unwrap();
    let store = RocksStore::open(&directory.store(), MEMORY_BYTES).unwrap();
    store.write(&[], &[(Meta::Restoring, Some(&[]))], true).unwrap();
    drop(store);
    place.restore(&name, &directory).unwrap();
    let store = RocksStore::open(&directory.store(), MEMORY_BYTES).unwrap();
    assert_eq!((all(&store), store.meta(Meta::Restoring).unwrap()), (expected, None));
}

#[test]
fn a_checkpoint_without_a_manifest_is_never_listed_and_collected_later() {
    let mut pipeline = Pipeline::new(3);
    pipeline.take(1, CheckpointKind::Periodic);
    let checkpoints = pipeline.directory.checkpoints();
    // What a crash leaves: files that nobody names, half an upload, an empty directory.
    std::fs::create_dir(checkpoints.join("checkpoint-000000000002-07070707-1")).unwrap();
    std::fs::write(checkpoints.join("files").join("a".repeat(64)), "orphan").unwrap();
    std::fs::write(checkpoints.join("files").join("half#1"), "half").unwrap();
    assert_eq!(pipeline.names().len(), 1);
    let error = pipeline.place().inspect("checkpoint-000000000002-07070707-1").unwrap_err().to_string();
    assert!(error.contains("it was not finished"), "{error}");
    let error = CheckpointStore::locate(&checkpoints.join("checkpoint-000000000002-07070707-1"))
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("millstream checkpoint list"), "{error}");
    pipeline.take(3, CheckpointKind::Periodic);
    let used: usize = {
        let place = pipeline.place();
        let files = pipeline.names().into_iter().flat_map(|name| place.inspect(&name).unwrap().files);
        files.map(|file| file.sha256).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(pipeline.files().len(), used);
    assert_eq!(entries(&checkpoints).len(), 3, "two checkpoints and their files");
}

#[test]
fn a_checkpoint_damaged_at_any_byte_is_refused_and_nothing_is_touched() {
    let mut chance = Chance::printed();
    let mut pipeline = Pipeline::new(3);
    let taken = pipeline.take(1, CheckpointKind::Savepoint);
    let (place, name) = locate(&taken);
    let mut files: Vec<_> = pipeline.files().into_iter().collect();
    files.retain(|file| file.metadata().unwrap().len() > 0);
    files.push(Path::new(&taken.location).join("manifest.json"));
    let (_base, into) = empty_directory();
    for _ in 0..60 {
        let victim = &files[chance.below(files.len() as u64) as usize];
        let whole = std::fs::read(victim).unwrap();
        let mut bytes = whole.clone();
        let at = chance.below(bytes.len() as u64) as usize;
        let what = match chance.below(3) {
            0 => {
                bytes.truncate(at);
                "cut"
            }
            1 => "removed",
            _ => {
                bytes[at] ^= 1 << chance.below(8);
                "flipped"
            }
        };
        std::fs::remove_file(victim).unwrap();
        if what != "removed" {
            std::fs::write(victim, &bytes).unwrap();
        }
        let which = format!("{what} {} at {at}", victim.display());
        for error in [place.verify(&name).map(|_| ()), place.restore(&name, &into).map(|_| ())] {
            match error {
                Err(Error::Damaged { .. } | Error::NoCheckpoint { .. } | Error::Newer { .. }) => {}
                // The version that wrote it is not covered by the sum: it changes nothing.
                Ok(()) if victim.ends_with("manifest.json") && what == "flipped" => {
                    std::fs::remove_dir_all(into.store()).ok();
                }
                other => panic!("{which}: {other:?}"),
            }
        }
        assert!(!into.store().exists() && !into.staging().exists(), "{which}");
        std::fs::write(victim, whole).unwrap();
    }
    place.restore(&name, &into).unwrap();
}

#[test]
fn a_foreign_or_newer_manifest_is_refused_by_name() {
    let mut pipeline = Pipeline::new(3);
    let taken = pipeline.take(1, CheckpointKind::Savepoint);
    let (place, name) = locate(&taken);
    let path = Path::new(&taken.location).join("manifest.json");
    let ours = std::fs::read_to_string(&path).unwrap();
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        place.inspect(&name).unwrap_err()
    };
    let foreign = refused(r#"{"kind": "flink", "format": 1, "millstream": "", "version": 3}"#);
    assert!(foreign.to_string().contains("is of kind `flink`, not written by Millstream"), "{foreign}");
    let newer = refused(&ours.replace(r#""format":1"#, r#""format":2"#));
    assert!(matches!(newer, Error::Newer { format: 2, known: 1, .. }), "{newer:?}");
    let shifted = refused(&ours.replace(r#""taken_ms":1"#, r#""taken_ms":2"#));
    assert!(shifted.to_string().contains("does not have the sha256 it was written with"), "{shifted}");
    let listed = place.list().unwrap();
    assert!(listed[0].checkpoint.is_err());
}

#[test]
fn a_restore_never_goes_over_a_store() {
    let mut pipeline = Pipeline::new(3);
    let taken = pipeline.take(1, CheckpointKind::Savepoint);
    let (place, name) = locate(&taken);
    pipeline.commit(2, 50);
    let error = place.restore(&name, &pipeline.directory).unwrap_err();
    assert!(matches!(&error, Error::NotEmpty { .. }), "{error:?}");
    assert_eq!(all(pipeline.store.as_ref()), pipeline.model);
}

#[test]
fn a_damaged_manifest_keeps_every_file_from_being_collected() {
    let mut pipeline = Pipeline::new(3);
    let first = pipeline.take(1, CheckpointKind::Savepoint);
    let before = pipeline.files();
    std::fs::write(Path::new(&first.location).join("manifest.json"), "{").unwrap();
    pipeline.take(2, CheckpointKind::Periodic);
    assert!(before.is_subset(&pipeline.files()));
}

#[test]
fn a_place_in_any_object_store_takes_and_gives_checkpoints() {
    let mut pipeline = Pipeline::new(3);
    let record = pipeline.commit(1, 300);
    let place = CheckpointStore::new(Arc::new(object_store::memory::InMemory::new()), "memory:");
    let settings =
        CheckpointSettings { pipeline: "words".to_owned(), staging: pipeline.directory.staging(), retained: 1 };
    pipeline.checkpoints = RocksCheckpoints::new(Arc::clone(&pipeline.store), place.clone(), settings);
    let taken = pipeline.begin(&record, CheckpointKind::Periodic).recv().unwrap().unwrap();
    let name = place.list().unwrap().remove(0).name;
    assert_eq!(taken.location, format!("memory:/{name}"));
    let (_base, into) = empty_directory();
    place.restore(&name, &into).unwrap();
    assert_eq!(all(&RocksStore::open(&into.store(), MEMORY_BYTES).unwrap()), pipeline.model);
}
