use super::{Control, RunError};
use crate::call::{CallRules, SizeLimits};
use crate::exchange::{Exchange, INBOX_BYTES_MAX};
use crate::keyed::StateColumn;
use crate::ports::{Clock, EventTime, OpenError, OperatorFactory, Source, StateBackend};
use crate::swap::plan::{OlderVersions, older_at_start};
use crate::task::{Task, TaskParts};
use crate::timers::{TimerColumns, check_vanished};
use crate::worker::{Command, Lineup, Report, Shared, Worker, WorkerParts};
use millstream_model::cell::CellSpace;
use millstream_model::commit::{Catalog, CatalogEntry, CommitRecord};
use millstream_model::plan::{OperatorNode, Plan, Target};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// By source.
type EventTimes = Vec<Option<Arc<dyn EventTime>>>;

pub(super) fn share(
    plan: &Arc<Plan>,
    control: &Control,
    clock: &Arc<dyn Clock>,
    (sizes, topics, event_times): (&Arc<SizeLimits>, BTreeMap<String, String>, EventTimes),
) -> Arc<Shared> {
    Arc::new(Shared {
        board: Arc::clone(control.board()),
        paused: Arc::clone(control.paused()),
        clock: Arc::clone(clock),
        sizes: Arc::clone(sizes),
        topics,
        event_times,
        output_bytes: Default::default(),
        dirty_bytes: (0..plan.workers).map(|_| Default::default()).collect(),
        spare: Mutex::default(),
        places: Arc::default(),
    })
}

/// Makes what tasks are made of.
pub(super) struct PartsMaker {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<dyn StateBackend>,
}

impl PartsMaker {
    /// Those of one operator. `entry`: its numbers in cell keys.
    pub(super) fn parts(
        &self,
        (at, node): (usize, &OperatorNode),
        factory: &Arc<dyn OperatorFactory>,
        entry: Option<&CatalogEntry>,
        older_versions: OlderVersions,
    ) -> TaskParts {
        let shared = &self.shared;
        let sinks = |targets: &Vec<Target>| {
            let sinks = targets.iter().filter_map(|target| match target {
                Target::Sink(sink) => Some(*sink),
                Target::Operator { .. } => None,
            });
            sinks.collect()
        };
        let rules = CallRules {
            limits: node.limits.clone(),
            ports: node.descriptor.outputs.clone(),
            port_sinks: node.outputs.iter().map(sinks).collect(),
            sizes: Arc::clone(&shared.sizes),
            inputs: node.descriptor.inputs.iter().map(|input| input.name.clone()).collect(),
            timers: if node.windows.is_some() { 0 } else { node.descriptor.timers.len() },
            is_windowed: node.windows.is_some(),
            input_kinds: node.descriptor.inputs.iter().map(|input| input.kind).collect(),
            metrics: shared.board.operators.get(at).map(|counters| Arc::clone(&counters.own)).unwrap_or_default(),
            places: Arc::clone(&shared.places),
        };
        let columns = node.descriptor.states.iter().filter_map(|descriptor| {
            let operator = entry?.number;
            let state = *entry?.states.get(&descriptor.name)?;
            Some(StateColumn { descriptor: descriptor.clone(), space: CellSpace { operator, state } })
        });
        TaskParts {
            node: node.clone(),
            factory: Arc::clone(factory),
            rules: Arc::new(rules),
            columns: columns.collect(),
            timers: TimerColumns::new(&node.descriptor.timers, entry),
            older_versions,
            store: Arc::clone(&self.store),
        }
    }

    /// The lineup that a run begins with, behind the newest commit.
    pub(super) fn first(
        &self,
        plan: &Arc<Plan>,
        factories: &[Arc<dyn OperatorFactory>],
        catalog: &Catalog,
        newest: Option<&CommitRecord>,
    ) -> Lineup {
        let older_versions = newest.map(|newest| older_at_start(newest, plan)).unwrap_or_default();
        let operators = plan.operators.iter().zip(factories).enumerate();
        let operators = operators.map(|(at, (node, factory))| {
            let older = older_versions.get(&node.id).cloned().unwrap_or_default();
            Arc::new(self.parts((at, node), factory, catalog.operators.get(&node.id), older))
        });
        Lineup { operators: operators.collect(), plan: Arc::clone(plan), older_versions }
    }
}

pub(super) struct Workers {
    pub(super) workers: Vec<(Worker, Sender<Command>)>,
    pub(super) reports: Receiver<Report>,
}

/// Pending timers that no version declares any more would never fire.
pub(super) fn check_timers(lineup: &Lineup, catalog: &Catalog) -> Result<(), RunError> {
    for parts in &lineup.operators {
        if let Some(entry) = catalog.operators.get(&parts.node.id) {
            check_vanished(&parts.node.descriptor.timers, entry, parts.store.as_ref())
                .map_err(|reason| OpenError { operator: parts.node.id.clone(), reason })?;
        }
    }
    Ok(())
}

/// Makes the workers, their sources where a commit says.
pub(super) fn make_workers(
    shared: &Arc<Shared>,
    lineup: &Lineup,
    sources: Vec<Vec<Box<dyn Source>>>,
    committed: Option<&CommitRecord>,
) -> Result<Workers, RunError> {
    let plan = &lineup.plan;
    let stages = plan.operators.iter().map(|node| node.stage).max().unwrap_or(0);
    let (reporter, reports) = channel();
    let mut workers = Vec::new();
    let positions = committed.map_or(&[][..], |record| &record.positions);
    for (mut sources, exchange) in sources.into_iter().zip(Exchange::connect(plan.workers, stages, INBOX_BYTES_MAX)) {
        for (source, node) in sources.iter_mut().zip(&plan.sources) {
            let own: Vec<_> = positions.iter().filter(|position| position.source == node.id).cloned().collect();
            source.seek(&own)?;
        }
        let tasks = lineup.operators.iter().map(|parts| Task::new(parts));
        let (commander, commands) = channel();
        let parts = WorkerParts {
            shared: Arc::clone(shared),
            plan: Arc::clone(plan),
            sources,
            committed: committed.cloned(),
            tasks: tasks.collect::<Result<_, _>>()?,
            exchange,
            commands,
            reports: reporter.clone(),
        };
        workers.push((Worker::new(parts), commander));
    }
    Ok(Workers { workers, reports })
}
