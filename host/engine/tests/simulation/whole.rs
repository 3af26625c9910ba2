//! Whole runs in the world of the simulation: `run` with its workers, exchange and committer thread, started again whenever it ends before the end.

use crate::check::{Checker, SINKS};
use crate::model::input;
use crate::notes::Notes;
use crate::process::SOURCE;
use crate::scenario::Scenario;
use crate::swapping;
use crate::versions::Version;
use crate::world::{SEED_BYTES_MAX, TIMEOUT_MS, World};
use millstream_engine::commit::{CommitterSettings, Identity};
use millstream_engine::fakes::{Chance, FakeClock, FakeCommitsReader, FakeSource, Life};
use millstream_engine::ports::{
    CheckpointDone, CheckpointKind, CheckpointTaken, Checkpoints, OperatorFactory, RecordSizes, Source,
};
use millstream_engine::run::{Board, Control, RunEnd, RunError, RunPorts, run as run_pipeline};
use millstream_model::commit::CommitRecord;
use millstream_model::ids::{Generation, OperatorIndex, PartitionIndex, SinkIndex};
use millstream_model::limits::{BatchLimits, OperatorLimits};
use millstream_model::plan::{
    CommitSettings, ErrorPolicy, NullKeyPolicy, OperatorNode, Plan, SinkNode, SourceNode, Target,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs after which nothing fails any more, and runs that are enough to come to the end then.
const RUNS: u64 = 12;
const CALM_RUNS: u64 = 12;

const WORKERS: usize = 2;

/// Starts the pipeline again and again until it is at its end; tells what happened, or what was broken.
pub(crate) fn run(seed: u64, has_swaps: bool) -> Result<Notes, String> {
    let mut chance = Chance::new(seed);
    let mut scenario = Scenario { has_rival: false, ..Scenario::new(&mut chance) };
    // Long enough for many epochs.
    scenario.ends.iter_mut().for_each(|end| *end *= if has_swaps { 60 } else { 6 });
    let world = World::with(seed, chance, scenario, (None, has_swaps));
    let mut checker = Checker::new(&world);
    checker.is_whole_run = true;
    let _ticking = Ticking::start(&world.clock);
    for number in 0..RUNS + CALM_RUNS {
        if number == RUNS {
            world.calm();
        }
        world.between_runs(0);
        let is_over = run_once(&world)?;
        if world.is_torn() {
            checker.check_torn(&world)?;
            return Ok(world.notes());
        }
        world.broken()?;
        checker.check_stores(&world)?;
        swapping::check(&world, &world.commits())?;
        if is_over {
            if !world.is_done() {
                return Err("the run came to its end before everything was committed".to_owned());
            }
            checker.check_end(&world)?;
            let mut notes = world.notes();
            swapping::note(&world, &mut notes);
            return Ok(notes);
        }
    }
    Err("the end was not reached, though nothing fails any more".to_owned())
}

/// Whether the pipeline is at its end.
fn run_once(world: &World) -> Result<bool, String> {
    let life = Life::default();
    let mut chance = Chance::new(world.chance(Chance::number));
    if !world.is_calm() && chance.happens(700) {
        life.ends_in(1 + chance.below(if world.has_swaps { 1_000 } else { 150 }));
    }
    let (version, generation) = world.running();
    let plan = Arc::new(plan(&mut chance, version, generation));
    let (commit, _) = world.ports(0, &life).ok_or("there is no slot")?;
    let ports = RunPorts {
        operators: vec![Arc::new(version.factory()) as Arc<dyn OperatorFactory>],
        sources: (0..WORKERS).map(|worker| vec![source(world, worker)]).collect(),
        commit,
        checkpoints: Box::new(NoCheckpoints),
        clock: Arc::new(world.clock.clone()),
        event_times: Vec::new(),
        sizes: Arc::new(RecordSizes::any(SINKS.len())),
        commits: world.cluster.as_ref().map(|cluster| Box::new(FakeCommitsReader::new(cluster, &life)) as _),
    };
    let settings = CommitterSettings {
        transaction_timeout_ms: TIMEOUT_MS,
        from_checkpoint: world.scenario.is_seeded && !world.has_commit(),
        seed_bytes_max: SEED_BYTES_MAX,
        ..CommitterSettings::default()
    };
    let control = Control::new(Board::new(&plan));
    if !world.is_calm() && chance.happens(100) {
        control.drain();
    }
    let states = version.descriptor().states.into_iter().map(|state| state.name).collect();
    let identity = Identity { operators: vec![("sum".to_owned(), states)], ..world.identity() };
    let is_over = AtomicBool::new(false);
    let asking = Chance::new(chance.number());
    let ended = std::thread::scope(|scope| {
        if world.has_swaps {
            scope.spawn(|| swapping::ask(world, &control, &is_over, asking));
        }
        let ended = run_pipeline(Arc::clone(&plan), ports, identity, settings, &control);
        is_over.store(true, Ordering::Relaxed);
        ended
    });
    world.count("rolled back in a run", control.board().status().rollbacks);
    world.count("commits", control.board().status().commits);
    if life.is_over() {
        world.die(0);
        return Ok(false);
    }
    match ended {
        Ok(RunEnd::Finished | RunEnd::AlreadyFinished) => Ok(true),
        Ok(RunEnd::Drained) => Ok(false),
        Err(RunError::Commit(stop)) => {
            world.judge(&stop, None);
            Ok(false)
        }
        Err(error) => Err(format!("the run failed: {error}")),
    }
}

impl World {
    /// The version that a start runs: the one that is committed.
    fn running(&self) -> (Version, Generation) {
        let newest = self.newest().and_then(|newest| newest.operators.into_iter().next());
        let running = newest.and_then(|operator| Some((Version::of(&operator.digest)?, operator.generation)));
        running.unwrap_or((Version::FIRST, Generation(1)))
    }
}

fn plan(chance: &mut Chance, version: Version, generation: Generation) -> Plan {
    let node = OperatorNode {
        id: "sum".to_owned(),
        config: "{}".to_owned(),
        name: "sum".to_owned(),
        digest: version.digest(),
        generation,
        descriptor: version.descriptor(),
        keyed: true,
        stage: 1,
        outputs: (0..).map(SinkIndex).map(Target::Sink).map(|target| vec![target]).take(SINKS.len()).collect(),
        limits: OperatorLimits::default(),
        on_error: ErrorPolicy::Skip,
        retries: 0,
        null_key: NullKeyPolicy::Reject,
        output_time: None,
        windows: None,
        late: Vec::new(),
    };
    let to_sum = Target::Operator { operator: OperatorIndex(0), input: 0 };
    Plan {
        id: "simulated".to_owned(),
        sources: vec![SourceNode { id: SOURCE.to_owned(), targets: vec![to_sum], time: Default::default() }],
        operators: vec![node],
        sinks: SINKS.map(|id| SinkNode { id: id.to_owned() }).to_vec(),
        dead_letters: None,
        workers: WORKERS as u32,
        batch: BatchLimits { rows_max: 1 + chance.below(5) as usize, ..BatchLimits::default() },
        commit: CommitSettings {
            interval_ms: 1 + chance.below(10),
            transaction_timeout_ms: TIMEOUT_MS,
            ..CommitSettings::default()
        },
        checkpoint_interval_ms: None,
        // So little that clean state is evicted at once.
        state_memory_bytes: 1_000,
    }
}

/// Every second partition.
fn source(world: &World, worker: usize) -> Box<dyn Source> {
    let seed = world.seed;
    let all = world.scenario.ends.iter().zip(0..);
    let own = all.filter(|(_, partition)| *partition as usize % WORKERS == worker);
    let own: Vec<_> = own.map(|(end, partition)| (PartitionIndex(partition as u32), partition, *end)).collect();
    Box::new(FakeSource::new(&own, true, move |partition, offset| {
        let input = input(seed, partition as usize, offset);
        (Some(input.key), Some(vec![input.act as u8, input.amount as u8]), offset)
    }))
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
