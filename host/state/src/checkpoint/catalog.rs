use super::manifest::Checkpoint;
use super::objects::{CheckpointStore, wait};
use crate::error::Error;

/// What lies under a name.
#[derive(Debug)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// The checkpoint, or why it cannot be used.
    pub checkpoint: Result<Checkpoint, Error>,
}

impl CheckpointStore {
    /// All complete checkpoints, oldest first. What was not finished is not shown.
    ///
    /// # Errors
    /// When the place cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        wait(self.listed())
    }

    pub(super) async fn listed(&self) -> Result<Vec<Listed>, Error> {
        let mut all = Vec::new();
        for name in self.names().await? {
            if let Some(text) = self.manifest(&name).await? {
                let checkpoint = Checkpoint::decode(&name, &self.location(&name), &text);
                all.push(Listed { name, checkpoint });
            }
        }
        all.sort_by_key(|listed| listed.checkpoint.as_ref().map(age).unwrap_or_default());
        Ok(all)
    }

    /// What a checkpoint holds, by its manifest.
    ///
    /// # Errors
    /// When there is no such checkpoint, or its manifest cannot be read.
    pub fn inspect(&self, name: &str) -> Result<Checkpoint, Error> {
        wait(self.inspected(name))
    }

    pub(super) async fn inspected(&self, name: &str) -> Result<Checkpoint, Error> {
        let location = self.location(name);
        match self.manifest(name).await? {
            Some(text) => Checkpoint::decode(name, &location, &text),
            None => Err(Error::NoCheckpoint {
                location,
                reason: "it has no manifest: it was not finished, or was collected".to_owned(),
            }),
        }
    }

    /// Reads every file of a checkpoint and compares its sha256.
    ///
    /// # Errors
    /// When a file is missing or is not what it was.
    pub fn verify(&self, name: &str) -> Result<Checkpoint, Error> {
        wait(async {
            let checkpoint = self.inspected(name).await?;
            for file in &checkpoint.files {
                self.get_file(name, file, None).await?;
            }
            Ok(checkpoint)
        })
    }
}

/// Orders checkpoints from old to new.
pub(super) fn age(checkpoint: &Checkpoint) -> (i64, u64) {
    (checkpoint.taken_ms, checkpoint.commit.token.epoch.0)
}
