//! Compares what a component imports and exports with the contract, before anything of it runs.
//!
//! A component may import less than the host offers and may export more than the world asks for. What it imports must be there, and what
//! it must export has to be complete, function by function and type by type.

mod contract;
mod types;

use crate::error::LoadError;
use contract::Contract;
use std::collections::BTreeMap;
use types::Sides;
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{InterfaceId, Resolve, WorldId, WorldItem};

/// Which of the two worlds an operator is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// `millstream:operator/stream-operator`: batches of columns.
    StreamOperator,
    /// `millstream:record-operator/record-operator`: one call per record.
    RecordOperator,
}

impl World {
    /// What an operator of this world exports.
    const fn export(self) -> &'static str {
        match self {
            Self::StreamOperator => "millstream:operator/operator@0.1.0",
            Self::RecordOperator => "millstream:record-operator/handler@0.1.0",
        }
    }
}

/// What tells the watermark.
pub(crate) const CONTEXT: &str = "millstream:operator/context";

/// What an operator of the columnar world may export besides.
pub(crate) const MIGRATION: &str = "millstream:operator/migration@0.1.0";
pub(crate) const BROADCAST_INPUT: &str = "millstream:operator/broadcast-input@0.1.0";
pub(crate) const TIMERS: &str = "millstream:operator/timers@0.1.0";
pub(crate) const WINDOWS: &str = "millstream:operator/windows@0.1.0";
const OPTIONAL_EXPORTS: [&str; 4] = [MIGRATION, BROADCAST_INPUT, TIMERS, WINDOWS];

/// What a checked component imports and exports: names of interfaces, with the functions used of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) world: World,
    pub(crate) imports: BTreeMap<String, Vec<String>>,
    pub(crate) exports: BTreeMap<String, Vec<String>>,
}

impl Checked {
    /// Whether a function or an interface is imported, whatever the patch version.
    pub(crate) fn imports_interface(&self, name: &str) -> bool {
        self.imports.keys().any(|import| import.split('@').next() == Some(name))
    }

    /// Whether a function of an interface is imported, whatever the patch version.
    pub(crate) fn imports_function(&self, interface: &str, function: &str) -> bool {
        let mut own = self.imports.iter().filter(|(import, _)| import.split('@').next() == Some(interface));
        own.any(|(_, functions)| functions.iter().any(|name| name == function))
    }

    /// Whether an interface of the contract is exported, in a version that serves ours.
    pub(crate) fn exports_interface(&self, ours: &str) -> bool {
        self.exports.keys().any(|export| contract::is_compatible(export, ours))
    }
}

/// Checks a component.
pub(crate) fn check(module: &str, component: &[u8]) -> Result<Checked, LoadError> {
    let invalid = |reason: String| LoadError::Invalid { module: module.to_owned(), reason };
    let (resolve, world) = match decode(component) {
        Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => {
            let problem = "it is a package of WIT interfaces, with no code in it".to_owned();
            return Err(LoadError::World { module: module.to_owned(), problems: vec![problem] });
        }
        Err(error) => return Err(invalid(format!("{error:#}"))),
    };
    let contract = Contract::new().map_err(invalid)?;
    compare(&resolve, world, &contract).map_err(|problems| LoadError::World { module: module.to_owned(), problems })
}

fn compare(resolve: &Resolve, world: WorldId, contract: &Contract) -> Result<Checked, Vec<String>> {
    let component = Component { resolve, world, contract };
    let mut problems = Vec::new();
    let imports = component.imports(&mut problems);
    let (world, exports) = component.exports(&mut problems);
    match world {
        Some(world) if problems.is_empty() => Ok(Checked { world, imports, exports }),
        _ => Err(problems),
    }
}

struct Component<'a> {
    resolve: &'a Resolve,
    world: WorldId,
    contract: &'a Contract,
}

impl Component<'_> {
    fn imports(&self, problems: &mut Vec<String>) -> BTreeMap<String, Vec<String>> {
        let mut imports = BTreeMap::new();
        for (key, item) in self.resolve.worlds.get(self.world).map(|world| &world.imports).into_iter().flatten() {
            let name = self.resolve.name_world_key(key);
            match item {
                WorldItem::Interface { id, .. } => {
                    imports.insert(name.clone(), self.functions(*id));
                    self.check_import(&name, *id, problems);
                }
                WorldItem::Function(_) => {
                    problems.push(format!("it imports a function `{name}`, which the host does not offer"));
                }
                WorldItem::Type { .. } => {}
            }
        }
        imports
    }

    fn check_import(&self, name: &str, id: InterfaceId, problems: &mut Vec<String>) {
        if contract::is_wasi(name) {
            return;
        }
        let Some(offered) = self.contract.interface(name) else {
            problems.push(match self.contract.other_version(name) {
                Some(other) => {
                    format!("it imports `{name}`, the host offers `{other}`: build it with an SDK for that version")
                }
                None => format!("it imports `{name}`, which the host does not offer"),
            });
            return;
        };
        let sides = Sides { theirs: self.resolve, ours: &self.contract.resolve };
        for (function, theirs) in self.resolve.interfaces.get(id).map(|i| &i.functions).into_iter().flatten() {
            let ours = self.contract.resolve.interfaces.get(offered).and_then(|i| i.functions.get(function));
            match ours {
                None => problems.push(format!(
                    "it imports `{function}` of `{name}`, which this host does not have: it was built for a newer one"
                )),
                Some(ours) => {
                    if let Err(difference) = sides.function(theirs, ours) {
                        problems
                            .push(format!("it imports `{function}` of `{name}` with another signature: {difference}"));
                    }
                }
            }
        }
    }

    fn exports(&self, problems: &mut Vec<String>) -> (Option<World>, BTreeMap<String, Vec<String>>) {
        let mut exports = BTreeMap::new();
        let mut found = Vec::new();
        for (key, item) in self.resolve.worlds.get(self.world).map(|world| &world.exports).into_iter().flatten() {
            let name = self.resolve.name_world_key(key);
            let WorldItem::Interface { id, .. } = item else {
                exports.insert(name, Vec::new());
                continue;
            };
            exports.insert(name.clone(), self.functions(*id));
            for world in [World::StreamOperator, World::RecordOperator] {
                if contract::is_compatible(&name, world.export()) {
                    self.check_export(&name, *id, world.export(), problems);
                    found.push(world);
                }
            }
            if let Some(optional) = OPTIONAL_EXPORTS.iter().find(|ours| contract::is_compatible(&name, ours)) {
                self.check_export(&name, *id, optional, problems);
            }
        }
        if found.len() > 1 {
            problems.push("it exports operators of both worlds: keep one".to_owned());
        }
        if found.is_empty() {
            problems.insert(0, missing_export(&exports));
        }
        (found.first().copied(), exports)
    }

    fn check_export(&self, name: &str, id: InterfaceId, ours: &str, problems: &mut Vec<String>) {
        let ours = self.contract.interface(ours).and_then(|id| self.contract.resolve.interfaces.get(id));
        let sides = Sides { theirs: self.resolve, ours: &self.contract.resolve };
        for (function, ours) in ours.map(|interface| &interface.functions).into_iter().flatten() {
            match self.resolve.interfaces.get(id).and_then(|i| i.functions.get(function)) {
                None => problems.push(format!("its export `{name}` lacks the function `{function}`")),
                Some(theirs) => {
                    if let Err(difference) = sides.function(theirs, ours) {
                        problems
                            .push(format!("its export `{name}` has `{function}` with another signature: {difference}"));
                    }
                }
            }
        }
    }

    fn functions(&self, id: InterfaceId) -> Vec<String> {
        self.resolve.interfaces.get(id).map(|i| i.functions.keys().cloned().collect()).unwrap_or_default()
    }
}

fn missing_export(exports: &BTreeMap<String, Vec<String>>) -> String {
    let named: Vec<String> = exports.keys().map(|name| format!("`{name}`")).collect();
    let has = if named.is_empty() { "nothing".to_owned() } else { named.join(", ") };
    format!(
        "it exports neither `{}` nor `{}`, but {has}",
        World::StreamOperator.export(),
        World::RecordOperator.export()
    )
}

#[cfg(test)]
mod tests;
