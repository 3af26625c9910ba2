//! A module that was loaded: checked, compiled, linked, its catalog read.

use crate::check::{self, Checked, World};
use crate::columnar::CatalogEntryOut;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::factory::Probe;
use crate::host::Host;
use crate::load::{self, ModuleKind, ModuleSource};
use millstream_model::ids::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use wasmtime::component::{Component, InstancePre};

/// An operator in a module.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CatalogEntry {
    /// The name that the pipeline file uses.
    pub name: String,
    /// The operator's own version, for people.
    pub version: String,
    /// JSON Schema of the configuration, if the author wrote one.
    pub config_schema: Option<String>,
    /// Other facts, by name.
    pub properties: Vec<(String, String)>,
}

/// A module, ready to make operators of. Clones are the same one.
#[derive(Clone)]
pub struct Module {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) kind: ModuleKind,
    pub(crate) bytes: usize,
    pub(crate) checked: Checked,
    pub(crate) catalog: Vec<CatalogEntry>,
    pub(crate) linked: InstancePre<Host>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.inner.name)
            .field("digest", &self.inner.digest)
            .finish_non_exhaustive()
    }
}

impl Module {
    /// What messages call it: its path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// sha256 of the bytes as they were handed over.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// The world it is written for.
    #[must_use]
    pub fn world(&self) -> World {
        self.inner.checked.world
    }

    /// The operators in it, at least one. A module of the simple world has one, named `record-operator`.
    #[must_use]
    pub fn catalog(&self) -> &[CatalogEntry] {
        &self.inner.catalog
    }

    /// Interfaces it imports, with the functions it uses of each.
    #[must_use]
    pub fn imports(&self) -> &BTreeMap<String, Vec<String>> {
        &self.inner.checked.imports
    }

    /// Interfaces it exports, with the functions of each.
    #[must_use]
    pub fn exports(&self) -> &BTreeMap<String, Vec<String>> {
        &self.inner.checked.exports
    }
}

impl Engine {
    /// Loads a module: checks it against the worlds, compiles it or finds it compiled, links it and reads its catalog. Nothing of it runs but
    /// `catalog`.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, source: &ModuleSource) -> Result<Module, LoadError> {
        let (kind, bytes) = load::component(source)?;
        let checked = check::check(&source.name, &bytes)?;
        let digest = Digest(Sha256::digest(&source.bytes).into());
        let component = self.compiled(&source.name, digest, &bytes)?;
        let linked = self
            .inner
            .linker
            .instantiate_pre(&component)
            .map_err(|error| LoadError::World { module: source.name.clone(), problems: vec![format!("{error:#}")] })?;
        let catalog = match checked.world {
            World::RecordOperator => vec![simple_entry()],
            World::StreamOperator => {
                self.catalog(&Probe { engine: self, module: &source.name, digest, checked: &checked, linked: &linked })?
            }
        };
        let name = source.name.clone();
        Ok(Module {
            inner: Arc::new(Inner { name, digest, kind, bytes: source.bytes.len(), checked, catalog, linked }),
        })
    }

    fn compiled(&self, module: &str, digest: Digest, bytes: &[u8]) -> Result<Component, LoadError> {
        let key = digest.hex();
        if let Some(cached) = self.inner.cache.as_ref().and_then(|cache| cache.get(&self.inner.wasm, &key)) {
            return Ok(cached);
        }
        let component = Component::from_binary(&self.inner.wasm, bytes)
            .map_err(|error| LoadError::Invalid { module: module.to_owned(), reason: format!("{error:#}") })?;
        if let Some(cache) = &self.inner.cache
            && let Err(error) = cache.put(&key, &component)
        {
            tracing::warn!(module, "the compiled module is not kept: {error}");
        }
        Ok(component)
    }

    fn catalog(&self, probe: &Probe<'_>) -> Result<Vec<CatalogEntry>, LoadError> {
        let bad = |reason: String| LoadError::Catalog { module: probe.module.to_owned(), reason };
        let entries = probe.catalog().map_err(bad)?;
        if entries.is_empty() {
            return Err(bad("it has no operator".to_owned()));
        }
        crate::columnar::check_names("operator", entries.iter().map(|entry| &entry.name)).map_err(bad)?;
        for entry in &entries {
            if let Some(schema) = &entry.config_schema {
                crate::schema::check_schema(schema)
                    .map_err(|reason| bad(format!("operator `{}`: {reason}", entry.name)))?;
            }
        }
        Ok(entries.into_iter().map(CatalogEntry::from).collect())
    }
}

/// Name of the only operator in a module of the simple world.
pub(crate) const SIMPLE_NAME: &str = "record-operator";

fn simple_entry() -> CatalogEntry {
    let name = SIMPLE_NAME.to_owned();
    CatalogEntry { name, version: String::new(), config_schema: None, properties: Vec::new() }
}

impl From<CatalogEntryOut> for CatalogEntry {
    fn from(entry: CatalogEntryOut) -> Self {
        let CatalogEntryOut { name, version, config_schema, properties } = entry;
        Self { name, version, config_schema, properties }
    }
}
