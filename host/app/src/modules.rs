//! Every module that a commit may name, where a start finds it: in the state directory and, with Kafka, in a topic of the pipeline's own.

use crate::compose::Outside;
use crate::config::Resolved;
use crate::error::{Failure, Outcome};
use crate::store::ModuleStore;
use millstream_kafka::{KafkaCluster, KafkaModules, Properties, modules_topic};
use millstream_model::ids::{Digest, Generation};
use millstream_state::ModuleDirectory;
use sha2::{Digest as _, Sha256};

/// Modules kept in the state directory beside those that may be needed: what `swap` can name by digest.
const OTHERS_MAX: usize = 20;

/// See the module.
pub(crate) struct Modules {
    pipeline: String,
    local: ModuleDirectory,
    /// The directory, for people.
    place: String,
    remote: Option<(KafkaModules, Properties)>,
    /// Whether the topic holds nothing, so that what is in the directory is not in it.
    is_remote_new: bool,
}

impl Modules {
    pub(crate) fn of(resolved: &Resolved, outside: &Outside) -> Outcome<Self> {
        let mut is_remote_new = false;
        let mut remote = None;
        if let (Some(cluster), Some(properties)) = (&outside.cluster, &resolved.kafka) {
            let modules = KafkaModules::new(properties, &resolved.id);
            is_remote_new = modules.is_empty(cluster).map_err(Failure::config)?;
            remote = Some((modules, properties.clone()));
        }
        Ok(Self {
            pipeline: resolved.id.clone(),
            local: outside.directory.modules(),
            place: outside.directory.path().join("modules").display().to_string(),
            remote,
            is_remote_new,
        })
    }

    /// Keeps a module everywhere; it is safe when this returns. The directory has what the topic has, so what is in it is not written again.
    pub(crate) fn keep(&self, digest: Digest, module: &[u8]) -> Outcome<()> {
        if self.local.has(digest) && !self.is_remote_new {
            return Ok(());
        }
        if let Some((remote, properties)) = &self.remote {
            let cluster = KafkaCluster::connect(properties).map_err(Failure::failed)?;
            remote.put(&cluster, digest, module).map_err(Failure::failed)?;
        }
        self.local.put(digest, module).map_err(Failure::failed)
    }

    /// A module of this pipeline, or of the plugin store.
    pub(crate) fn find(&self, digest: Digest) -> Outcome<Option<Vec<u8>>> {
        let local = self.local.get(digest).map_err(Failure::failed)?;
        if let Some(module) = local.and_then(|module| sound(module, digest, &self.place)) {
            return Ok(Some(module));
        }
        if let Some(module) = ModuleStore::of_user().by_digest(digest) {
            return Ok(Some(module));
        }
        let Some((remote, properties)) = &self.remote else { return Ok(None) };
        let cluster = KafkaCluster::connect(properties).map_err(Failure::failed)?;
        let found = remote.get(&cluster, digest).map_err(Failure::failed)?;
        let found = found.and_then(|module| sound(module, digest, &modules_topic(&self.pipeline)));
        if let Some(module) = &found {
            self.local.put(digest, module).map_err(Failure::failed)?;
        }
        Ok(found)
    }

    /// The module that ran in the newest commit.
    pub(crate) fn committed(&self, operator: &str, digest: Digest, generation: Generation) -> Outcome<Vec<u8>> {
        if let Some(module) = self.find(digest)? {
            return Ok(module);
        }
        let topic = match &self.remote {
            Some(_) => format!(", nor in topic `{}`", modules_topic(&self.pipeline)),
            None => String::new(),
        };
        Err(Failure::config(format!(
            "operator `{operator}` ran module {digest} (generation {generation}) in the newest commit, and it is nowhere: not in the pipeline file, the plugin store or `{}`{topic}; \
             get the file back and name it in the pipeline file, or put it there as {}.wasm",
            self.place,
            digest.hex()
        )))
    }

    /// Removes from the directory what was not needed for longest.
    pub(crate) fn tidy_up(&self, needed: &[Digest]) {
        self.local.retain(needed, OTHERS_MAX);
    }
}

/// A module whose bytes are those of its digest.
fn sound(module: Vec<u8>, digest: Digest, place: &str) -> Option<Vec<u8>> {
    if digest_of(&module) == digest {
        return Some(module);
    }
    tracing::warn!(%digest, place, "a module that is kept there is damaged; it is looked for elsewhere");
    None
}

/// sha256 of a module's bytes.
pub(crate) fn digest_of(module: &[u8]) -> Digest {
    Digest(Sha256::digest(module).into())
}
