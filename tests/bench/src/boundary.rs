//! What one call costs per record: key rows, the operator, merging of state; no ends, no routing.

use std::sync::Arc;

use anyhow::{Result, bail};
use millstream_engine::call::{CallRules, Mark};
use millstream_engine::keyed::KeyedState;
use millstream_engine::task::{Attempt, Task};
use millstream_model::record::{Origin, RecordBatch};

use crate::operators::{Place, Work, node, operator};
use crate::stream::{Chance, write_key};
use crate::usage::thread_cpu;

/// Calls per look at the clock.
const ROUND: usize = 64;

/// Nanoseconds of processor time per record of identity with batches of so many rows: the least of several rounds, since whatever disturbs only adds.
///
/// # Errors
/// If the operator does not work.
pub fn identity_ns(place: Place, rows: usize, records: usize) -> Result<f64> {
    let factory = operator(Work::Identity, place)?;
    let node = node(factory.as_ref());
    let rules = CallRules {
        limits: node.limits.clone(),
        ports: node.descriptor.outputs.clone(),
        port_record_bytes_max: vec![usize::MAX; node.descriptor.outputs.len()],
        inputs: node.descriptor.inputs.iter().map(|input| input.name.clone()).collect(),
        ..CallRules::default()
    };
    let mut task = Task::new(&node, factory, Arc::new(rules), KeyedState::default())?;
    let batches: Vec<_> = (0..8).map(|seed| batch(rows, seed)).collect();
    let mut best = f64::INFINITY;
    let rounds = (records / rows / ROUND).max(4);
    for round in 0..rounds {
        let before = thread_cpu();
        for batch in batches.iter().cycle().take(ROUND) {
            if let Attempt::Failed(error) = task.attempt(0, batch, Mark::default(), false) {
                bail!("identity failed: {error}");
            }
        }
        let ns = thread_cpu().saturating_sub(before).as_nanos() as f64 / (ROUND * rows) as f64;
        // The first rounds warm caches up.
        if round >= rounds / 4 {
            best = best.min(ns);
        }
    }
    Ok(best)
}

fn batch(rows: usize, seed: u64) -> Arc<RecordBatch> {
    let mut batch = RecordBatch::default();
    let mut chance = Chance(seed + 1);
    let mut key = *b"k00000000";
    for row in 0..rows {
        write_key(&mut key, chance.below(1_000_000));
        batch.push(Some(&key), Some(&[b'v'; 100]), row as i64, Origin { offset: row as i64, ..Origin::default() });
    }
    Arc::new(batch)
}
