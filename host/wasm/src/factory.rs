//! From a module to operators: opening, describing, one instance per worker.

use crate::allowance;
use crate::check::{BROADCAST_INPUT, CONTEXT, Checked, MIGRATION, TIMERS, WINDOWS, World};
use crate::columnar::{CatalogEntryOut, Columnar, DescriptorOut, Instance};
use crate::engine::Engine;
use crate::error::LoadError;
use crate::host::Host;
use crate::inspect::Property;
use crate::log::{OperatorLog, Who};
use crate::module::{CatalogEntry, Module};
use crate::outcome;
use crate::restarts::Restarts;
use crate::schema::{self, Refusal, Violation};
use crate::simple::{STATE, Simple};
use crate::ticker::Ticker;
use millstream_engine::ports::{OpenError, Operator, OperatorFactory};
use millstream_model::descriptor::{Descriptor, InputDescriptor, InputKind, StateDescriptor, StateKind, WindowUse};
use millstream_model::ids::Digest;
use millstream_model::limits::OperatorLimits;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Func, InstancePre, Lift, Lower};

/// Time that `catalog` or `open` may take, in milliseconds: a language's runtime may have much to set up.
const OPEN_MS: u64 = 10_000;

/// An operator as the pipeline file has it.
#[derive(Debug, Clone, Default)]
pub struct OperatorConfig {
    /// The id of the pipeline, for its log.
    pub pipeline: String,
    /// Its id in the pipeline file.
    pub id: String,
    /// Which operator of the module's catalog; needed if there are several.
    pub name: Option<String>,
    /// Its configuration as JSON text; empty stands for `{}`.
    pub config: String,
    /// What it may use.
    pub limits: OperatorLimits,
    /// What an operator of the simple world does not say itself. Not looked at for the columnar world.
    pub declared: Declared,
}

/// What the pipeline file declares for an operator of the simple world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Names of its inputs.
    pub inputs: Vec<String>,
    /// Names of its outputs.
    pub outputs: Vec<String>,
    /// Version of the bytes in its state.
    pub state_version: u32,
    /// Other versions of them that it reads as they are.
    pub reads_versions: Vec<u32>,
}

impl Default for Declared {
    fn default() -> Self {
        Self {
            inputs: vec!["in".to_owned()],
            outputs: vec!["out".to_owned()],
            state_version: 1,
            reads_versions: Vec::new(),
        }
    }
}

/// An operator, opened once to hear what it is, and opened again for every worker.
pub(crate) struct Configured {
    engine: Engine,
    module: Module,
    who: Arc<Who>,
    name: String,
    config: Arc<str>,
    limits: OperatorLimits,
    descriptor: Descriptor,
    /// What it says of itself beyond that, for people.
    properties: Vec<Property>,
}

impl Engine {
    /// Opens an operator of a module with its configuration and returns what makes instances of it.
    ///
    /// # Errors
    /// [`LoadError::Choice`], [`LoadError::Config`], [`LoadError::Open`] or [`LoadError::Descriptor`]; [`LoadError::Runtime`] if `limits.stack` is not this
    /// engine's.
    pub fn operator(&self, module: &Module, config: OperatorConfig) -> Result<Arc<dyn OperatorFactory>, LoadError> {
        Ok(Arc::new(Factory(Arc::new(self.configured(module, config)?))))
    }

    /// Opens an operator and returns what it says of itself.
    ///
    /// # Errors
    /// As [`Engine::operator`].
    pub fn describe(&self, module: &Module, config: OperatorConfig) -> Result<(Descriptor, Vec<Property>), LoadError> {
        self.configured(module, config).map(|configured| (configured.descriptor, configured.properties))
    }

    fn configured(&self, module: &Module, config: OperatorConfig) -> Result<Configured, LoadError> {
        let entry = choose(module, &config)?;
        let text = if config.config.trim().is_empty() { "{}" } else { &config.config };
        check_config(module, entry, &config.id, text)?;
        if config.limits.stack_bytes_max != self.inner.stack_bytes_max {
            let (own, wanted) = (self.inner.stack_bytes_max, config.limits.stack_bytes_max);
            let reason = format!("operator `{}` has a stack of {wanted} bytes, this engine one of {own}", config.id);
            return Err(LoadError::Runtime { reason });
        }
        let who = Who { pipeline: config.pipeline, operator: config.id.clone(), digest: module.digest() };
        let mut configured = Configured {
            engine: self.clone(),
            module: module.clone(),
            who: Arc::new(who),
            name: entry.name.clone(),
            config: text.into(),
            limits: config.limits,
            descriptor: Descriptor::default(),
            properties: Vec::new(),
        };
        configured.descriptor = match module.world() {
            World::StreamOperator => {
                let (_, described) =
                    configured.open().map_err(|reason| LoadError::Open { operator: config.id.clone(), reason })?;
                configured.properties = described.properties();
                let described = configured.descriptor(described).and_then(|described| check_exports(module, described));
                described.map_err(|reason| LoadError::Descriptor { operator: config.id.clone(), reason })?
            }
            World::RecordOperator => {
                let descriptor = declared(module, &config.declared)
                    .map_err(|reason| LoadError::Descriptor { operator: config.id.clone(), reason })?;
                configured
                    .open_simple()
                    .map_err(|error| LoadError::Open { operator: config.id, reason: error.reason })?;
                descriptor
            }
        };
        Ok(configured)
    }
}

/// Whether a module exports what its operator needs beside `process`.
fn check_exports(module: &Module, described: Descriptor) -> Result<Descriptor, String> {
    let broadcast = described.inputs.iter().find(|input| input.kind == InputKind::Broadcast);
    let is_exported = module.inner.checked.exports_interface(BROADCAST_INPUT);
    match broadcast {
        Some(input) if !is_exported => Err(format!(
            "the input `{}` is a broadcast input, but the module does not export `{BROADCAST_INPUT}`",
            input.name
        )),
        None if is_exported && module.catalog().len() == 1 => Err(format!(
            "the module exports `{BROADCAST_INPUT}`, but none of the operator's inputs is a broadcast input: no record would ever reach it"
        )),
        _ => {
            check_timers(module, &described)?;
            check_windows(module, &described)?;
            check_migration(module, described)
        }
    }
}

/// Whether a module can handle the timers that its operator declares. One that exports `timers` may declare none: it may depend on its configuration.
fn check_timers(module: &Module, described: &Descriptor) -> Result<(), String> {
    let is_exported = module.inner.checked.exports_interface(TIMERS);
    match described.timers.first() {
        Some(timer) if !is_exported => Err(format!(
            "it declares the timer `{}`, but the module does not export `{TIMERS}`: nothing would handle it when it fires",
            timer.name
        )),
        _ => Ok(()),
    }
}

/// Whether a module can do something with windows, if its operator works in any.
fn check_windows(module: &Module, described: &Descriptor) -> Result<(), String> {
    let is_exported = module.inner.checked.exports_interface(WINDOWS);
    if described.windows != WindowUse::None && !is_exported {
        return Err(format!(
            "it works inside windows, but the module does not export `{WINDOWS}`: nothing would come of them when they fire"
        ));
    }
    Ok(())
}

/// Whether a module can migrate what its operator says it does. One that exports `migration` for an operator with state that never asks for it has forgotten to say so; in a module of several
/// operators the export may be another one's.
fn check_migration(module: &Module, described: Descriptor) -> Result<Descriptor, String> {
    let is_exported = module.inner.checked.exports_interface(MIGRATION);
    let migrating = described.states.iter().find(|state| !state.migrates_versions.is_empty());
    match migrating {
        Some(state) if !is_exported => Err(format!(
            "the state `{}` migrates version(s) {:?}, but the module does not export `{MIGRATION}`",
            state.name, state.migrates_versions
        )),
        None if is_exported && module.catalog().len() == 1 && described.is_keyed() => Err(format!(
            "the module exports `{MIGRATION}`, but none of the operator's states has `migrates-versions`: no old value would ever reach it"
        )),
        _ => Ok(described),
    }
}

/// The operator that is meant.
fn choose<'a>(module: &'a Module, config: &OperatorConfig) -> Result<&'a CatalogEntry, LoadError> {
    let reason = match (&config.name, module.catalog()) {
        (Some(name), catalog) => match catalog.iter().find(|entry| entry.name == *name) {
            Some(entry) => return Ok(entry),
            None => format!("there is no operator `{name}` in `{}`", module.name()),
        },
        (None, [only]) => return Ok(only),
        (None, _) => format!("which operator of `{}` is meant must be said", module.name()),
    };
    let names: Vec<String> = module.catalog().iter().map(|entry| format!("`{}`", entry.name)).collect();
    Err(LoadError::Choice { operator: config.id.clone(), reason, available: names.join(", ") })
}

/// Holds the configuration against the schema, if the operator's author wrote one.
fn check_config(module: &Module, entry: &CatalogEntry, operator: &str, config: &str) -> Result<(), LoadError> {
    let Some(schema) = &entry.config_schema else { return Ok(()) };
    schema::check(schema, config).map_err(|refusal| match refusal {
        Refusal::Config(Violation { setting, reason }) => {
            LoadError::Config { operator: operator.to_owned(), setting, reason }
        }
        Refusal::Schema(reason) => LoadError::Catalog { module: module.name().to_owned(), reason },
    })
}

/// The descriptor of an operator of the simple world: keyed if it can reach state.
fn declared(module: &Module, declared: &Declared) -> Result<Descriptor, String> {
    crate::columnar::check_names("input", declared.inputs.iter())?;
    crate::columnar::check_names("output", declared.outputs.iter())?;
    crate::columnar::check_outputs(declared.outputs.iter())?;
    if declared.inputs.is_empty() {
        return Err("it has no input".to_owned());
    }
    let keyed = module.inner.checked.imports_interface("millstream:record-operator/state");
    let state = StateDescriptor {
        version: declared.state_version,
        reads_versions: declared.reads_versions.clone(),
        ..StateDescriptor::new(STATE, StateKind::Map)
    };
    if declared.reads_versions.contains(&declared.state_version) {
        return Err(format!("its state has version {} and lists it among those it also reads", declared.state_version));
    }
    Ok(Descriptor {
        inputs: declared.inputs.iter().map(|name| InputDescriptor::records(name)).collect(),
        outputs: declared.outputs.clone(),
        states: if keyed { vec![state] } else { Vec::new() },
        ..Descriptor::default()
    })
}

impl Configured {
    pub(crate) fn ticker(&self) -> &Ticker {
        &self.engine.inner.ticker
    }

    /// Waits before the next instance is made, if too many broke.
    pub(crate) fn pause(&self, restarts: &Restarts) {
        let pause_ms = restarts.pause_ms();
        if pause_ms > 0 {
            self.engine.inner.clock.pause(pause_ms);
        }
    }

    fn error(&self, reason: String) -> OpenError {
        OpenError { operator: self.who.operator.clone(), reason }
    }

    fn probe(&self) -> Probe<'_> {
        let inner = &self.module.inner;
        Probe {
            engine: &self.engine,
            module: &inner.name,
            digest: inner.digest,
            checked: &inner.checked,
            linked: &inner.linked,
        }
    }

    fn store(&self) -> Store<Host> {
        self.probe().store(&self.who, &self.config, &self.limits)
    }

    /// An instance that is the configured operator, and what it says of itself.
    fn open(&self) -> Result<(Instance, DescriptorOut), String> {
        let probe = self.probe();
        let mut store = self.store();
        let _running = self.ticker().run();
        let instance = probe.instantiate(&mut store)?;
        let open = probe.function(&instance, &mut store, "operator", "open")?;
        let process = probe.function(&instance, &mut store, "operator", "process")?;
        let has_migrate = self.module.inner.checked.exports_interface(MIGRATION);
        let migrate = has_migrate.then(|| probe.function(&instance, &mut store, "migration", "migrate")).transpose()?;
        let has_broadcast = self.module.inner.checked.exports_interface(BROADCAST_INPUT);
        let broadcast = || probe.function(&instance, &mut store, "broadcast-input", "process-broadcast");
        let broadcast = has_broadcast.then(broadcast).transpose()?;
        let has_timers = self.module.inner.checked.exports_interface(TIMERS);
        let on_timers = has_timers.then(|| probe.function(&instance, &mut store, "timers", "on-timers")).transpose()?;
        let has_windows = self.module.inner.checked.exports_interface(WINDOWS);
        let on_windows =
            has_windows.then(|| probe.function(&instance, &mut store, "windows", "on-windows")).transpose()?;
        let arguments = (self.name.as_str(), &*self.config);
        let (described,): (Result<DescriptorOut, String>,) = call(&mut store, &open, arguments)?;
        Ok((Instance { store, process, migrate, broadcast, on_timers, on_windows }, described?))
    }

    /// What it says of itself, with what its module tells.
    fn descriptor(&self, described: DescriptorOut) -> Result<Descriptor, String> {
        let reads_watermark = self.module.inner.checked.imports_function(CONTEXT, "watermark-ms");
        Ok(Descriptor { reads_watermark, ..described.checked()? })
    }

    pub(crate) fn open_columnar(&self) -> Result<Instance, OpenError> {
        let (instance, described) = self.open().map_err(|reason| self.error(reason))?;
        let properties = described.properties();
        let described = self.descriptor(described).map_err(|reason| self.error(reason))?;
        if described != self.descriptor || properties != self.properties {
            return Err(self.error("it describes itself otherwise than before, with the same configuration".to_owned()));
        }
        Ok(instance)
    }

    pub(crate) fn open_simple(&self) -> Result<Instance, OpenError> {
        let probe = self.probe();
        let mut store = self.store();
        let _running = self.ticker().run();
        let instance = probe.instantiate(&mut store).map_err(|reason| self.error(reason))?;
        let process =
            probe.function(&instance, &mut store, "handler", "process").map_err(|reason| self.error(reason))?;
        Ok(Instance { store, process, migrate: None, broadcast: None, on_timers: None, on_windows: None })
    }
}

/// Makes instances of a module that need not be an operator yet.
pub(crate) struct Probe<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) module: &'a str,
    pub(crate) digest: Digest,
    pub(crate) checked: &'a Checked,
    pub(crate) linked: &'a InstancePre<Host>,
}

impl Probe<'_> {
    fn store(&self, who: &Arc<Who>, config: &Arc<str>, limits: &OperatorLimits) -> Store<Host> {
        let engine = &self.engine.inner;
        let log = Arc::new(OperatorLog::new(Arc::clone(who), limits, Arc::clone(&engine.clock)));
        let mut store = Store::new(&engine.wasm, Host::new(limits, Arc::clone(config), log));
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(usize::try_from(limits.request_bytes_max).unwrap_or(usize::MAX));
        allowance::watch(&mut store);
        allowance::grant(&mut store, OPEN_MS);
        store
    }

    fn instantiate(&self, store: &mut Store<Host>) -> Result<wasmtime::component::Instance, String> {
        let instance = self.linked.instantiate(&mut *store);
        instance.map_err(|error| outcome::describe(&error, store.data(), OPEN_MS))
    }

    /// A function of an interface that the module was checked to export.
    fn function(
        &self,
        instance: &wasmtime::component::Instance,
        store: &mut Store<Host>,
        interface: &str,
        function: &str,
    ) -> Result<Func, String> {
        let missing = || format!("its export `{interface}` lacks the function `{function}`");
        let export = self.checked.exports.keys().find(|name| {
            let path = name.split('@').next().unwrap_or(name);
            path.starts_with("millstream:") && path.rsplit('/').next() == Some(interface)
        });
        let export = export.ok_or_else(missing)?;
        let at: ComponentExportIndex = instance.get_export_index(&mut *store, None, export).ok_or_else(missing)?;
        let at = instance.get_export_index(&mut *store, Some(&at), function).ok_or_else(missing)?;
        instance.get_func(&mut *store, at).ok_or_else(missing)
    }

    /// The catalog as the module tells it.
    pub(crate) fn catalog(&self) -> Result<Vec<CatalogEntryOut>, String> {
        let who = Who { pipeline: String::new(), operator: self.module.to_owned(), digest: self.digest };
        let mut store = self.store(&Arc::new(who), &"{}".into(), &OperatorLimits::default());
        let _running = self.engine.inner.ticker.run();
        let instance = self.instantiate(&mut store)?;
        let catalog = self.function(&instance, &mut store, "operator", "catalog")?;
        let (entries,) = call(&mut store, &catalog, ())?;
        Ok(entries)
    }
}

/// Calls a function outside of `process`.
fn call<Params, Return>(store: &mut Store<Host>, function: &Func, params: Params) -> Result<Return, String>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let typed = function.typed::<Params, Return>(&*store).map_err(|error| format!("{error:#}"))?;
    typed.call(&mut *store, params).map_err(|error| outcome::describe(&error, store.data(), OPEN_MS))
}

/// See [`OperatorFactory`].
struct Factory(Arc<Configured>);

impl OperatorFactory for Factory {
    fn descriptor(&self) -> &Descriptor {
        &self.0.descriptor
    }

    fn digest(&self) -> Digest {
        self.0.module.digest()
    }

    fn instantiate(&self) -> Result<Box<dyn Operator>, OpenError> {
        let configured = Arc::clone(&self.0);
        Ok(match self.0.module.world() {
            World::StreamOperator => Box::new(Columnar::new(configured, self.0.open_columnar()?)),
            World::RecordOperator => Box::new(Simple::new(configured, self.0.open_simple()?)),
        })
    }
}
