//! A whole run inside this process: generated input, an operator, RocksDB below it, output dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use millstream_engine::commit::{CommitPorts, CommitterSettings, Identity, SinkPort};
use millstream_engine::ports::{Clock, OperatorFactory, RecordSizes, StateBackend, SystemClock};
use millstream_engine::run::{self, Board, Control, RunEnd, RunPorts};
use millstream_model::commit::TopicIdentity;
use millstream_model::ids::{OperatorIndex, SinkIndex};
use millstream_model::plan::{Plan, SinkNode, SourceNode, Target};
use millstream_state::{CheckpointSettings, CheckpointStore, RocksCheckpoints, RocksStore};
use serde::{Deserialize, Serialize};

use crate::operators::{Place, Work, node, operator};
use crate::scratch;
use crate::stream::{DropSink, MadeSource, Stream};
use crate::usage::{Usage, peak_rss_mib};

/// What is run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Job {
    /// What is done.
    pub work: Work,
    /// Where.
    pub place: Place,
    /// With what.
    pub stream: Stream,
    /// `state.memory` of the pipeline, in bytes.
    pub memory_bytes: u64,
}

/// What it took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Taken {
    /// Records measured.
    pub records: u64,
    /// Processor time of all threads, in seconds.
    pub cpu_s: f64,
    /// Time, in seconds.
    pub wall_s: f64,
    /// Most memory the process ever had, in MiB.
    pub peak_rss_mib: f64,
}

impl Taken {
    /// Records per second of processor time.
    #[must_use]
    pub fn per_cpu_s(&self) -> f64 {
        self.records as f64 / self.cpu_s.max(1e-9)
    }

    /// Nanoseconds of processor time per record.
    #[must_use]
    pub fn ns_per_record(&self) -> f64 {
        1e9 / self.per_cpu_s()
    }
}

/// Runs a job to its end.
///
/// # Errors
/// If anything of it fails.
pub fn run_job(job: &Job) -> Result<Taken> {
    let directory = scratch::directory()?;
    let factory = operator(job.work, job.place, job.stream.keys)?;
    let plan = Arc::new(plan(job, factory.as_ref()));
    let (source, began) = MadeSource::new(job.stream);
    let store = Arc::new(RocksStore::open(&directory.path().join("db"), job.memory_bytes / 2)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let place = CheckpointStore::in_directory(&directory.path().join("checkpoints"))?;
    let staging = directory.path().join("staging");
    let settings = CheckpointSettings { pipeline: plan.id.clone(), staging, retained: 1 };
    let ports = RunPorts {
        operators: vec![factory],
        sources: vec![vec![Box::new(source)]],
        commit: CommitPorts {
            log: None,
            state: Arc::clone(&store) as Arc<dyn StateBackend>,
            sinks: vec![SinkPort::Local(Box::new(DropSink::default()))],
            clock: Arc::clone(&clock),
        },
        checkpoints: Box::new(RocksCheckpoints::new(store, place, settings)),
        clock,
        event_times: Vec::new(),
        sizes: Arc::new(RecordSizes::any(1)),
        commits: None,
    };
    let control = Control::new(Board::new(&plan));
    let end = run::run(Arc::clone(&plan), ports, identity(&plan), CommitterSettings::default(), &control)?;
    if end != RunEnd::Finished {
        bail!("the run ended otherwise than it should: {end:?}");
    }
    let (began, ended) = (began.get().context("nothing was measured")?, Usage::own());
    Ok(Taken {
        records: job.stream.records,
        cpu_s: ended.cpu_s_since(&began),
        wall_s: ended.wall_s_since(&began),
        peak_rss_mib: peak_rss_mib(std::process::id())?,
    })
}

fn plan(job: &Job, factory: &dyn OperatorFactory) -> Plan {
    let mut node = node(factory);
    if let Some(output) = node.outputs.first_mut() {
        output.push(Target::Sink(SinkIndex(0)));
    }
    let target = Target::Operator { operator: OperatorIndex(0), input: 0 };
    Plan {
        id: "bench".to_owned(),
        sources: vec![SourceNode { id: "in".to_owned(), targets: vec![target], time: Default::default() }],
        operators: vec![node],
        sinks: vec![SinkNode { id: "out".to_owned() }],
        dead_letters: None,
        workers: 1,
        batch: Default::default(),
        commit: Default::default(),
        checkpoint_interval_ms: None,
        state_memory_bytes: job.memory_bytes / 2,
    }
}

fn identity(plan: &Plan) -> Identity {
    let topic = TopicIdentity { name: "in".to_owned(), id: String::new(), partitions: 1 };
    let states = |node: &millstream_model::plan::OperatorNode| (node.id.clone(), node.descriptor.cells_names());
    let keyed = plan.operators.iter().filter(|node| node.descriptor.is_keyed());
    Identity {
        id: plan.id.clone(),
        host: String::new(),
        pid: std::process::id(),
        cluster_id: String::new(),
        topics: BTreeMap::from([("in".to_owned(), topic)]),
        changelog: 0,
        digests: plan.operators.iter().map(|node| (node.id.clone(), node.digest)).collect(),
        planned_after: None,
        operators: keyed.map(states).collect(),
        sink_ids: vec!["out".to_owned()],
        sink_ends: BTreeMap::new(),
        fresh_lineage: Default::default(),
    }
}
