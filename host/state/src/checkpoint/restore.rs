use super::manifest::Checkpoint;
use super::objects::{CheckpointStore, wait};
use crate::directory::{StateDir, remove_directory, sync_directory};
use crate::error::Error;
use crate::store::RocksStore;
use millstream_engine::ports::{Meta, StateBackend};
use std::path::Path;

impl CheckpointStore {
    /// Copies a checkpoint into a state directory that has no store yet: its cells, its commit record as `Applied`, and the `open` record of the run that took it.
    /// Every file is verified on the way, and the store appears only when all are there. A store that is at the very commit of the checkpoint is replaced: a start
    /// from it that was cut off is made again.
    ///
    /// # Errors
    /// When there is another store already, or the checkpoint is missing, damaged or too new; then nothing was changed.
    pub fn restore(&self, name: &str, into: &StateDir) -> Result<Checkpoint, Error> {
        let target = into.store();
        refuse_store(&target, &self.inspect(name)?)?;
        let staging = into.staging();
        remove_directory(&staging)?;
        let restored = self.stage(name, &staging).and_then(|checkpoint| {
            check_content(&self.location(name), &checkpoint, &staging)?;
            // An empty directory may be in the way, or the rest of the same start.
            remove_directory(&target)?;
            std::fs::rename(&staging, &target).map_err(|cause| Error::disk("make", &target, &cause))?;
            sync_directory(into.path())?;
            Ok(checkpoint)
        });
        if restored.is_err() {
            // What is in the way of the next attempt is removed by it; the reason for this failure is what counts.
            let _ = remove_directory(&staging);
        }
        restored
    }

    fn stage(&self, name: &str, staging: &Path) -> Result<Checkpoint, Error> {
        std::fs::create_dir_all(staging).map_err(|cause| Error::disk("make directory", staging, &cause))?;
        let checkpoint = wait(async {
            let checkpoint = self.inspected(name).await?;
            for file in &checkpoint.files {
                let path = staging.join(&file.name);
                let failed = |cause: std::io::Error| Error::disk("write", &path, &cause);
                let mut to = std::fs::File::create_new(&path).map_err(failed)?;
                self.get_file(name, file, Some((&mut to, &path))).await?;
                to.sync_all().map_err(failed)?;
            }
            Ok(checkpoint)
        })?;
        sync_directory(staging)?;
        Ok(checkpoint)
    }
}

/// A directory with anything in it is somebody's store, unless that has not got beyond the checkpoint.
fn refuse_store(target: &Path, checkpoint: &Checkpoint) -> Result<(), Error> {
    let is_empty = match std::fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => true,
        Err(cause) => return Err(Error::disk("read", target, &cause)),
    };
    if is_empty {
        return Ok(());
    }
    let applied = RocksStore::open_read_only(target).and_then(|store| store.meta(Meta::Applied));
    match applied {
        Ok(Some(applied)) if applied == checkpoint.applied => Ok(()),
        _ => Err(Error::NotEmpty { path: target.display().to_string() }),
    }
}

/// The store must say of itself what the manifest says of it.
fn check_content(location: &str, checkpoint: &Checkpoint, staging: &Path) -> Result<(), Error> {
    let damaged = |reason: String| Error::Damaged { location: location.to_owned(), reason };
    let store = RocksStore::open_read_only(staging).map_err(|cause| damaged(cause.reason))?;
    let applied = store.meta(Meta::Applied).map_err(|cause| damaged(cause.reason))?;
    if applied.as_deref() != Some(checkpoint.applied.as_slice()) {
        return Err(damaged("its store is at another commit than its manifest says".to_owned()));
    }
    Ok(())
}
