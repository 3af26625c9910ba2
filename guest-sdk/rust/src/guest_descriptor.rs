//! What an operator declares, as it crosses the boundary.

use super::{WireDescriptor, bindings::millstream::operator::descriptors};
use crate::{
    Timer,
    descriptor::{Descriptor, Kind, Port, State, Ttl},
    timer::Clock,
};

impl From<Descriptor> for WireDescriptor {
    fn from(descriptor: Descriptor) -> Self {
        Self {
            inputs: descriptor.inputs.into_iter().map(Into::into).collect(),
            outputs: descriptor.outputs.into_iter().map(Into::into).collect(),
            states: descriptor.states.into_iter().map(Into::into).collect(),
            timers: descriptor.timers.into_iter().map(Into::into).collect(),
            windows: descriptors::WindowUse::None,
            properties: descriptor.properties,
        }
    }
}

impl From<Port> for descriptors::InputDescriptor {
    fn from(Port { name, is_broadcast, properties }: Port) -> Self {
        let kind = if is_broadcast { descriptors::InputKind::Broadcast } else { descriptors::InputKind::Records };
        Self { name, kind, properties }
    }
}

impl From<Port> for descriptors::OutputDescriptor {
    fn from(Port { name, properties, .. }: Port) -> Self {
        Self { name, properties }
    }
}

impl From<Timer> for descriptors::TimerDescriptor {
    fn from(Timer { name, clock, properties }: Timer) -> Self {
        let clock = match clock {
            Clock::Event => descriptors::Clock::Event,
            Clock::Processing => descriptors::Clock::Processing,
        };
        Self { name, clock, properties }
    }
}

impl From<State> for descriptors::StateDescriptor {
    fn from(state: State) -> Self {
        Self {
            name: state.name,
            kind: match state.kind {
                Kind::Value => descriptors::StateKind::Value,
                Kind::List => descriptors::StateKind::List,
                Kind::Map => descriptors::StateKind::Map,
                Kind::Broadcast => descriptors::StateKind::Broadcast,
            },
            version: state.version,
            reads_versions: state.reads,
            migrates_versions: state.migrates,
            ttl: state.ttl.map(|ttl| ttl_of(ttl, state.touch.is_some())),
            properties: state.properties,
        }
    }
}

fn ttl_of(ttl: Ttl, refreshed_on_access: bool) -> descriptors::Ttl {
    let clock = if ttl.is_event { descriptors::Clock::Event } else { descriptors::Clock::Processing };
    let refresh =
        if refreshed_on_access { descriptors::TtlRefresh::OnAccess } else { descriptors::TtlRefresh::OnWrite };
    descriptors::Ttl { duration_ms: ttl.duration_ms(), clock, refresh }
}
