//! What an operator says of itself, and whether this host can go along with it.

use super::described::{
    Clock, DescriptorOut, InputKindOut, InputOut, StateKindOut, StateOut, TimerOut, TtlOut, TtlRefreshOut, WindowUse,
};
use crate::inspect::Property;
use millstream_model::descriptor::{
    self as model, Descriptor, InputDescriptor, InputKind, StateDescriptor, StateKind, TimerClock, TimerDescriptor,
    Ttl, TtlClock, TtlRefresh,
};

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
        check_names("timer", self.timers.iter().map(|timer| &timer.name))?;
        check_outputs(self.outputs.iter().map(|output| &output.name))?;
        if self.windows != WindowUse::None && !self.timers.is_empty() {
            return Err("it works inside windows and has timers: of a window, the host keeps the time".to_owned());
        }
        Ok(Descriptor {
            inputs: self.inputs.into_iter().map(InputOut::checked).collect(),
            outputs: self.outputs.into_iter().map(|output| output.name).collect(),
            states: self.states.into_iter().map(StateOut::checked).collect::<Result<_, _>>()?,
            timers: self.timers.into_iter().map(TimerOut::checked).collect(),
            windows: match self.windows {
                WindowUse::None => model::WindowUse::None,
                WindowUse::Unmergeable => model::WindowUse::Unmergeable,
                WindowUse::Mergeable => model::WindowUse::Mergeable,
            },
            reads_watermark: false,
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
        let timers = self.timers.iter().map(|timer| (format!("timer {}", timer.name), &timer.properties));
        let all = whole.chain(inputs).chain(outputs).chain(states).chain(timers);
        all.flat_map(|(of, facts)| {
            facts.iter().map(move |(name, value)| Property { of: of.clone(), name: name.clone(), value: value.clone() })
        })
        .collect()
    }
}

impl InputOut {
    fn checked(self) -> InputDescriptor {
        let kind = match self.kind {
            InputKindOut::Records => InputKind::Records,
            InputKindOut::Broadcast => InputKind::Broadcast,
        };
        InputDescriptor { name: self.name, kind }
    }
}

impl StateOut {
    fn checked(self) -> Result<StateDescriptor, String> {
        let name = &self.name;
        let ttl =
            self.ttl.map(TtlOut::checked).transpose().map_err(|reason| format!("the state `{name}`: {reason}"))?;
        if self.kind == StateKindOut::Broadcast && ttl.is_some() {
            return Err(format!("the state `{name}` is a broadcast state, which has no time to live"));
        }
        if self.kind == StateKindOut::Broadcast && !self.migrates_versions.is_empty() {
            return Err(format!(
                "the state `{name}` is a broadcast state, which is not migrated: let it read older versions, or give it a new name and \
                 read its input again"
            ));
        }
        if self.reads_versions.contains(&self.version) || self.migrates_versions.contains(&self.version) {
            let version = self.version;
            return Err(format!("the state `{name}` lists its own version {version} among those it reads or migrates"));
        }
        if let Some(both) = self.reads_versions.iter().find(|version| self.migrates_versions.contains(version)) {
            return Err(format!("the state `{name}` reads version {both} as it is and migrates it, too"));
        }
        let Self { name, kind, version, reads_versions, migrates_versions, properties, .. } = self;
        let kind = kind.into();
        Ok(StateDescriptor { name, kind, version, reads_versions, migrates_versions, ttl, properties })
    }
}

impl TimerOut {
    fn checked(self) -> TimerDescriptor {
        let clock = match self.clock {
            Clock::Event => TimerClock::Event,
            Clock::Processing => TimerClock::Processing,
        };
        TimerDescriptor { name: self.name, clock }
    }
}

impl TtlOut {
    fn checked(self) -> Result<Ttl, String> {
        if self.duration_ms == 0 {
            return Err("a time to live of 0 ms keeps nothing".to_owned());
        }
        let clock = match self.clock {
            Clock::Event => TtlClock::Event,
            Clock::Processing => TtlClock::Processing,
        };
        let refresh = match self.refresh {
            TtlRefreshOut::OnWrite => TtlRefresh::OnWrite,
            TtlRefreshOut::OnAccess => TtlRefresh::OnAccess,
        };
        Ok(Ttl { duration_ms: self.duration_ms, clock, refresh })
    }
}

impl From<StateKindOut> for StateKind {
    fn from(kind: StateKindOut) -> Self {
        match kind {
            StateKindOut::Value => Self::Value,
            StateKindOut::List => Self::List,
            StateKindOut::Map => Self::Map,
            StateKindOut::Broadcast => Self::Broadcast,
        }
    }
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
