use crate::error::{Failure, Outcome};
use crate::modules::digest_of;
use crate::paths;
use millstream_model::ids::Digest;
use std::path::{Path, PathBuf};

/// Modules the user has added, each in `<name>@<version>.wasm`.
pub(crate) struct ModuleStore {
    directory: Option<PathBuf>,
}

impl ModuleStore {
    /// The user's store.
    pub(crate) fn of_user() -> Self {
        Self { directory: paths::data_dir().map(|data| data.join("plugins")) }
    }

    /// The file of a module: a path, relative to `folder`, or the `name@version` of one in the store.
    pub(crate) fn find(&self, module: &str, folder: &Path) -> Outcome<PathBuf> {
        let is_name = module.contains('@') && !module.contains('/');
        if !is_name {
            return Ok(folder.join(module));
        }
        let path = self.path(module)?;
        if path.is_file() {
            return Ok(path);
        }
        Err(Failure::config(format!(
            "module `{module}` is not in the plugin store: `millstream plugin add` adds it, `plugin list` shows what is there"
        )))
    }

    fn path(&self, name: &str) -> Outcome<PathBuf> {
        let is_good = |character: char| character.is_ascii_alphanumeric() || "-_.@".contains(character);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_good) {
            return Err(Failure::config(format!("`{name}` is no name of a module: write it like count@1.0.0")));
        }
        let directory = self
            .directory
            .as_ref()
            .ok_or_else(|| Failure::config("there is no place for a plugin store: set HOME or XDG_DATA_HOME"))?;
        Ok(directory.join(format!("{name}.wasm")))
    }

    /// Keeps a module under a name.
    pub(crate) fn add(&self, name: &str, bytes: &[u8]) -> Outcome<PathBuf> {
        let path = self.path(name)?;
        let failed = |cause: std::io::Error| Failure::failed(format!("{}: cannot be written: {cause}", path.display()));
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        if std::fs::read(&path).is_ok_and(|there| there != bytes) {
            return Err(Failure::config(format!(
                "`{name}` is in the plugin store with other bytes: give this one another version, or `millstream plugin remove {name}` first"
            )));
        }
        let partial = path.with_extension("partial");
        std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, &path)).map_err(failed)?;
        Ok(path)
    }

    /// Names and files of what is there.
    pub(crate) fn list(&self) -> Vec<(String, PathBuf)> {
        let entries = self.directory.as_ref().and_then(|directory| std::fs::read_dir(directory).ok());
        let mut found: Vec<_> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
            .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
            .collect();
        found.sort();
        found
    }

    /// A module whose sha256 is this.
    pub(crate) fn by_digest(&self, digest: Digest) -> Option<Vec<u8>> {
        let modules = self.list().into_iter().filter_map(|(_, path)| std::fs::read(path).ok());
        modules.into_iter().find(|module| digest_of(module) == digest)
    }

    /// Removes a module.
    pub(crate) fn remove(&self, name: &str) -> Outcome<()> {
        let path = self.path(name)?;
        std::fs::remove_file(&path).map_err(|cause| {
            Failure::failed(format!("module `{name}` cannot be removed from the plugin store: {cause}"))
        })
    }
}
