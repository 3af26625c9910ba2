//! From modules to operators.

use crate::config::{OperatorSpec, PipelineFile, Problem, Resolved};
use crate::error::{Failure, Outcome};
use crate::graph::{self, Described};
use crate::store::ModuleStore;
use millstream_engine::ports::OperatorFactory;
use millstream_engine::swap::restart::FIRST;
use millstream_model::ids::{Digest, Generation};
use millstream_model::plan::Plan;
use millstream_wasm::{Engine, EngineSettings, LoadError, Module, ModuleSource, OperatorConfig, World};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// A pipeline with its modules loaded and its operators opened.
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    pub(crate) operators: Vec<Arc<dyn OperatorFactory>>,
}

/// The runtime, with compiled modules kept in the user's cache.
pub(crate) fn wasm_engine() -> Outcome<Engine> {
    wasm_engine_with(EngineSettings::default().stack_bytes_max)
}

fn wasm_engine_with(stack_bytes_max: u64) -> Outcome<Engine> {
    let cache_dir = crate::paths::cache_dir().map(|cache| cache.join("modules"));
    let settings = EngineSettings { cache_dir, stack_bytes_max, ..EngineSettings::default() };
    Engine::new(settings).map_err(Failure::config)
}

/// Loads the modules that a pipeline file names, opens its operators and plans it.
pub(crate) fn load(file: &PipelineFile, resolved: &Resolved) -> Outcome<Loaded> {
    let Wanted { made, plan, .. } = Workshop::new(file, resolved)?.wanted(file, resolved)?;
    Ok(Loaded { plan, operators: made.into_iter().map(|made| made.factory).collect() })
}

/// What a pipeline file asks for, whatever ran before.
pub(crate) struct Wanted {
    /// Positions of the operators in the file, each behind all that feed it.
    pub(crate) order: Vec<usize>,
    /// In that order.
    pub(crate) made: Vec<Made>,
    pub(crate) plan: Plan,
}

/// Makes operators of modules, as the pipeline file configures them.
pub(crate) struct Workshop {
    pipeline: String,
    /// Where relative paths begin.
    folder: PathBuf,
    plugins: ModuleStore,
    /// One runtime for all operators, or, where `limits.stack` differs, one for each stack.
    engines: BTreeMap<u64, Engine>,
}

/// A module made an operator.
#[derive(Clone)]
pub(crate) struct Made {
    /// Its name within the module, for people.
    name: String,
    pub(crate) source: Arc<ModuleSource>,
    module: Module,
    pub(crate) factory: Arc<dyn OperatorFactory>,
}

/// Why a module was not made an operator.
pub(crate) enum Unfit {
    /// It cannot be loaded.
    Module(LoadError),
    /// It does not open as the pipeline file has it.
    Operator(Problem),
}

impl Unfit {
    /// What is wrong, with the line of the pipeline file it is about if there is one.
    pub(crate) fn show(&self, file: &PipelineFile) -> String {
        match self {
            Self::Module(error) => error.to_string(),
            Self::Operator(problem) => file.show(problem),
        }
    }

    /// What is wrong, for whoever did not hand over the pipeline file.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Module(error) => error.to_string(),
            Self::Operator(problem) => problem.text.clone(),
        }
    }
}

impl Made {
    pub(crate) fn digest(&self) -> Digest {
        self.factory.digest()
    }

    /// Interfaces it imports, without their versions.
    pub(crate) fn imports(&self) -> BTreeSet<String> {
        let interface = |name: &String| name.split('@').next().unwrap_or(name).to_owned();
        self.module.imports().keys().map(interface).collect()
    }

    pub(crate) fn described(&self, generation: Generation) -> Described {
        let descriptor = self.factory.descriptor().clone();
        Described { digest: self.digest(), generation, name: self.name.clone(), descriptor }
    }
}

impl Workshop {
    pub(crate) fn new(file: &PipelineFile, resolved: &Resolved) -> Outcome<Self> {
        let stacks: BTreeSet<u64> = resolved.operators.iter().map(|spec| spec.limits.stack_bytes_max).collect();
        let engine = |stack_bytes_max| Ok((stack_bytes_max, wasm_engine_with(stack_bytes_max)?));
        Ok(Self {
            pipeline: resolved.id.clone(),
            folder: file.folder(),
            plugins: ModuleStore::of_user(),
            engines: stacks.into_iter().map(engine).collect::<Outcome<_>>()?,
        })
    }

    /// Makes the operators of a pipeline file, and plans it.
    pub(crate) fn wanted(&self, file: &PipelineFile, resolved: &Resolved) -> Outcome<Wanted> {
        let problem = |problem: Problem| Failure::config(file.show(&problem));
        let order = graph::topological(&resolved.operators).map_err(problem)?;
        let make = |spec: &OperatorSpec| {
            let path = self.plugins.find(&spec.module, &self.folder)?;
            let source = ModuleSource::file(&path).map_err(Failure::config)?;
            self.make(spec, source).map_err(|unfit| Failure::config(unfit.show(file)))
        };
        let specs = order.iter().filter_map(|at| resolved.operators.get(*at));
        let made = specs.map(make).collect::<Outcome<Vec<Made>>>()?;
        let described: Vec<Described> = made.iter().map(|made| made.described(FIRST)).collect();
        let plan = graph::plan(resolved, &order, &described).map_err(problem)?;
        Ok(Wanted { order, made, plan })
    }

    /// A module of the plugin store.
    pub(crate) fn from_plugins(&self, name: &str) -> Outcome<ModuleSource> {
        let path = self.plugins.find(name, &self.folder)?;
        ModuleSource::file(&path).map_err(Failure::config)
    }

    /// Loads a module and opens the operator that the pipeline file says.
    pub(crate) fn make(&self, spec: &OperatorSpec, source: ModuleSource) -> Result<Made, Unfit> {
        let no_engine = || LoadError::Runtime { reason: format!("there is none for operator `{}`", spec.id) };
        let engine = self.engines.get(&spec.limits.stack_bytes_max);
        let engine = engine.ok_or_else(no_engine).map_err(Unfit::Module)?;
        let module = engine.load(&source).map_err(Unfit::Module)?;
        let factory = open(engine, &module, &self.pipeline, spec).map_err(Unfit::Operator)?;
        let name = spec.name.clone().unwrap_or_else(|| spec.id.clone());
        Ok(Made { name, source: Arc::new(source), module, factory })
    }
}

/// Opens an operator. What it refuses is shown where it is in the pipeline file.
fn open(engine: &Engine, module: &Module, id: &str, spec: &OperatorSpec) -> Result<Arc<dyn OperatorFactory>, Problem> {
    if spec.declared.is_some() && module.world() == World::StreamOperator {
        let text = format!(
            "operator `{}` says itself what inputs, outputs and states it has: `declare` is for modules of the simple world",
            spec.id
        );
        return Err(Problem::new(&spec.place().field("declare"), text));
    }
    let config = OperatorConfig {
        pipeline: id.to_owned(),
        id: spec.id.clone(),
        name: spec.name.clone(),
        config: spec.config.clone(),
        limits: spec.limits.clone(),
        declared: spec.declared.clone().unwrap_or_default(),
    };
    engine.operator(module, config).map_err(|error| {
        let place = match &error {
            LoadError::Config { setting, .. } => {
                setting.iter().fold(spec.place().field("config"), |place, field| match field.parse() {
                    Ok(position) => place.item(position),
                    Err(_) => place.field(field),
                })
            }
            LoadError::Open { .. } => spec.place().field("config"),
            LoadError::Choice { .. } => spec.place().field("operator"),
            _ => spec.place(),
        };
        Problem::new(&place, error.to_string())
    })
}
