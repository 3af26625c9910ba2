//! Where the crates are put together: everything a run is made of, from a resolved pipeline.

use crate::config::{OperatorSpec, PipelineFile, Problem, Resolved, SinkKind, SourceKind, SourceSpec};
use crate::error::{Failure, Outcome};
use crate::graph::{self, Described};
use crate::store::ModuleStore;
use millstream_connect::{
    FileSet, FileSink, FileSinkSettings, FileSource, NexmarkSource, Share, StdinSettings, StdinSource, StdoutSink,
};
use millstream_engine::commit::{CommitPorts, CommitterSettings, Identity, SinkPort};
use millstream_engine::ports::{
    Clock, CommitsReader, EventTime, OperatorFactory, RecordSizes, RecordSizesReader, Source, StateBackend,
    SystemClock, TransactionLog,
};
use millstream_engine::run::RunPorts;
use millstream_kafka::{KafkaCluster, KafkaCommitsReader, KafkaLog, KafkaSource, LogSettings, SourceSettings};
use millstream_model::commit::TopicIdentity;
use millstream_model::ids::{Lineage, PartitionIndex};
use millstream_model::plan::Plan;
use millstream_state::{CheckpointSettings, CheckpointStore, RocksCheckpoints, RocksStore, StateDir, checkpoints_path};
use millstream_wasm::{Engine, EngineSettings, LoadError, Module, ModuleSource, OperatorConfig, World};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory that jobs outside the caches may take of the budget for state: RocksDB's half.
const ROCKSDB_SHARE: u64 = 2;

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

/// Loads the modules of a pipeline, opens its operators and plans it.
pub(crate) fn load(file: &PipelineFile, resolved: &Resolved) -> Outcome<Loaded> {
    // One runtime for all operators, or, where `limits.stack` differs, one for each stack.
    let mut engines = BTreeMap::new();
    let problem = |problem| Failure::config(file.show(&problem));
    let order = graph::topological(&resolved.operators).map_err(problem)?;
    let store = ModuleStore::of_user();
    let (mut operators, mut described) = (Vec::new(), Vec::new());
    for spec in order.iter().filter_map(|at| resolved.operators.get(*at)) {
        let path = store.find(&spec.module, &file.folder())?;
        let engine = match engines.entry(spec.limits.stack_bytes_max) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(wasm_engine_with(spec.limits.stack_bytes_max)?),
        };
        let module = ModuleSource::file(&path).and_then(|source| engine.load(&source)).map_err(Failure::config)?;
        let factory = open(engine, &module, &resolved.id, spec).map_err(problem)?;
        described.push(Described {
            digest: factory.digest(),
            name: spec.name.clone().unwrap_or_else(|| spec.id.clone()),
            descriptor: factory.descriptor().clone(),
        });
        operators.push(factory);
    }
    let plan = graph::plan(resolved, &order, &described).map_err(problem)?;
    Ok(Loaded { plan, operators })
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

/// What of the outside is shared by all parts of a run.
pub(crate) struct Outside {
    pub(crate) cluster: Option<KafkaCluster>,
    pub(crate) directory: StateDir,
    pub(crate) store: Arc<RocksStore>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the store was filled from a checkpoint that another history may begin with.
    pub(crate) begins_from_checkpoint: bool,
}

/// How a run differs from the usual one.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOptions {
    pub(crate) from_checkpoint: Option<std::path::PathBuf>,
    pub(crate) ignore_group_offsets: bool,
}

/// What becomes of a sink's topic that is not there and has `create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is made.
    Create,
    /// It stays missing, and whatever else is in the way is told: the verb changes nothing.
    Report,
    /// It stays missing: the verb changes nothing, and runs no pipeline.
    Leave,
}

/// Connects to the cluster, if the pipeline has one, and checks that it and the topics can be used.
pub(crate) fn connect(resolved: &Resolved, missing: Missing) -> Outcome<Option<KafkaCluster>> {
    let is_used = resolved.topics().next().is_some()
        || resolved.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Topic { .. }));
    let Some(properties) = resolved.kafka.as_ref().filter(|_| is_used) else { return Ok(None) };
    let cluster = KafkaCluster::connect(properties).map_err(Failure::config)?;
    if missing != Missing::Leave {
        crate::preflight::check(&cluster, resolved)?;
    }
    for (_, topic) in resolved.topics() {
        cluster.topic(topic).map_err(Failure::config)?;
    }
    for sink in &resolved.sinks {
        if let SinkKind::Topic { topic, create } = &sink.kind {
            if let Some(partitions) = create {
                if missing != Missing::Create {
                    continue;
                }
                cluster.create_topic(topic, *partitions).map_err(Failure::config)?;
            }
            cluster.topic(topic).map_err(Failure::config)?;
        }
    }
    Ok(Some(cluster))
}

/// Takes the state directory and opens the store in it.
pub(crate) fn open_state(resolved: &Resolved, cluster: Option<KafkaCluster>, options: &RunOptions) -> Outcome<Outside> {
    let directory = StateDir::take(&resolved.state_dir, &resolved.id).map_err(|error| Failure::of_directory(&error))?;
    if let Some(cluster) = &cluster {
        directory.check_cluster(&cluster.id().map_err(Failure::config)?).map_err(Failure::config)?;
    }
    let mut begins_from_checkpoint = false;
    if let Some(location) = &options.from_checkpoint {
        let (place, name) = CheckpointStore::locate(location).map_err(Failure::config)?;
        let checkpoint = place.restore(&name, &directory).map_err(Failure::config)?;
        // Without a log nobody knows of anything behind the checkpoint: its own pipeline just goes on from there.
        begins_from_checkpoint = cluster.is_some() || checkpoint.pipeline != resolved.id;
    }
    let memory_bytes = resolved.state_memory_bytes / ROCKSDB_SHARE;
    let store = RocksStore::open(&directory.store(), memory_bytes).map_err(Failure::failed)?;
    let clock = Arc::new(SystemClock::default());
    Ok(Outside { cluster, directory, store: Arc::new(store), clock, begins_from_checkpoint })
}

/// Everything `run` takes.
pub(crate) struct Composed {
    pub(crate) ports: RunPorts,
    pub(crate) identity: Identity,
    pub(crate) settings: CommitterSettings,
}

/// Puts a run together.
pub(crate) fn compose(
    resolved: &Resolved,
    loaded: &Loaded,
    outside: &Outside,
    options: &RunOptions,
) -> Outcome<Composed> {
    let changelog = match &resolved.kafka {
        Some(properties) if outside.cluster.is_some() => crate::history::changelog_number(properties, &resolved.id)?,
        _ => 0,
    };
    let mut settings = CommitterSettings {
        transaction_timeout_ms: resolved.commit.transaction_timeout_ms,
        from_checkpoint: outside.begins_from_checkpoint,
        ..CommitterSettings::default()
    };
    let mut log = log(resolved, outside, changelog);
    let mut commits: Option<Box<dyn CommitsReader>> = None;
    let mut sizes: Arc<dyn RecordSizesReader> = Arc::new(RecordSizes::any(resolved.sinks.len()));
    if let (Some(cluster), Some(properties)) = (&outside.cluster, &resolved.kafka) {
        let removals_kept_ms = cluster.ensure_internal_topics(&resolved.id, changelog).map_err(Failure::config)?;
        settings.base_age_ms_max = removals_kept_ms / 2;
        let topics = Arc::new(cluster.sizes(&resolved.id, changelog, sink_topics(resolved)).map_err(Failure::config)?);
        log = log.map(|log| log.with_sizes(Arc::clone(&topics)));
        sizes = topics;
        commits = Some(Box::new(KafkaCommitsReader::new(properties, &resolved.id).map_err(Failure::config)?));
    }
    let identity = identity(resolved, loaded, outside, changelog)?;
    let place = checkpoints_place(resolved);
    let checkpoints = CheckpointSettings {
        pipeline: resolved.id.clone(),
        staging: outside.directory.staging(),
        retained: resolved.checkpoint.keep,
    };
    let place = CheckpointStore::in_directory(&place).map_err(Failure::config)?;
    let ports = RunPorts {
        operators: loaded.operators.clone(),
        sources: (0..resolved.workers)
            .map(|worker| sources(resolved, outside, worker, options))
            .collect::<Outcome<_>>()?,
        commit: CommitPorts {
            log: log.map(|log| Box::new(log) as Box<dyn TransactionLog>),
            state: Arc::clone(&outside.store) as Arc<dyn StateBackend>,
            sinks: sinks(resolved)?,
            clock: Arc::clone(&outside.clock),
        },
        checkpoints: Box::new(RocksCheckpoints::new(Arc::clone(&outside.store), place, checkpoints)),
        clock: Arc::clone(&outside.clock),
        event_times: event_times(resolved),
        sizes,
        commits,
    };
    Ok(Composed { ports, identity, settings })
}

fn identity(resolved: &Resolved, loaded: &Loaded, outside: &Outside, changelog: u32) -> Outcome<Identity> {
    let mut topics = BTreeMap::new();
    for source in &resolved.sources {
        topics.insert(source.id.clone(), source_identity(&source.id, &source.kind, outside.cluster.as_ref())?);
    }
    let mut sink_ends = BTreeMap::new();
    if let Some(cluster) = &outside.cluster {
        for sink in &resolved.sinks {
            if let SinkKind::Topic { topic, .. } = &sink.kind {
                sink_ends.insert(sink.id.clone(), cluster.ends(topic).map_err(Failure::config)?);
            }
        }
    }
    Ok(Identity {
        id: resolved.id.clone(),
        host: crate::paths::host_name(),
        pid: std::process::id(),
        cluster_id: match &outside.cluster {
            Some(cluster) => cluster.id().map_err(Failure::config)?,
            None => String::new(),
        },
        topics,
        changelog,
        digests: loaded.plan.operators.iter().map(|node| (node.id.clone(), node.digest)).collect(),
        planned_after: None,
        operators: states(&loaded.plan),
        sink_ids: resolved.sinks.iter().map(|sink| sink.id.clone()).collect(),
        sink_ends,
        fresh_lineage: Lineage(uuid::Uuid::new_v4().into_bytes()),
    })
}

/// Operators with state or timers: id and names that the catalog gives numbers to.
pub(crate) fn states(plan: &Plan) -> Vec<(String, Vec<String>)> {
    let operators = plan.operators.iter().map(|node| (node.id.clone(), node.descriptor.cells_names()));
    operators.filter(|(_, names)| !names.is_empty()).collect()
}

fn source_identity(id: &str, kind: &SourceKind, cluster: Option<&KafkaCluster>) -> Outcome<TopicIdentity> {
    Ok(match kind {
        SourceKind::Topic { topic, .. } => match cluster {
            Some(cluster) => cluster.topic(topic).map_err(Failure::config)?,
            None => TopicIdentity { name: topic.clone(), ..TopicIdentity::default() },
        },
        SourceKind::File { paths, .. } => FileSet::find(id, paths).map_err(Failure::config)?.identity(),
        SourceKind::Nexmark(settings) => settings.identity(),
        SourceKind::Stdin { .. } => TopicIdentity { name: "stdin".to_owned(), id: String::new(), partitions: 1 },
    })
}

/// By source: where its event time is found, if that is not its own timestamp.
pub(crate) fn event_times(resolved: &Resolved) -> Vec<Option<Arc<dyn EventTime>>> {
    let event_time = |source: &SourceSpec| Some(Arc::new(source.event_time.clone()?) as Arc<dyn EventTime>);
    resolved.sources.iter().map(event_time).collect()
}

/// A worker's part of every source.
fn sources(resolved: &Resolved, outside: &Outside, worker: u32, options: &RunOptions) -> Outcome<Vec<Box<dyn Source>>> {
    let workers = resolved.workers;
    let mut made: Vec<Box<dyn Source>> = Vec::new();
    for (index, source) in (0u16..).zip(&resolved.sources) {
        let share = Share { worker, workers, first: PartitionIndex(u32::from(index) << 16) };
        let clock = Arc::clone(&outside.clock);
        made.push(match (&source.kind, &resolved.kafka) {
            (SourceKind::Topic { topic, start, stop, on_data_loss, read_uncommitted }, Some(properties)) => {
                let settings = SourceSettings {
                    id: source.id.clone(),
                    index,
                    topic: topic.clone(),
                    group: resolved.id.clone(),
                    worker,
                    workers,
                    start: *start,
                    stop: *stop,
                    on_data_loss: *on_data_loss,
                    read_uncommitted: *read_uncommitted,
                    ignore_group_offsets: options.ignore_group_offsets,
                };
                Box::new(KafkaSource::new(properties, settings).map_err(Failure::config)?)
            }
            (SourceKind::Topic { topic, .. }, None) => {
                return Err(Failure::config(format!("topic `{topic}`: the pipeline has no `kafka`")));
            }
            (SourceKind::File { paths, settings }, _) => {
                let files = Arc::new(FileSet::find(&source.id, paths).map_err(Failure::config)?);
                Box::new(FileSource::new(settings.clone(), files, share, clock))
            }
            (SourceKind::Nexmark(settings), _) => Box::new(NexmarkSource::new(settings.clone(), share, clock)),
            (SourceKind::Stdin { format }, _) => {
                let settings =
                    StdinSettings { format: format.clone(), ..StdinSettings::new(&source.id, clock.now_ms()) };
                Box::new(StdinSource::new(settings, share))
            }
        });
    }
    Ok(made)
}

fn sinks(resolved: &Resolved) -> Outcome<Vec<SinkPort>> {
    let mut made = Vec::new();
    for sink in &resolved.sinks {
        made.push(match &sink.kind {
            SinkKind::Topic { .. } => SinkPort::Log,
            SinkKind::File { path, format } => {
                let (pipeline, sink_id) = (resolved.id.clone(), sink.id.clone());
                let settings = FileSinkSettings { pipeline, sink_id, path: path.clone(), format: *format };
                SinkPort::Local(Box::new(FileSink::open(settings).map_err(Failure::config)?))
            }
            SinkKind::Stdout { format } => SinkPort::Local(Box::new(StdoutSink::new(&sink.id, *format))),
        });
    }
    Ok(made)
}

fn log(resolved: &Resolved, outside: &Outside, changelog: u32) -> Option<KafkaLog> {
    let properties = resolved.kafka.as_ref().filter(|_| outside.cluster.is_some())?;
    let settings = LogSettings {
        id: resolved.id.clone(),
        changelog,
        sinks: sink_topics(resolved),
        transaction_timeout_ms: resolved.commit.transaction_timeout_ms,
    };
    Some(KafkaLog::new(properties, settings))
}

/// The topic of each sink of the plan; `None` for sinks elsewhere.
fn sink_topics(resolved: &Resolved) -> Vec<Option<String>> {
    let topic = |kind: &SinkKind| match kind {
        SinkKind::Topic { topic, .. } => Some(topic.clone()),
        _ => None,
    };
    resolved.sinks.iter().map(|sink| topic(&sink.kind)).collect()
}

/// The directory of a pipeline, for verbs that only look.
pub(crate) fn directory(resolved: &Resolved) -> &Path {
    &resolved.state_dir
}

/// Where a pipeline's checkpoints lie: in a directory that others may use as well, below its id.
pub(crate) fn checkpoints_place(resolved: &Resolved) -> PathBuf {
    match &resolved.checkpoint.dir {
        Some(dir) => dir.join(&resolved.id),
        None => checkpoints_path(&resolved.state_dir),
    }
}
