use super::catalog::age;
use super::manifest::Checkpoint;
use super::objects::{CheckpointStore, FILES, file_path, manifest_path};
use crate::error::Error;
use millstream_engine::ports::CheckpointKind;
use std::collections::HashSet;
use std::path::Path;

impl CheckpointStore {
    /// Drops periodic checkpoints of the history of `newest` but that and the newest `retained`, then every file that no checkpoint names. Manifests go first: a
    /// crash in between leaves files without a checkpoint, never a checkpoint without its files. Checkpoints of other pipelines and of other histories stay: who
    /// reset a pipeline by mistake has nothing else. Only the process that takes checkpoints calls this.
    pub(super) async fn collect(&self, retained: usize, newest: &Checkpoint) -> Result<(), Error> {
        let mut kept = Vec::new();
        for listed in self.listed().await? {
            // With a manifest that cannot be read nobody knows which files are still in use.
            kept.push(listed.checkpoint?);
        }
        let is_own = |one: &&Checkpoint| {
            one.kind == CheckpointKind::Periodic
                && one.pipeline == newest.pipeline
                && one.commit.token.lineage == newest.commit.token.lineage
        };
        let mut periodic: Vec<_> = kept.iter().filter(is_own).collect();
        periodic.sort_by_key(|one| std::cmp::Reverse((one.name == newest.name, age(one))));
        let old: HashSet<String> = periodic.iter().skip(retained.max(1)).map(|one| one.name.clone()).collect();
        for name in &old {
            self.delete(&manifest_path(name)).await?;
        }
        kept.retain(|one| !old.contains(&one.name));
        let used: HashSet<&str> = kept.iter().flat_map(|one| &one.files).map(|file| file.sha256.as_str()).collect();
        for file in self.files().await? {
            if !used.contains(file.as_str()) {
                self.delete(&file_path(&file)).await?;
            }
        }
        let names: HashSet<&str> = kept.iter().map(|one| one.name.as_str()).collect();
        if let Some(directory) = &self.directory {
            tidy(directory, &names)?;
        }
        Ok(())
    }
}

/// Removes what an object store does not have: emptied directories, and uploads that a crash cut off (`<name>#<n>`).
fn tidy(directory: &Path, names: &HashSet<&str>) -> Result<(), Error> {
    let failed = |cause: std::io::Error| Error::disk("tidy", directory, &cause);
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name != FILES && !names.contains(name) && entry.file_type().map_err(failed)?.is_dir() {
            remove_uploads(&entry.path())?;
            // Fails if something is in it that we did not put there: it stays.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
    remove_uploads(&directory.join(FILES))
}

fn remove_uploads(directory: &Path) -> Result<(), Error> {
    let failed = |cause: std::io::Error| Error::disk("tidy", directory, &cause);
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_upload = name
            .to_str()
            .and_then(|name| name.rsplit_once('#'))
            .is_some_and(|(_, number)| number.parse::<u64>().is_ok());
        if is_upload {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
