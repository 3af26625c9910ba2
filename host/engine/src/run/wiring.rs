use super::RunError;
use super::board::Board;
use crate::call::CallRules;
use crate::exchange::Exchange;
use crate::keyed::{KeyedState, Share, StateColumn};
use crate::ports::{Clock, OperatorFactory, Source, StateBackend};
use crate::swap::versions::OlderVersions;
use crate::task::Task;
use crate::worker::{Command, Report, Shared, Worker, WorkerParts};
use millstream_model::cell::CellSpace;
use millstream_model::commit::{Catalog, PartitionPosition};
use millstream_model::plan::{OperatorNode, Plan, Target};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, RwLock};

pub(super) fn share(
    plan: &Arc<Plan>,
    board: &Arc<Board>,
    clock: &Arc<dyn Clock>,
    sink_record_bytes_max: Vec<usize>,
) -> Arc<Shared> {
    Arc::new(Shared {
        plan: Arc::clone(plan),
        board: Arc::clone(board),
        clock: Arc::clone(clock),
        sink_record_bytes_max,
        output_bytes: Default::default(),
        dirty_bytes: (0..plan.workers).map(|_| Default::default()).collect(),
        spare: Mutex::default(),
        partitions: RwLock::default(),
    })
}

/// What tasks are made of.
#[derive(Clone, Copy)]
pub(super) struct Factories<'a> {
    pub(super) operators: &'a [Arc<dyn OperatorFactory>],
    pub(super) state: &'a Arc<dyn StateBackend>,
    pub(super) catalog: &'a Catalog,
    /// Versions that lie about beside those the operators write.
    pub(super) older_versions: &'a OlderVersions,
}

pub(super) struct Workers {
    pub(super) workers: Vec<(Worker, Sender<Command>)>,
    pub(super) reports: Receiver<Report>,
}

/// Makes the workers, their sources at the given positions.
pub(super) fn make_workers(
    shared: &Arc<Shared>,
    factories: Factories<'_>,
    sources: Vec<Vec<Box<dyn Source>>>,
    positions: &[PartitionPosition],
) -> Result<Workers, RunError> {
    let plan = &shared.plan;
    let stages = plan.operators.iter().map(|node| node.stage).max().unwrap_or(0);
    let (reporter, reports) = channel();
    let mut workers = Vec::new();
    for (mut sources, exchange) in sources.into_iter().zip(Exchange::connect(plan.workers, stages)) {
        for (source, node) in sources.iter_mut().zip(&plan.sources) {
            let own: Vec<_> = positions.iter().filter(|position| position.source == node.id).cloned().collect();
            source.seek(&own)?;
        }
        let tasks = plan.operators.iter().zip(factories.operators);
        let worker = exchange.worker();
        let tasks = tasks.map(|(node, factory)| make_task(shared, factories, worker, (node, factory)));
        let (commander, commands) = channel();
        let parts = WorkerParts {
            shared: Arc::clone(shared),
            sources,
            tasks: tasks.collect::<Result<_, _>>()?,
            exchange,
            commands,
            reports: reporter.clone(),
        };
        workers.push((Worker::new(parts), commander));
    }
    Ok(Workers { workers, reports })
}

fn make_task(
    shared: &Shared,
    factories: Factories<'_>,
    worker: usize,
    (node, factory): (&OperatorNode, &Arc<dyn OperatorFactory>),
) -> Result<Task, RunError> {
    let largest = |targets: &Vec<Target>| {
        let sinks = targets.iter().filter_map(|target| match target {
            Target::Sink(sink) => shared.sink_record_bytes_max.get(sink.at()).copied(),
            Target::Operator { .. } => None,
        });
        sinks.min().unwrap_or(usize::MAX)
    };
    let rules = CallRules {
        limits: node.limits.clone(),
        ports: node.descriptor.outputs.clone(),
        port_record_bytes_max: node.outputs.iter().map(largest).collect(),
        inputs: node.descriptor.inputs.iter().map(|input| input.name.clone()).collect(),
        input_kinds: node.descriptor.inputs.iter().map(|input| input.kind).collect(),
    };
    let entry = factories.catalog.operators.get(&node.id);
    let columns = node.descriptor.states.iter().filter_map(|descriptor| {
        let operator = entry?.number;
        let state = *entry?.states.get(&descriptor.name)?;
        Some(StateColumn { descriptor: descriptor.clone(), space: CellSpace { operator, state } })
    });
    let state = KeyedState::new(columns.collect(), Arc::clone(factories.state));
    let mut state = state.shared(Share::of(worker, shared.plan.workers));
    state.set_older_versions(factories.older_versions.get(&node.id));
    Ok(Task::new(node, Arc::clone(factory), Arc::new(rules), state)?)
}
