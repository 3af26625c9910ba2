//! `descriptors.wit` and the catalog of `operator.wit` as they cross the boundary.
#![expect(
    dead_code,
    reason = "the contract's fields and cases, whether this host reads them or not; the derives make them"
)]

use wasmtime::component::{ComponentType, Lift};

type Properties = Vec<(String, String)>;

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct CatalogEntryOut {
    pub(crate) name: String,
    pub(crate) version: String,
    #[component(name = "config-schema")]
    pub(crate) config_schema: Option<String>,
    pub(crate) properties: Properties,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Clock {
    #[component(name = "event")]
    Event,
    #[component(name = "processing")]
    Processing,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum InputKindOut {
    #[component(name = "records")]
    Records,
    #[component(name = "broadcast")]
    Broadcast,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct InputOut {
    pub(crate) name: String,
    pub(crate) kind: InputKindOut,
    pub(crate) properties: Properties,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct OutputPortOut {
    pub(crate) name: String,
    pub(crate) properties: Properties,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum StateKindOut {
    #[component(name = "value")]
    Value,
    #[component(name = "list")]
    List,
    #[component(name = "map")]
    Map,
    #[component(name = "broadcast")]
    Broadcast,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum TtlRefreshOut {
    #[component(name = "on-write")]
    OnWrite,
    #[component(name = "on-access")]
    OnAccess,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct TtlOut {
    #[component(name = "duration-ms")]
    pub(crate) duration_ms: u64,
    pub(crate) clock: Clock,
    pub(crate) refresh: TtlRefreshOut,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct StateOut {
    pub(crate) name: String,
    pub(crate) kind: StateKindOut,
    pub(crate) version: u32,
    #[component(name = "reads-versions")]
    pub(crate) reads_versions: Vec<u32>,
    #[component(name = "migrates-versions")]
    pub(crate) migrates_versions: Vec<u32>,
    pub(crate) ttl: Option<TtlOut>,
    pub(crate) properties: Properties,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct TimerOut {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) properties: Properties,
}

#[derive(ComponentType, Lift, Debug, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WindowUse {
    #[component(name = "none")]
    None,
    #[component(name = "unmergeable")]
    Unmergeable,
    #[component(name = "mergeable")]
    Mergeable,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct DescriptorOut {
    pub(crate) inputs: Vec<InputOut>,
    pub(crate) outputs: Vec<OutputPortOut>,
    pub(crate) states: Vec<StateOut>,
    pub(crate) timers: Vec<TimerOut>,
    pub(crate) windows: WindowUse,
    pub(crate) properties: Properties,
}
