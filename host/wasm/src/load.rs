//! From bytes to a component: what is refused at the door, and core modules made components.

use crate::error::LoadError;
use std::path::Path;
use wasi_preview1_component_adapter_provider as adapter;
use wasmparser::{Encoding, Payload};

/// What a module was before it was a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleKind {
    /// A component, taken as it is.
    Component,
    /// A core module with an embedded world, made a component by the host.
    CoreModule,
}

/// A module's bytes and what to call it in messages.
#[derive(Debug, Clone)]
pub struct ModuleSource {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl ModuleSource {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let name = path.as_ref().display().to_string();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self { name, bytes }),
            Err(error) => Err(LoadError::Read { module: name, reason: error.to_string() }),
        }
    }

    /// Bytes that came from elsewhere; `name` stands for them in messages.
    pub fn bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), bytes }
    }
}

impl ModuleSource {
    /// The bytes as they were handed over.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.bytes
    }
}

/// The component that a module is, or is made.
pub(crate) fn component(source: &ModuleSource) -> Result<(ModuleKind, Vec<u8>), LoadError> {
    let module = || source.name.clone();
    if wasmtime::Engine::detect_precompiled(&source.bytes).is_some() || source.bytes.starts_with(b"\x7fELF") {
        return Err(LoadError::Precompiled { module: module() });
    }
    if !source.bytes.starts_with(b"\0asm") {
        let begins: Vec<String> = source.bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let begins = if begins.is_empty() { "nothing".to_owned() } else { begins.join(" ") };
        return Err(LoadError::NotWasm { module: module(), begins });
    }
    match encoding(&source.bytes) {
        Ok(Encoding::Component) => Ok((ModuleKind::Component, source.bytes.clone())),
        Ok(Encoding::Module) => {
            let component =
                componentize(&source.bytes).map_err(|reason| LoadError::Componentize { module: module(), reason })?;
            Ok((ModuleKind::CoreModule, component))
        }
        Err(reason) => Err(LoadError::Invalid { module: module(), reason }),
    }
}

fn encoding(bytes: &[u8]) -> Result<Encoding, String> {
    match wasmparser::Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err("it has no version".to_owned()),
    }
}

/// Makes a core module a component. Its world is the one its bindings generator left in a custom section.
fn componentize(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let facts = Facts::of(bytes)?;
    if !facts.has_world {
        return Err("it has no section `component-type:…`, which a bindings generator (wit-bindgen) leaves in it: build it with the \
                    SDK, or hand over a component"
            .to_owned());
    }
    let preview1 = if facts.is_command {
        adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    let encode = || {
        wit_component::ComponentEncoder::default()
            .module(bytes)?
            .adapter(adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, preview1)?
            .validate(true)
            .encode()
    };
    encode().map_err(|error| format!("{error:#}"))
}

/// What decides how a core module is made a component.
#[derive(Debug, Default)]
struct Facts {
    has_world: bool,
    /// It has a `main` that sets it up, instead of `_initialize`.
    is_command: bool,
}

impl Facts {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let mut facts = Self::default();
        for payload in wasmparser::Parser::new(0).parse_all(bytes) {
            match payload.map_err(|error| error.to_string())? {
                Payload::CustomSection(section) => facts.has_world |= section.name().starts_with("component-type"),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        facts.is_command |= export.map_err(|error| error.to_string())?.name == "_start";
                    }
                }
                _ => {}
            }
        }
        Ok(facts)
    }
}
