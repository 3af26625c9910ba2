//! What one call costs per record: key rows, the operator, merging of state; no ends, no routing.

use std::sync::Arc;

use anyhow::{Result, bail};
use millstream_engine::call::{CallRules, Mark};
use millstream_engine::fakes::{FakeState, Life};
use millstream_engine::task::{Attempt, Task, TaskParts};
use millstream_model::record::{Origin, RecordBatch};
use serde::{Deserialize, Serialize};

use crate::job::Taken;
use crate::operators::{Place, Work, node, operator};
use crate::stream::{Chance, write_key};
use crate::usage::{peak_rss_mib, thread_cpu};

/// Calls per look at the clock.
const ROUND: usize = 64;

/// Calls of identity.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Boundary {
    /// Where it is done.
    pub place: Place,
    /// Records of a call.
    pub rows: usize,
    /// Records of all calls, nearly.
    pub records: usize,
}

/// What a round of calls takes: the least of several rounds, since whatever disturbs only adds.
///
/// # Errors
/// If the operator does not work.
pub fn call(boundary: &Boundary) -> Result<Taken> {
    let Boundary { place, rows, records } = *boundary;
    let factory = operator(Work::Identity, place, 0)?;
    let node = node(factory.as_ref());
    let rules = CallRules {
        limits: node.limits.clone(),
        ports: node.descriptor.outputs.clone(),
        inputs: node.descriptor.inputs.iter().map(|input| input.name.clone()).collect(),
        ..CallRules::default()
    };
    let mut task = Task::new(&Arc::new(TaskParts {
        node,
        factory,
        rules: Arc::new(rules),
        columns: Vec::new(),
        timers: Default::default(),
        older_versions: Default::default(),
        // Identity has no state: nothing is ever read.
        store: Arc::new(FakeState::new(&Arc::default(), &Life::default())),
    }))?;
    let batches: Vec<_> = (0..8).map(|seed| batch(rows, seed)).collect();
    let mut best_s = f64::INFINITY;
    let rounds = (records / rows / ROUND).max(4);
    for round in 0..rounds {
        let before = thread_cpu();
        for batch in batches.iter().cycle().take(ROUND) {
            if let Attempt::Failed(error) = task.attempt(0, batch, Mark::default(), false) {
                bail!("identity failed: {error}");
            }
        }
        let took_s = thread_cpu().saturating_sub(before).as_secs_f64();
        // The first rounds warm caches up.
        if round >= rounds / 4 {
            best_s = best_s.min(took_s);
        }
    }
    let records = (ROUND * rows) as u64;
    Ok(Taken { records, cpu_s: best_s, wall_s: best_s, peak_rss_mib: peak_rss_mib(std::process::id())? })
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
