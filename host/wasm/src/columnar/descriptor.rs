//! What an operator says of itself, and whether this host can go along with it.

use super::described::{DescriptorOut, InputKindOut, StateKindOut, StateOut, WindowUse};
use crate::check::MIGRATION;
use crate::inspect::Property;
use millstream_model::descriptor::{Descriptor, InputDescriptor, StateDescriptor, StateKind};

/// Outputs that every operator has by itself.
const RESERVED_OUTPUTS: [&str; 2] = ["late", "rejected"];

impl DescriptorOut {
    /// The descriptor, if it keeps the contract's rules and needs nothing that this host does not have.
    pub(crate) fn checked(self) -> Result<Descriptor, String> {
        if self.inputs.is_empty() {
            return Err("it has no input".to_owned());
        }
        check_names("input", self.inputs.iter().map(|input| &input.name))?;
        check_names("output", self.outputs.iter().map(|output| &output.name))?;
        check_names("state", self.states.iter().map(|state| &state.name))?;
        if let Some(input) = self.inputs.iter().find(|input| input.kind == InputKindOut::Broadcast) {
            return Err(unsupported(&format!("the broadcast input `{}`", input.name)));
        }
        check_outputs(self.outputs.iter().map(|output| &output.name))?;
        if let Some(timer) = self.timers.first() {
            return Err(unsupported(&format!("the timer `{}`", timer.name)));
        }
        if self.windows != WindowUse::None {
            return Err(unsupported("work inside windows"));
        }
        Ok(Descriptor {
            inputs: self.inputs.into_iter().map(|input| InputDescriptor { name: input.name }).collect(),
            outputs: self.outputs.into_iter().map(|output| output.name).collect(),
            states: self.states.into_iter().map(StateOut::checked).collect::<Result<_, _>>()?,
        })
    }
}

impl DescriptorOut {
    /// What it tells that the host has no use for.
    pub(crate) fn properties(&self) -> Vec<Property> {
        let inputs = self.inputs.iter().map(|input| (format!("input {}", input.name), &input.properties));
        let outputs = self.outputs.iter().map(|output| (format!("output {}", output.name), &output.properties));
        let states = self.states.iter().map(|state| (format!("state {}", state.name), &state.properties));
        let whole = std::iter::once(("operator".to_owned(), &self.properties));
        let all = whole.chain(inputs).chain(outputs).chain(states);
        all.flat_map(|(of, facts)| {
            facts.iter().map(move |(name, value)| Property { of: of.clone(), name: name.clone(), value: value.clone() })
        })
        .collect()
    }
}

impl StateOut {
    fn checked(self) -> Result<StateDescriptor, String> {
        let name = &self.name;
        if self.kind != StateKindOut::Value {
            return Err(unsupported(&format!("the state `{name}` of kind `{}`", self.kind.name())));
        }
        if self.ttl.is_some() {
            return Err(unsupported(&format!("the time to live of the state `{name}`")));
        }
        if self.reads_versions.contains(&self.version) || self.migrates_versions.contains(&self.version) {
            let version = self.version;
            return Err(format!("the state `{name}` lists its own version {version} among those it reads or migrates"));
        }
        if let Some(both) = self.reads_versions.iter().find(|version| self.migrates_versions.contains(version)) {
            return Err(format!("the state `{name}` reads version {both} as it is and migrates it, too"));
        }
        let Self { name, version, reads_versions, migrates_versions, .. } = self;
        Ok(StateDescriptor { name, kind: StateKind::Value, version, reads_versions, migrates_versions })
    }
}

/// What a module has beside the exports of the world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exports {
    /// Whether it exports `migration`.
    pub(crate) migration: bool,
    /// Operators in it.
    pub(crate) operators: usize,
}

impl Exports {
    /// The descriptor, if the module can do what it says. A module that exports `migration` for an operator with state that never asks for it has forgotten to say so; in one of several operators
    /// the export may be another one's.
    pub(crate) fn serve(self, described: Descriptor) -> Result<Descriptor, String> {
        let migrating = described.states.iter().find(|state| !state.migrates_versions.is_empty());
        match migrating {
            Some(state) if !self.migration => Err(format!(
                "the state `{}` migrates version(s) {:?}, but the module does not export `{MIGRATION}`",
                state.name, state.migrates_versions
            )),
            None if self.migration && self.operators == 1 && described.is_keyed() => Err(format!(
                "the module exports `{MIGRATION}`, but none of the operator's states has `migrates-versions`: no old value would ever reach it"
            )),
            _ => Ok(described),
        }
    }
}

impl StateKindOut {
    const fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
            Self::Broadcast => "broadcast",
        }
    }
}

fn unsupported(what: &str) -> String {
    format!("{what} is not supported by this version of the host")
}

/// Names that are the host's own are not given to outputs.
pub(crate) fn check_outputs<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    match names.find(|name| RESERVED_OUTPUTS.contains(&name.as_str())) {
        Some(name) => Err(format!("the output name `{name}` is the host's own")),
        None => Ok(()),
    }
}

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// Names match `[a-z][a-z0-9-]*`, are short, and occur once.
pub(crate) fn check_names<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let mut letters = name.bytes();
        let good = letters.next().is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && name.len() <= NAME_BYTES_MAX;
        if !good {
            return Err(format!(
                "`{name}` is no name for an {what}: [a-z][a-z0-9-]*, at most {NAME_BYTES_MAX} characters"
            ));
        }
        if !seen.insert(name) {
            return Err(format!("the {what} name `{name}` occurs twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(migrates: &[u32], is_keyed: bool) -> Descriptor {
        let state = StateDescriptor {
            name: "seen".to_owned(),
            kind: StateKind::Value,
            version: 2,
            reads_versions: Vec::new(),
            migrates_versions: migrates.to_vec(),
        };
        Descriptor { states: if is_keyed { vec![state] } else { Vec::new() }, ..Descriptor::default() }
    }

    #[test]
    fn what_is_declared_and_what_is_exported_have_to_agree() {
        let serve = |migration, operators, described| Exports { migration, operators }.serve(described).err();
        assert_eq!(serve(true, 1, described(&[1], true)), None);
        assert_eq!(serve(false, 1, described(&[], true)), None);
        let text = serve(false, 3, described(&[1], true)).unwrap_or_default();
        assert_eq!(
            text,
            "the state `seen` migrates version(s) [1], but the module does not export `millstream:operator/migration@0.1.0`"
        );
        assert!(
            serve(true, 1, described(&[], true)).is_some_and(|text| text.contains("no old value would ever reach it"))
        );
        assert_eq!(serve(true, 2, described(&[], true)), None, "another operator may have a use for it");
        assert_eq!(serve(true, 1, described(&[], false)), None, "configured without state");
    }
}
