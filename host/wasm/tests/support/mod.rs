//! Runs real modules the way the engine does, without the rest of it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "support of several tests, each of which uses a part"
)]

use millstream_engine::call::{Call, CallRules, Fired, Mark, Measured, Metric, TimerOp};
use millstream_engine::keyed::{KeyedState, StateColumn};
use millstream_engine::ports::{
    CallError, CellRange, ChangeSet, Meta, Operator, OperatorFactory, StateBackend, StateError,
};
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::OperatorLimits;
use millstream_model::record::{Origin, RecordBatch};
use millstream_wasm::{Engine, EngineSettings, Module, ModuleSource, OperatorConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// One runtime for all tests of a binary, as in a process.
pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineSettings::default()).unwrap());

/// A module that `make plugins` or `make guests` builds.
pub fn path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [("plugins/dist", "make plugins"), ("tests/guests/dist", "make guests")];
    let found =
        places.iter().map(|(folder, _)| root.join(folder).join(format!("{name}.wasm"))).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name}.wasm is not built: run `make plugins guests`"))
}

pub fn source(name: &str) -> ModuleSource {
    ModuleSource::file(path(name)).unwrap()
}

pub fn module(name: &str) -> Module {
    ENGINE.load(&source(name)).unwrap()
}

/// Time is not what most tests are about: a call may take as long as a busy machine needs.
pub fn config(json: &str) -> OperatorConfig {
    let limits = OperatorLimits { batch_time_ms: 60_000, ..OperatorLimits::default() };
    OperatorConfig {
        pipeline: "whole".to_owned(),
        id: "subject".to_owned(),
        config: json.to_owned(),
        limits,
        ..OperatorConfig::default()
    }
}

/// A store that holds nothing.
pub struct Nothing;

impl StateBackend for Nothing {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        (0..keys.len()).for_each(|_| values.push(None));
        Ok(())
    }

    fn range(&self, _: CellRange<'_>, _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        Ok(())
    }

    fn write(&self, _: &[ChangeSet], _: &[(Meta, Option<&[u8]>)], _: bool) -> Result<(), StateError> {
        Ok(())
    }

    fn meta(&self, _: Meta) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn clear(&self) -> Result<(), StateError> {
        Ok(())
    }
}

/// A record to process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp_ms: i64,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

pub fn record(key: &str, value: &str) -> Input {
    Input { key: Some(key.into()), value: Some(value.into()), timestamp_ms: 7, headers: Vec::new() }
}

/// A record that came out, parents' fields filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub port: u32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp_ms: i64,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Output {
    pub fn text(&self) -> (String, String) {
        let text = |bytes: &Option<Vec<u8>>| {
            bytes.as_deref().map_or_else(|| "∅".into(), |b| String::from_utf8_lossy(b).into())
        };
        (text(&self.key), text(&self.value))
    }
}

/// What a call left.
#[derive(Debug, Default, PartialEq)]
pub struct Effects {
    pub outputs: Vec<Output>,
    pub rejections: Vec<(u32, String)>,
    pub metrics: Vec<Metric>,
    /// Changes of timers, in order.
    pub timers: Vec<TimerOp>,
}

impl Effects {
    pub fn texts(&self) -> Vec<(String, String)> {
        self.outputs.iter().map(Output::text).collect()
    }
}

/// An operator with its state.
pub struct Driver {
    pub operator: Box<dyn Operator>,
    factory: Arc<dyn OperatorFactory>,
    store: Arc<dyn StateBackend>,
    call: Option<Box<Call>>,
    pub mark: Mark,
    pub input: u32,
    pub time_limit_ms: u64,
    pub measured: Measured,
    offset: i64,
}

pub fn driver(name: &str, config: OperatorConfig) -> Driver {
    let limits = config.limits.clone();
    Driver::new(ENGINE.operator(&module(name), config).unwrap(), limits)
}

impl Driver {
    pub fn new(factory: Arc<dyn OperatorFactory>, limits: OperatorLimits) -> Self {
        Self::over(factory, limits, Arc::new(Nothing))
    }

    /// With state in a store.
    pub fn over(factory: Arc<dyn OperatorFactory>, limits: OperatorLimits, store: Arc<dyn StateBackend>) -> Self {
        let descriptor = factory.descriptor();
        let states: Vec<StateColumn> = descriptor
            .states
            .iter()
            .enumerate()
            .map(|(at, state)| StateColumn {
                descriptor: state.clone(),
                space: CellSpace { operator: 0, state: at as u8 },
            })
            .collect();
        let rules = CallRules {
            limits: limits.clone(),
            ports: descriptor.outputs.clone(),
            inputs: descriptor.inputs.iter().map(|input| input.name.clone()).collect(),
            timers: descriptor.timers.len(),
            input_kinds: descriptor.inputs.iter().map(|input| input.kind).collect(),
            ..CallRules::default()
        };
        rules.places.insert(PartitionIndex(3), "lines", 5);
        let call =
            Call { state: KeyedState::new(states, Arc::clone(&store)), rules: Arc::new(rules), ..Call::default() };
        Self {
            operator: factory.instantiate().unwrap(),
            factory,
            store,
            call: Some(Box::new(call)),
            mark: Mark { watermark_ms: None, now_ms: 1_000 },
            input: 0,
            time_limit_ms: limits.batch_time_ms,
            measured: Measured::default(),
            offset: 0,
        }
    }

    /// Another instance takes over.
    pub fn restart(&mut self) {
        self.operator = self.factory.instantiate().unwrap();
    }

    /// The open epoch is committed; what is in memory is forgotten as far as can be.
    pub fn commit(&mut self) {
        let state = &mut self.call.as_mut().unwrap().state;
        let mut changes = ChangeSet::default();
        let frozen = state.freeze(&mut changes);
        self.store.write(&[changes], &[], false).unwrap();
        state.applied(frozen);
        state.evict(0);
    }

    /// The open epoch is lost.
    pub fn lose(&mut self) {
        self.call.as_mut().unwrap().state.drop_epochs();
        self.restart();
    }

    /// Keys whose state has changed.
    pub fn changed_keys(&self) -> usize {
        self.call.as_ref().unwrap().state.dirty_count()
    }

    pub fn process(&mut self, records: &[Input]) -> Result<Effects, CallError> {
        let mut batch = RecordBatch::default();
        for (row, record) in records.iter().enumerate() {
            let origin = Origin { partition: PartitionIndex(3), offset: self.offset };
            batch.push(record.key.as_deref(), record.value.as_deref(), record.timestamp_ms, origin);
            for (name, value) in &record.headers {
                batch.headers.push(row as u32, name.as_bytes(), value.as_deref());
            }
            self.offset += 1;
        }
        self.process_batch(batch)
    }

    pub fn process_batch(&mut self, batch: RecordBatch) -> Result<Effects, CallError> {
        let mut call = self.call.take().unwrap();
        call.begin(self.input, Arc::new(batch), self.mark, self.factory.descriptor().is_keyed());
        self.make(call)
    }

    /// Fires timers: key, timer, id and time of each.
    pub fn fire(&mut self, due: &[(&str, u32, u64, i64)]) -> Result<Effects, CallError> {
        let mut batch = RecordBatch::default();
        let mut fired = Fired::default();
        for (key, timer, id, time_ms) in due {
            batch.push(Some(key.as_bytes()), None, *time_ms, Origin::TIMER);
            fired.timers.push(*timer);
            fired.ids.push(*id);
        }
        let mut call = self.call.take().unwrap();
        call.begin_timers(fired, Arc::new(batch), self.mark);
        self.make(call)
    }

    fn make(&mut self, mut call: Box<Call>) -> Result<Effects, CallError> {
        call.time_limit_ms = self.time_limit_ms;
        let fires = call.fired.is_some();
        let (mut call, result) = if fires { self.operator.on_timers(call) } else { self.operator.process(call) };
        let effects = result.map(|()| {
            call.apply_state();
            call.apply_metrics(&mut self.measured);
            effects(&call)
        });
        call.discard();
        self.call = Some(call);
        effects
    }
}

fn effects(call: &Call) -> Effects {
    let mut outputs = Vec::new();
    for staged in call.staged.outputs() {
        for (at, &parent) in staged.parents.iter().enumerate() {
            let row = at as u32;
            let headers = match &staged.headers {
                Some(own) => own.of(row).map(owned_header).collect(),
                None => call.batch.headers.of(parent).map(owned_header).collect(),
            };
            outputs.push(Output {
                port: staged.port,
                key: staged.keys.as_ref().map_or(call.batch.keys.get(parent), |c| c.get(row)).map(<[u8]>::to_vec),
                value: staged.values.as_ref().map_or(call.batch.values.get(parent), |c| c.get(row)).map(<[u8]>::to_vec),
                timestamp_ms: match &staged.timestamps_ms {
                    Some(own) => *own.get(at).unwrap(),
                    None => *call.batch.timestamps_ms.get(parent as usize).unwrap(),
                },
                headers,
            });
        }
    }
    let rejections = call.staged.rejections.iter().map(|r| (r.row, r.reason.clone())).collect();
    Effects { outputs, rejections, metrics: call.staged.metrics.clone(), timers: call.staged.timers.clone() }
}

fn owned_header((name, value): (&[u8], Option<&[u8]>)) -> (String, Option<Vec<u8>>) {
    (String::from_utf8_lossy(name).into(), value.map(<[u8]>::to_vec))
}
