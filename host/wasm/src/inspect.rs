//! What can be told of a module without running a pipeline: for `millstream inspect`.

use crate::check::World;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::factory::OperatorConfig;
use crate::load::ModuleKind;
use crate::module::{CatalogEntry, Module};
use millstream_model::descriptor::Descriptor;
use std::collections::BTreeMap;

/// A module's facts, to be shown or written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// What it is called in messages.
    pub module: String,
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// Its length in bytes.
    pub bytes: usize,
    /// What it was before the host made a component of it.
    pub kind: ModuleKind,
    /// The world it is written for.
    pub world: World,
    /// Interfaces it imports, with the functions it uses of each.
    pub imports: BTreeMap<String, Vec<String>>,
    /// Interfaces it exports, with the functions of each.
    pub exports: BTreeMap<String, Vec<String>>,
    /// Its operators.
    pub catalog: Vec<CatalogEntry>,
    /// What the operator says of itself, where it could be opened: with the configuration given, or with none.
    pub descriptor: Option<Descriptor>,
    /// What it says of itself beyond that: see `properties` in `wit/operator/descriptors.wit`.
    pub properties: Vec<Property>,
}

/// A fact that the operator tells of itself or of a part of it, and that the host does nothing with but show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Property {
    /// What it is about: `operator`, `input NAME`, `output NAME`, `state NAME` or `timer NAME`.
    pub of: String,
    /// The fact's name, like `doc`.
    pub name: String,
    /// The fact.
    pub value: String,
}

impl Engine {
    /// Tells what a module is. With a configuration, its operator is opened, too.
    ///
    /// # Errors
    /// When the operator that is asked for cannot be opened.
    pub fn inspect(&self, module: &Module, config: Option<OperatorConfig>) -> Result<Inspection, LoadError> {
        let inner = &module.inner;
        let (descriptor, properties) = config.map(|config| self.describe(module, config)).transpose()?.unzip();
        Ok(Inspection {
            module: inner.name.clone(),
            digest: inner.digest.to_string(),
            bytes: inner.bytes,
            kind: inner.kind,
            world: module.world(),
            imports: module.imports().clone(),
            exports: module.exports().clone(),
            catalog: module.catalog().to_vec(),
            descriptor,
            properties: properties.unwrap_or_default(),
        })
    }
}
