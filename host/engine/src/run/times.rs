//! Where a run is in event time, for people.

use crate::time::{EdgeTime, Slowest};
use millstream_model::plan::{Plan, Target};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What a run shows of event time: what each worker's part of each source says, and where each operator is. Told at marks that bring news.
#[derive(Debug)]
pub struct TimeBoard {
    /// By source, by worker.
    sources: Vec<Vec<Told<(EdgeTime, Option<Slowest>)>>>,
    /// By operator, by worker.
    operators: Vec<Vec<Told<EdgeTime>>>,
    marked: Vec<bool>,
    /// By operator: the sources that feed it, through others too.
    feeders: Vec<BTreeSet<usize>>,
}

/// What was told last, if anything was.
type Told<T> = Mutex<Option<T>>;

/// Where an operator is in event time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperatorTime {
    /// Its watermark, in milliseconds since 1970. `None` before the first; the highest number when every source has come to its end.
    pub watermark_ms: Option<i64>,
    /// How far that is behind the wall clock, in milliseconds.
    pub lag_ms: Option<i64>,
    /// What holds it back.
    pub held_back_by: Option<HeldBack>,
}

/// A partition that holds a watermark back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// Id of the source.
    pub source: String,
    /// Number of the partition.
    pub partition: i32,
    /// Its watermark, in milliseconds since 1970; `None` before its first record.
    pub watermark_ms: Option<i64>,
}

fn get<T: Copy>(told: &Told<T>) -> Option<T> {
    *told.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set<T>(told: Option<&Told<T>>, news: T) {
    if let Some(told) = told {
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
    }
}

impl TimeBoard {
    /// An empty board for a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            sources: plan.sources.iter().map(|_| (0..plan.workers).map(|_| Mutex::default()).collect()).collect(),
            operators: plan.operators.iter().map(|_| (0..plan.workers).map(|_| Mutex::default()).collect()).collect(),
            marked: plan.marked(),
            feeders: feeders(plan),
        }
    }

    /// A worker's part of a source has said something new.
    pub fn tell_source(&self, source: usize, worker: usize, time: EdgeTime, slowest: Option<Slowest>) {
        set(self.sources.get(source).and_then(|workers| workers.get(worker)), (time, slowest));
    }

    /// An operator on a worker has come to a new watermark, or has become idle.
    pub fn tell_operator(&self, operator: usize, worker: usize, time: EdgeTime) {
        set(self.operators.get(operator).and_then(|workers| workers.get(worker)), time);
    }

    /// The watermark of the slowest part of all sources of which something is expected.
    #[must_use]
    pub fn slowest_ms(&self) -> Option<i64> {
        let told = self.sources.iter().flatten().filter_map(get).filter(|(time, _)| !time.is_idle);
        told.filter_map(|(time, _)| time.watermark_ms).min()
    }

    /// Where each operator is; `None` for those that time makes no difference to.
    #[must_use]
    pub fn operators(&self, plan: &Plan, now_ms: i64) -> Vec<Option<OperatorTime>> {
        (0..plan.operators.len()).map(|at| self.operator(plan, at, now_ms)).collect()
    }

    fn operator(&self, plan: &Plan, at: usize, now_ms: i64) -> Option<OperatorTime> {
        if !self.marked.get(at).copied()? {
            return None;
        }
        let told = self.operators.get(at)?.iter().map(|told| get(told).unwrap_or_default());
        let watermark_ms = EdgeTime::of_all(told).watermark_ms;
        let parts = self.feeders.get(at)?.iter().flat_map(|source| {
            let parts = self.sources.get(*source).map_or(&[][..], Vec::as_slice);
            parts.iter().filter_map(get).filter_map(move |(_, slowest)| Some((*source, slowest?)))
        });
        let slowest = parts.min_by_key(|(_, slowest)| slowest.watermark_ms);
        Some(OperatorTime {
            watermark_ms,
            lag_ms: watermark_ms.map(|watermark_ms| now_ms.saturating_sub(watermark_ms).max(0)),
            held_back_by: slowest.and_then(|(source, slowest)| {
                let source = plan.sources.get(source)?.id.clone();
                Some(HeldBack { source, partition: slowest.partition, watermark_ms: slowest.watermark_ms })
            }),
        })
    }
}

fn feeders(plan: &Plan) -> Vec<BTreeSet<usize>> {
    let mut feeders: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); plan.operators.len()];
    let mut add = |targets: &mut dyn Iterator<Item = &Target>,
                   sources: &dyn Fn(&[BTreeSet<usize>]) -> BTreeSet<usize>| {
        let sources = sources(&feeders);
        for target in targets {
            if let Target::Operator { operator, .. } = target
                && let Some(own) = feeders.get_mut(operator.at())
            {
                own.extend(&sources);
            }
        }
    };
    for (at, node) in plan.sources.iter().enumerate() {
        add(&mut node.targets.iter(), &|_| BTreeSet::from([at]));
    }
    // An operator comes after all that feed it.
    for (at, node) in plan.operators.iter().enumerate() {
        add(&mut node.outputs.iter().flatten(), &|feeders| feeders.get(at).cloned().unwrap_or_default());
    }
    feeders
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::fakes::plans;

    #[test]
    fn an_operator_shows_its_watermark_and_the_partition_that_holds_it_back() {
        let plan = plans::two_sources_into_one(2);
        let board = TimeBoard::new(&plan);
        let at = |watermark_ms| EdgeTime { watermark_ms: Some(watermark_ms), is_idle: false };
        let slow = |partition, watermark_ms| Some(Slowest { partition, watermark_ms: Some(watermark_ms) });
        board.tell_source(0, 0, at(500), slow(4, 500));
        board.tell_source(0, 1, EdgeTime::NOBODY, None);
        board.tell_source(1, 0, at(300), slow(0, 300));
        board.tell_source(1, 1, at(400), slow(1, 400));
        board.tell_operator(0, 0, at(300));
        board.tell_operator(0, 1, at(250));
        assert_eq!(board.slowest_ms(), Some(300));
        let times = board.operators(&plan, 1_000);
        let held = HeldBack { source: "right".to_owned(), partition: 0, watermark_ms: Some(300) };
        let expected = OperatorTime { watermark_ms: Some(250), lag_ms: Some(750), held_back_by: Some(held) };
        assert_eq!(times[0].clone().unwrap(), expected);
    }
}
