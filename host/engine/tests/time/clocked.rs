//! Timers of the wall clock: how often each fires is certain, when is not.

use crate::model::Stream;
use crate::operators;
use crate::world::{World, sources};
use millstream_engine::fakes::{Life, LogFaults, plans};
use millstream_engine::ports::OperatorFactory;
use millstream_engine::run::{Board, Control, RunEnd, RunError};
use millstream_model::ids::SinkIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::plan::{CommitSettings, OperatorNode, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often each key is told of.
const ROUNDS: u64 = 3;

/// How long to wait for what has to come, at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a seed; tells how many epochs were lost, or what is not as it should be.
pub(crate) fn run(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed);
    let stream = Stream::new(seed, &mut world.chance);
    let keys: BTreeSet<Vec<u8>> = (0..)
        .zip(&stream.ends)
        .flat_map(|(partition, end)| (0..*end).map(move |offset| (partition, offset)))
        .map(|(partition, offset)| stream.input(partition, offset).key)
        .collect();
    let due = keys.len() * ROUNDS as usize;
    let mut rollbacks = 0;
    for number in 0..6 {
        let is_calm = number >= 3;
        if is_calm {
            world.cluster.set_faults(LogFaults::default());
        }
        let life = Life::default();
        if !is_calm && world.chance.happens(700) {
            life.ends_in(1 + world.chance.below(300));
        }
        let operator = operators::clocked(ROUNDS, 1 + world.chance.below(20) as i64);
        let descriptor = operator.descriptor().clone();
        let node = plans::operator("clocked", 1, true, vec![Target::Sink(SinkIndex(0))]);
        let workers = [1, 2, 4].get(world.chance.below(3) as usize).copied().unwrap_or(1);
        let source = plans::source("stream", &[0]);
        let mut plan = plans::plan(vec![source], vec![OperatorNode { descriptor, ..node }], workers);
        plan.batch = BatchLimits { rows_max: 1 << world.chance.below(13), ..BatchLimits::default() };
        plan.commit = CommitSettings { interval_ms: 1 + world.chance.below(20), ..CommitSettings::default() };
        plan.sinks.push(millstream_model::plan::SinkNode { id: "unused".to_owned() });
        let plan = Arc::new(plan);
        let control = Control::new(Board::new(&plan));
        let sources = sources(&stream, workers as usize, false);
        let ended = std::thread::scope(|scope| {
            let running = scope.spawn(|| world.start(&life, &plan, &[operator], sources, &control));
            let begun = Instant::now();
            while !running.is_finished() && world.committed(0).len() < due && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
            }
            control.drain();
            running.join().map_err(|_| "the run panicked".to_owned())
        })?;
        rollbacks += control.board().status().rollbacks;
        if life.is_over() {
            continue;
        }
        match ended {
            Ok(RunEnd::Drained) if world.committed(0).len() >= due => return check(&world, &keys).map(|()| rollbacks),
            Ok(_) if is_calm => return Err(format!("{} of {due} were told in time", world.committed(0).len())),
            Ok(_) | Err(RunError::Commit(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("it never came to its end, though nothing fails any more".to_owned())
}

fn check(world: &World, keys: &BTreeSet<Vec<u8>>) -> Result<(), String> {
    let mut told: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    for (key, value) in world.committed(0) {
        told.entry(key).or_default().push(value);
    }
    let expected: Vec<String> = (1..=ROUNDS).map(|round| format!("told {round}")).collect();
    match told.iter().find(|(_, values)| **values != expected) {
        Some((key, values)) => Err(format!("key {:?} was told of by {values:?}", String::from_utf8_lossy(key))),
        None if told.len() == keys.len() => Ok(()),
        None => Err(format!("{} of {} keys were told of", told.len(), keys.len())),
    }
}
