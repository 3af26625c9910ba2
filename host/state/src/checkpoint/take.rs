use super::manifest::{Checkpoint, CheckpointFile};
use super::objects::{CheckpointStore, hash_file, wait};
use crate::directory::remove_directory;
use crate::error::Error;
use crate::store::RocksStore;
use millstream_engine::commit::codec::encode_commit;
use millstream_engine::ports::{
    CheckpointDone, CheckpointError, CheckpointKind, CheckpointTaken, Checkpoints, Clock, Meta, StateBackend,
    SystemClock,
};
use millstream_model::commit::CommitRecord;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// How checkpoints are taken.
#[derive(Debug, Clone)]
pub struct CheckpointSettings {
    /// The pipeline's id.
    pub pipeline: String,
    /// An own directory on the store's file system: [`crate::StateDir::staging`].
    pub staging: PathBuf,
    /// Periodic checkpoints that are kept; at least one.
    pub retained: usize,
}

/// Takes checkpoints of a store: hard links at once, the rest in a thread of its own. Dropping it waits for the one under way.
pub struct RocksCheckpoints {
    store: Arc<RocksStore>,
    place: CheckpointStore,
    settings: CheckpointSettings,
    under_way: Option<JoinHandle<()>>,
    /// Sums of table files by name and length: RocksDB never changes one and never uses a name twice. Locked by the one thread under way.
    sums: Arc<Mutex<HashMap<(String, u64), String>>>,
}

impl RocksCheckpoints {
    /// Checkpoints of `store`, kept in `place`.
    #[must_use]
    pub fn new(store: Arc<RocksStore>, place: CheckpointStore, settings: CheckpointSettings) -> Self {
        Self { store, place, settings, under_way: None, sums: Arc::default() }
    }

    /// What must happen before the store may be written again.
    fn freeze(&self, commit: &CommitRecord, kind: CheckpointKind) -> Result<Checkpoint, Error> {
        let applied = encode_commit(commit);
        if self.store.meta(Meta::Applied)?.as_deref() != Some(applied.as_slice()) {
            return Err(self.place.failed(
                "begin".to_owned(),
                &format!("the store is not at commit {}; this is a fault of Millstream", commit.token),
            ));
        }
        let opened = self.store.meta(Meta::Open)?;
        remove_directory(&self.settings.staging)?;
        self.store.link_into(&self.settings.staging)?;
        Ok(Checkpoint {
            name: name(commit, kind),
            millstream: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: self.settings.pipeline.clone(),
            kind,
            taken_ms: SystemClock::default().now_ms(),
            commit: commit.clone(),
            open: None,
            files: Vec::new(),
            applied,
            opened,
        })
    }
}

fn name(commit: &CommitRecord, kind: CheckpointKind) -> String {
    let kind = match kind {
        CheckpointKind::Periodic => "checkpoint",
        CheckpointKind::Savepoint => "savepoint",
    };
    let token = &commit.token;
    let lineage = token.lineage.to_string();
    format!("{kind}-{:012}-{}-{}", token.epoch.0, lineage.get(..8).unwrap_or(&lineage), token.incarnation)
}

impl Checkpoints for RocksCheckpoints {
    fn take(&mut self, commit: &CommitRecord, kind: CheckpointKind, done: CheckpointDone) {
        let error = |reason: String| CheckpointError { location: self.place.location(&name(commit, kind)), reason };
        match self.under_way.take() {
            Some(thread) if !thread.is_finished() => {
                self.under_way = Some(thread);
                return done(Err(error("another one is still being written; try again when it is done".to_owned())));
            }
            Some(thread) => {
                let _ = thread.join();
            }
            None => {}
        }
        let checkpoint = match self.freeze(commit, kind) {
            Ok(checkpoint) => checkpoint,
            Err(cause) => return done(Err(error(cause.to_string()))),
        };
        let (place, settings, sums) = (self.place.clone(), self.settings.clone(), Arc::clone(&self.sums));
        let location = place.location(&checkpoint.name);
        // Whoever ends the matter takes `done`: the thread, or this one if there is none.
        let done = Arc::new(Mutex::new(Some(done)));
        let told = Arc::clone(&done);
        let work = move || {
            let location = place.location(&checkpoint.name);
            let taken = upload(&place, &settings, &sums, checkpoint);
            // The links would keep files alive that the store has dropped.
            let removed = remove_directory(&settings.staging);
            let taken = taken.and_then(|bytes| removed.map(|()| bytes));
            tell(
                &told,
                match taken {
                    Ok(bytes) => Ok(CheckpointTaken { location, bytes }),
                    Err(cause) => Err(CheckpointError { location, reason: cause.to_string() }),
                },
            );
        };
        match std::thread::Builder::new().name("checkpoint".to_owned()).spawn(work) {
            Ok(thread) => self.under_way = Some(thread),
            Err(cause) => tell(&done, Err(CheckpointError { location, reason: format!("no thread for it: {cause}") })),
        }
    }
}

fn tell(done: &Mutex<Option<CheckpointDone>>, outcome: Result<CheckpointTaken, CheckpointError>) {
    let done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(done) = done {
        done(outcome);
    }
}

impl Drop for RocksCheckpoints {
    fn drop(&mut self) {
        if let Some(thread) = self.under_way.take() {
            let _ = thread.join();
        }
    }
}

fn upload(
    place: &CheckpointStore,
    settings: &CheckpointSettings,
    sums: &Mutex<HashMap<(String, u64), String>>,
    mut checkpoint: Checkpoint,
) -> Result<u64, Error> {
    checkpoint.files = describe(&settings.staging, sums)?;
    let text = checkpoint.encode().map_err(|cause| place.failed("write the manifest".to_owned(), &cause))?;
    wait(async {
        for file in &checkpoint.files {
            place.put_file(&settings.staging.join(&file.name), file).await?;
        }
        fail::fail_point!("before_manifest", |_| Err(place.failed("write the manifest".to_owned(), &"failpoint")));
        place.put_manifest(&checkpoint.name, text).await?;
        if let Err(cause) = place.collect(settings.retained, &checkpoint).await {
            // The checkpoint itself is complete; what could not be collected is tried again after the next one.
            tracing::warn!(%cause, "old checkpoints were not collected");
        }
        Ok(())
    })?;
    Ok(checkpoint.bytes())
}

/// The files of a frozen store.
fn describe(staging: &Path, sums: &Mutex<HashMap<(String, u64), String>>) -> Result<Vec<CheckpointFile>, Error> {
    let failed = |cause: std::io::Error| Error::disk("read", staging, &cause);
    let mut known = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = std::mem::take(&mut *known);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(staging).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let length = entry.metadata().map_err(failed)?.len();
        let key = (name.clone(), length);
        let (bytes, sha256) = match before.get(&key) {
            Some(sum) => (length, sum.clone()),
            None => hash_file(&entry.path())?,
        };
        if name.ends_with(".sst") {
            known.insert(key, sha256.clone());
        }
        files.push(CheckpointFile { name, bytes, sha256 });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
