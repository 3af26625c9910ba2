//! Whole runs in the world of the simulation: `run` with its workers, exchange and committer thread, started again whenever it ends before the end.

use crate::check::{Checker, SINKS};
use crate::model::{Act, Input, input, step};
use crate::notes::Notes;
use crate::process::SOURCE;
use crate::scenario::Scenario;
use crate::world::{TIMEOUT_MS, World};
use millstream_engine::call::{Call, OutputColumns};
use millstream_engine::commit::CommitterSettings;
use millstream_engine::fakes::{Chance, FakeClock, FakeOperator, FakeSource, Life};
use millstream_engine::ports::{
    CallError, CheckpointDone, CheckpointKind, CheckpointTaken, Checkpoints, OperatorFactory, Source,
};
use millstream_engine::run::{Board, Control, RunEnd, RunError, RunPorts, run as run_pipeline};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::commit::CommitRecord;
use millstream_model::descriptor::{Descriptor, InputDescriptor, StateDescriptor, StateKind};
use millstream_model::ids::{OperatorIndex, PartitionIndex, SinkIndex};
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
pub(crate) fn run(seed: u64) -> Result<Notes, String> {
    let mut chance = Chance::new(seed);
    let mut scenario = Scenario { has_rival: false, ..Scenario::new(&mut chance) };
    // Long enough for many epochs.
    scenario.ends.iter_mut().for_each(|end| *end *= 6);
    let world = World::with(seed, chance, scenario, None);
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
        if is_over {
            if !world.is_done() {
                return Err("the run came to its end before everything was committed".to_owned());
            }
            checker.check_end(&world)?;
            return Ok(world.notes());
        }
    }
    Err("the end was not reached, though nothing fails any more".to_owned())
}

/// Whether the pipeline is at its end.
fn run_once(world: &World) -> Result<bool, String> {
    let life = Life::default();
    let mut chance = Chance::new(world.chance(Chance::number));
    if !world.is_calm() && chance.happens(700) {
        life.ends_in(1 + chance.below(150));
    }
    let plan = Arc::new(plan(&mut chance));
    let (commit, _) = world.ports(0, &life).ok_or("there is no slot")?;
    let ports = RunPorts {
        operators: vec![Arc::new(FakeOperator::new(descriptor(), sum)) as Arc<dyn OperatorFactory>],
        sources: (0..WORKERS).map(|worker| vec![source(world, worker)]).collect(),
        commit,
        checkpoints: Box::new(NoCheckpoints),
        clock: Arc::new(world.clock.clone()),
        sink_record_bytes_max: vec![usize::MAX; SINKS.len()],
    };
    let settings = CommitterSettings {
        transaction_timeout_ms: TIMEOUT_MS,
        from_checkpoint: world.scenario.is_seeded && !world.has_commit(),
        ..CommitterSettings::default()
    };
    let control = Control::new(Board::new(&plan));
    if !world.is_calm() && chance.happens(100) {
        control.drain();
    }
    let ended = run_pipeline(Arc::clone(&plan), ports, world.identity(), settings, &control);
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

fn plan(chance: &mut Chance) -> Plan {
    let node = OperatorNode {
        id: "sum".to_owned(),
        config: "{}".to_owned(),
        name: "sum".to_owned(),
        digest: Default::default(),
        generation: Default::default(),
        descriptor: descriptor(),
        keyed: true,
        stage: 1,
        outputs: (0..).map(SinkIndex).map(Target::Sink).map(|target| vec![target]).take(SINKS.len()).collect(),
        limits: OperatorLimits::default(),
        on_error: ErrorPolicy::Stop,
        retries: 0,
        null_key: NullKeyPolicy::Reject,
    };
    let to_sum = Target::Operator { operator: OperatorIndex(0), input: 0 };
    Plan {
        id: "simulated".to_owned(),
        sources: vec![SourceNode { id: SOURCE.to_owned(), targets: vec![to_sum] }],
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

fn descriptor() -> Descriptor {
    let state = StateDescriptor::new("sum", StateKind::Value);
    Descriptor {
        inputs: vec![InputDescriptor::records("in")],
        outputs: SINKS.map(str::to_owned).to_vec(),
        states: vec![state],
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

fn parse(key: &[u8], value: &[u8]) -> Option<Input> {
    let &[act, amount] = value else { return None };
    let acts = [Act::Add, Act::AddAndTell, Act::Remove, Act::Pass];
    let act = acts.into_iter().find(|known| *known as u8 == act)?;
    Some(Input { key: key.to_vec(), amount: amount.into(), act })
}

/// The operator of the model, over a call.
fn sum(call: &mut Call) -> Result<(), CallError> {
    let mut values = BytesColumn::default();
    call.values(0, &mut values)?;
    let read = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let mut sums: Vec<Option<u64>> = values.iter().map(|value| value.and_then(read)).collect();
    let mut outputs = [(Vec::new(), BytesColumn::default()), (Vec::new(), BytesColumn::default())];
    let batch = Arc::clone(&call.batch);
    for ((row, key_row), (key, value)) in (0..).zip(&call.key_rows).zip(batch.keys.iter().zip(batch.values.iter())) {
        let input = key.zip(value).and_then(|(key, value)| parse(key, value));
        let (Some(input), Some(sum)) = (input, sums.get_mut(*key_row as usize)) else { continue };
        let (after, first, second) = step(&input, *sum);
        *sum = after;
        for ((parents, values), value) in outputs.iter_mut().zip([first, second]) {
            if let Some(value) = value {
                parents.push(row);
                values.push(Some(value.as_bytes()));
            }
        }
    }
    for (port, (parents, values)) in (0..).zip(&outputs) {
        let values = Some(lend(values));
        call.emit(OutputColumns { port, parents, keys: None, values, timestamps_ms: None, headers: None })?;
    }
    let bytes: Vec<_> = sums.iter().map(|sum| sum.map(u64::to_le_bytes)).collect();
    let new: BytesColumn = bytes.iter().map(|sum| sum.as_ref().map(<[u8; 8]>::as_slice)).collect();
    let rows: Vec<u32> = (0..sums.len() as u32).collect();
    call.put_values(0, &rows, lend(&new))?;
    Ok(())
}

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
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
