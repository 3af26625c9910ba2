//! Whole runs over a cluster that fails, started again until the stream is at its end.

use crate::model::{Expected, Outputs, Stream};
use crate::operators;
use millstream_engine::commit::{CommitPorts, CommitterSettings, Identity, SinkPort};
use millstream_engine::fakes::{
    Chance, FakeClock, FakeCluster, FakeCommitsReader, FakeDisk, FakeLog, FakeOperator, FakeSource, FakeState, Life,
    LogFaults, Topic, plans,
};
use millstream_engine::ports::{
    CheckpointDone, CheckpointKind, CheckpointTaken, Checkpoints, OperatorFactory, RecordSizes, Source, StateBackend,
};
use millstream_engine::run::{Board, Control, RunEnd, RunError, RunPorts, run as run_pipeline};
use millstream_model::commit::{CommitRecord, TopicIdentity};
use millstream_model::ids::{Lineage, OperatorIndex, PartitionIndex, SinkIndex};
use millstream_model::limits::BatchLimits;
use millstream_model::plan::{CommitSettings, OperatorNode, Plan, SinkNode, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const TIMEOUT_MS: u64 = 15_000;

/// Starts until nothing fails any more, and those that are enough then.
const RUNS: u64 = 6;
const CALM_RUNS: u64 = 6;

/// What outlives a process.
pub(crate) struct World {
    pub(crate) clock: FakeClock,
    pub(crate) cluster: Arc<FakeCluster>,
    disk: Arc<FakeDisk>,
    pub(crate) chance: Chance,
    _ticking: Ticking,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let clock = FakeClock::default();
        let cluster = Arc::new(FakeCluster::new(chance.number(), &clock, 3, TIMEOUT_MS));
        let one_of = |chance: &mut Chance, of: &[u32]| chance.pick(of).copied().unwrap_or_default();
        cluster.set_faults(LogFaults {
            delivery: one_of(&mut chance, &[0, 2, 10]),
            end_lost: one_of(&mut chance, &[0, 50, 300]),
            answer_lost: one_of(&mut chance, &[0, 50, 300]),
            vague: one_of(&mut chance, &[0, 50]),
            ..LogFaults::default()
        });
        let ticking = Ticking::start(&clock);
        Self { clock, cluster, disk: Arc::default(), chance, _ticking: ticking }
    }

    /// One process of the pipeline, from its start to its end.
    pub(crate) fn start(
        &self,
        life: &Life,
        plan: &Arc<Plan>,
        operators: &[FakeOperator],
        sources: Vec<Box<dyn Source>>,
        control: &Control,
    ) -> Result<RunEnd, RunError> {
        let state: Arc<dyn StateBackend> = Arc::new(FakeState::new(&self.disk, life));
        let commit = CommitPorts {
            log: Some(Box::new(FakeLog::new(&self.cluster, life))),
            state,
            sinks: plan.sinks.iter().map(|_| SinkPort::Log).collect(),
            clock: Arc::new(self.clock.clone()),
        };
        let ports = RunPorts {
            operators: operators
                .iter()
                .map(|operator| Arc::new(operator.clone()) as Arc<dyn OperatorFactory>)
                .collect(),
            sources: sources.into_iter().map(|source| vec![source]).collect(),
            commit,
            checkpoints: Box::new(NoCheckpoints),
            clock: Arc::new(self.clock.clone()),
            event_times: Vec::new(),
            sizes: Arc::new(RecordSizes::any(plan.sinks.len())),
            commits: Some(Box::new(FakeCommitsReader::new(&self.cluster, life))),
        };
        let settings = CommitterSettings { transaction_timeout_ms: TIMEOUT_MS, ..CommitterSettings::default() };
        run_pipeline(Arc::clone(plan), ports, identity(plan), settings, control)
    }

    /// Nothing is left in the store of keys that have nothing to wait for any more.
    pub(crate) fn check_no_state(&self, what: &str) -> Result<(), String> {
        match self.disk.cells().len() {
            0 => Ok(()),
            cells => Err(format!("{cells} cells of `{what}` are left behind")),
        }
    }

    /// Keys and values that a reader of committed records finds in a sink's topic.
    pub(crate) fn committed(&self, sink: usize) -> Vec<(Vec<u8>, String)> {
        let entries = self.cluster.committed(Topic::Sink(sink)).into_iter();
        let text = |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        entries.map(|entry| (entry.key.unwrap_or_default(), text(entry.value))).collect()
    }
}

fn identity(plan: &Plan) -> Identity {
    let topic = TopicIdentity { name: "stream".to_owned(), id: "T".to_owned(), partitions: 1 };
    let cells = plan.operators.iter().map(|node| (node.id.clone(), node.descriptor.cells_names()));
    Identity {
        id: plan.id.clone(),
        host: "host".to_owned(),
        pid: 1,
        cluster_id: "cluster".to_owned(),
        topics: BTreeMap::from([("stream".to_owned(), topic)]),
        changelog: 0,
        digests: BTreeMap::new(),
        planned_after: None,
        operators: cells.filter(|(_, names)| !names.is_empty()).collect(),
        sink_ids: plan.sinks.iter().map(|sink| sink.id.clone()).collect(),
        sink_ends: BTreeMap::new(),
        fresh_lineage: Lineage([3; 16]),
    }
}

/// Each worker's share of the partitions.
pub(crate) fn sources(stream: &Stream, workers: usize, is_bounded: bool) -> Vec<Box<dyn Source>> {
    let source = |worker: usize| {
        let all = stream.ends.iter().zip(0..).filter(|(_, partition)| *partition as usize % workers == worker);
        let own: Vec<_> = all.map(|(end, partition)| (PartitionIndex(partition as u32), partition, *end)).collect();
        let stream = stream.clone();
        Box::new(FakeSource::new(&own, is_bounded, move |partition, offset| {
            let input = stream.input(partition, offset);
            (Some(input.key), Some(input.amount.to_string().into_bytes()), input.time_ms)
        })) as Box<dyn Source>
    };
    (0..workers).map(source).collect()
}

fn node(id: &str, stage: u32, operator: &FakeOperator, targets: Vec<Target>) -> OperatorNode {
    let descriptor = operator.descriptor().clone();
    let keyed = descriptor.is_keyed();
    OperatorNode { descriptor, ..plans::operator(id, stage, keyed, targets) }
}

/// The stream, the first operator, its outputs rekeyed, the second operator.
fn plan(stream: &Stream, operators: &[FakeOperator; 3], chance: &mut Chance) -> Plan {
    let to = |operator| Target::Operator { operator: OperatorIndex(operator), input: 0 };
    let sink = |at| Target::Sink(SinkIndex(at));
    let [first, rekey, second] = operators;
    let nodes = vec![
        node("first", 1, first, vec![sink(0), to(1)]),
        node("rekey", 1, rekey, vec![to(2)]),
        node("second", 2, second, vec![sink(2)]),
    ];
    let workers = [1, 2, 4].get(chance.below(3) as usize).copied().unwrap_or(1);
    let mut source = plans::source("stream", &[0]);
    source.time.disorder_ms = stream.disorder_ms;
    source.time.idle_after_ms = None;
    let mut plan = plans::plan(vec![source], nodes, workers);
    plan.sinks.push(SinkNode { id: "second".to_owned() });
    plan.batch = BatchLimits { rows_max: 1 << chance.below(13), ..BatchLimits::default() };
    plan.commit = CommitSettings {
        interval_ms: 1 + chance.below(30),
        transaction_timeout_ms: TIMEOUT_MS,
        ..CommitSettings::default()
    };
    plan.state_memory_bytes = 1_000 << chance.below(10);
    plan
}

/// Runs a seed; tells how many epochs were lost, or what is not as it should be.
pub(crate) fn run(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed);
    let stream = Stream::new(seed, &mut world.chance);
    let mut rollbacks = 0;
    for number in 0..RUNS + CALM_RUNS {
        if number == RUNS {
            world.cluster.set_faults(LogFaults::default());
        }
        let life = Life::default();
        if number < RUNS && world.chance.happens(600) {
            life.ends_in(1 + world.chance.below(400));
        }
        let operators = [operators::first(), operators::rekey(), operators::second()];
        let plan = Arc::new(plan(&stream, &operators, &mut world.chance));
        let control = Control::new(Board::new(&plan));
        let sources = sources(&stream, plan.workers as usize, true);
        let ended = world.start(&life, &plan, &operators, sources, &control);
        rollbacks += control.board().status().rollbacks;
        if life.is_over() {
            continue;
        }
        match ended {
            Ok(RunEnd::Finished | RunEnd::AlreadyFinished) => {
                check(&world, &stream)?;
                return Ok(rollbacks);
            }
            Ok(RunEnd::Drained) => return Err("nobody asked it to drain".to_owned()),
            Err(RunError::Commit(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("the end was not reached, though nothing fails any more".to_owned())
}

fn check(world: &World, stream: &Stream) -> Result<(), String> {
    let expected = Expected::of(stream);
    let mut found = Expected::default();
    let mut first = Outputs::new();
    for (key, value) in world.committed(0) {
        let kind = value.chars().next().unwrap_or(' ');
        first.entry((key, kind)).or_default().push(value);
    }
    found.first = first;
    for (key, value) in world.committed(2) {
        let (wide, count) = value.split_once(' ').ok_or("a value of the second operator")?;
        let place = (key, wide.parse().map_err(|_| "a bucket")?);
        if found.second.insert(place.clone(), count.parse().map_err(|_| "a count")?).is_some() {
            return Err(format!("the second operator tells of {place:?} twice: something came late"));
        }
    }
    let letters = world.cluster.committed(Topic::Sink(1)).len();
    if letters != expected.letters.len() {
        return Err(format!("{letters} dead letters where {} were due", expected.letters.len()));
    }
    for (place, values) in &expected.first {
        let found = found.first.get(place);
        if found != Some(values) {
            return Err(format!("{place:?} has {found:?}, and {values:?} was due"));
        }
    }
    if found.first.len() != expected.first.len() {
        return Err("there is more than was due".to_owned());
    }
    if found.second != expected.second {
        return Err(format!("the second operator has {:?}, and {:?} was due", found.second, expected.second));
    }
    Ok(())
}

struct NoCheckpoints;

impl Checkpoints for NoCheckpoints {
    fn take(&mut self, _: &CommitRecord, _: CheckpointKind, done: CheckpointDone) {
        done(Ok(CheckpointTaken { location: "nowhere".to_owned(), bytes: 0 }));
    }
}

/// Lets the clock go on by itself, faster than it should, until dropped.
struct Ticking {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticking {
    fn start(clock: &FakeClock) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (clock, stop) = (clock.clone(), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(200));
                clock.advance(1);
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}
