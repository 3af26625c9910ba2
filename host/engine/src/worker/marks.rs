//! Marks: where they are placed, how they go from operator to operator, and what is known of time between them.

use super::deliver::FIRST_WORKER;
use super::{Shared, Worker, WorkerError};
use crate::call::{Call, Mark};
use crate::exchange::{Load, Parcel};
use crate::time::{EdgeTime, Inputs, PartitionTimes, Route, Routes};
use millstream_model::commit::{CommitRecord, PartitionPosition};
use millstream_model::descriptor::{InputKind, TimerClock};
use millstream_model::ids::PartitionIndex;
use millstream_model::plan::{OperatorNode, OutputTime, Plan, SourceNode};
use millstream_model::record::RecordBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a worker knows of time.
pub(super) struct Marks {
    routes: Routes,
    /// By operator: whether a tick is news to it, or to one behind it.
    ticks: Vec<bool>,
    sources: Vec<SourceMarks>,
    /// By operator.
    inputs: Vec<Inputs>,
    /// By operator: set where its outputs say what time it is.
    emitted: Vec<Option<Emitted>>,
    /// Operators with timers that are due, in the order of the plan; their marks go on once nothing is left.
    firing: BTreeSet<usize>,
    /// The latest clock of this worker's polls.
    clock_ms: i64,
}

struct SourceMarks {
    /// `None` where nobody asks.
    times: Option<PartitionTimes>,
    /// What the last mark said, and its clock.
    said: Option<(EdgeTime, i64)>,
}

/// What an operator's outputs have said of time.
#[derive(Debug, Clone, Copy)]
struct Emitted {
    disorder_ms: u64,
    /// Highest timestamp emitted.
    max_ms: Option<i64>,
    /// What those behind it were told last.
    told: Option<EdgeTime>,
}

impl Emitted {
    fn new(OutputTime { disorder_ms }: OutputTime) -> Self {
        Self { disorder_ms, max_ms: None, told: None }
    }

    /// What those behind the operator are told, now that its inputs say this; and whether that is news.
    fn tell(&mut self, inputs: EdgeTime) -> (EdgeTime, bool) {
        let time =
            if inputs.has_ended() { inputs } else { EdgeTime::of(self.max_ms, self.disorder_ms, inputs.is_idle) };
        (time, self.told.replace(time) != Some(time))
    }
}

impl Marks {
    /// Of a worker in a plan; [`Worker::restore_time`] comes after.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            routes: Routes::new(plan),
            ticks: plan.leading_to(needs_ticks),
            sources: Vec::new(),
            inputs: Vec::new(),
            emitted: Vec::new(),
            firing: BTreeSet::new(),
            clock_ms: i64::MIN,
        }
    }

    /// Begins anew: nobody has said anything yet, and each operator is at its floor.
    fn begin(&mut self, plan: &Plan, shared: &Shared, workers: usize, floors: impl Fn(usize, &OperatorNode) -> Mark) {
        self.routes = Routes::new(plan);
        self.ticks = plan.leading_to(needs_ticks);
        self.emitted = plan.operators.iter().map(|node| node.output_time.map(Emitted::new)).collect();
        let needs_times = |at: usize, node: &SourceNode| {
            !self.routes.of_source(at).is_empty()
                || node.time.max_future_ms.is_some()
                || shared.event_times.get(at).is_some_and(Option::is_some)
        };
        let source = |(at, node): (usize, &SourceNode)| SourceMarks {
            times: needs_times(at, node).then(|| PartitionTimes::new(node.time.clone())),
            said: None,
        };
        let sources = plan.sources.iter().enumerate().map(source).collect();
        let inputs = plan.operators.iter().enumerate().map(|(at, node)| {
            let senders = |kind: &InputKind| if node.keyed || *kind == InputKind::Broadcast { workers } else { 1 };
            let senders: Vec<usize> = self.routes.edges(at).iter().map(senders).collect();
            Inputs::new(&senders, floors(at, node))
        });
        self.inputs = inputs.collect();
        self.sources = sources;
        // What was due at the cut and not fired yet is due now.
        let with_timers = plan.operators.iter().enumerate().filter(|(_, node)| !node.descriptor.timers.is_empty());
        self.firing = with_timers.map(|(at, _)| at).collect();
    }

    /// The highest timestamp of a partition and whether it is idle, where that is known here.
    pub(super) fn seen(&self, source: usize, partition: PartitionIndex) -> Option<(Option<i64>, bool)> {
        self.sources.get(source)?.times.as_ref()?.of(partition)
    }

    /// The watermark of each operator.
    pub(super) fn watermarks(&self) -> Vec<Option<i64>> {
        self.inputs.iter().map(|inputs| inputs.mark().watermark_ms).collect()
    }

    fn times(&mut self, source: usize) -> Option<&mut PartitionTimes> {
        self.sources.get_mut(source)?.times.as_mut()
    }
}

/// Timers of the wall clock fire at ticks, and outputs that say what time it is are looked at then.
fn needs_ticks(node: &OperatorNode) -> bool {
    node.output_time.is_some() || node.descriptor.timers.iter().any(|timer| timer.clock == TimerClock::Processing)
}

impl Worker {
    /// Begins anew behind a commit; the sources are where it says.
    pub(super) fn restore_time(&mut self, record: Option<&CommitRecord>) {
        let now_ms = record.map_or(i64::MIN, |record| record.committed_ms);
        let floor = |_, node: &OperatorNode| {
            let then = record.and_then(|record| record.operators.iter().find(|operator| operator.id == node.id));
            Mark { watermark_ms: then.and_then(|operator| operator.watermark_ms), now_ms }
        };
        self.marks.begin(&self.plan, &self.shared, self.exchange.workers(), floor);
        self.marks.clock_ms = self.marks.clock_ms.max(now_ms);
        self.restore_partitions(record.map_or(&[], |record| &record.positions));
    }

    /// Another version of an operator may need marks where the one before did not, or the other way round.
    pub(super) fn replan_time(&mut self) -> Result<(), WorkerError> {
        let ticks = self.plan.leading_to(needs_ticks);
        if Routes::new(&self.plan) == self.marks.routes && ticks == self.marks.ticks {
            return Ok(());
        }
        let positions = self.intake.positions(&self.plan, |at, partition| self.marks.seen(at, partition));
        let floors: Vec<Mark> = self.marks.inputs.iter().map(Inputs::mark).collect();
        let floor = |at: usize, _: &OperatorNode| floors.get(at).copied().unwrap_or_default();
        self.marks.begin(&self.plan, &self.shared, self.exchange.workers(), floor);
        self.restore_partitions(&positions);
        // Those that have ended are not polled any more.
        let now_ms = self.clock();
        for at in (0..self.plan.sources.len()).filter(|at| self.intake.has_source_ended(*at)).collect::<Vec<_>>() {
            self.look_for_idle(at);
            self.place_mark(at, now_ms)?;
        }
        Ok(())
    }

    fn restore_partitions(&mut self, positions: &[PartitionPosition]) {
        let plan = Arc::clone(&self.plan);
        let monotonic_ms = self.shared.clock.monotonic_ms();
        for (at, node) in plan.sources.iter().enumerate() {
            let own: Vec<_> = positions.iter().filter(|position| position.source == node.id).cloned().collect();
            if let (Some(times), Some(source)) = (self.marks.times(at), self.intake.source(at)) {
                times.restore(&own, source.progress(), monotonic_ms);
            }
        }
    }

    /// The wall clock, as far as it goes on.
    pub(super) fn clock(&mut self) -> i64 {
        self.marks.clock_ms = self.marks.clock_ms.max(self.shared.clock.now_ms());
        self.marks.clock_ms
    }

    /// Watermark and clock of a call of an operator with what is in hand.
    pub(super) fn mark_of(&mut self, at: usize) -> Mark {
        let now_ms = self.now_ms;
        self.marks.inputs.get_mut(at).map_or(Mark { watermark_ms: None, now_ms }, |inputs| {
            inputs.tick(now_ms);
            inputs.mark()
        })
    }

    /// Watermark and clock that the timers of an operator fire by.
    pub(super) fn timers_mark(&self, at: usize) -> Mark {
        self.marks.inputs.get(at).map(Inputs::mark).unwrap_or_default()
    }

    /// Whether some operator has timers that are due.
    pub(super) fn is_firing(&self) -> bool {
        !self.marks.firing.is_empty()
    }

    /// Whether this operator has timers that are due.
    pub(super) fn is_operator_firing(&self, at: usize) -> bool {
        self.marks.firing.contains(&at)
    }

    /// The first operator with timers that are due.
    pub(super) fn first_firing(&self) -> Option<usize> {
        self.marks.firing.first().copied()
    }

    /// Nothing of an operator is due any more: its mark goes on.
    pub(super) fn end_firing(&mut self, at: usize) -> Result<(), WorkerError> {
        self.marks.firing.remove(&at);
        self.forward_mark(at, true);
        self.tell_end(false)
    }

    /// Looks for partitions of a source that have become idle.
    pub(super) fn look_for_idle(&mut self, at: usize) {
        let now_ms = self.shared.clock.monotonic_ms();
        let has_ended = self.intake.has_source_ended(at);
        if let (Some(times), Some(source)) = (self.marks.times(at), self.intake.source(at)) {
            times.follow(source.progress(), has_ended, now_ms);
            times.look_for_idle(now_ms, |partition| source.is_at_end(partition));
        }
    }

    /// The highest timestamps of the partitions that a batch has records of, before these are counted.
    pub(super) fn highest_before(&self, source: usize, batch: &RecordBatch) -> BTreeMap<PartitionIndex, Option<i64>> {
        let mut before = BTreeMap::new();
        for run in batch.origins.chunk_by(|one, other| one.partition == other.partition) {
            if let Some(origin) = run.first()
                && let Some((max_ms, _)) = self.marks.seen(source, origin.partition)
            {
                before.insert(origin.partition, max_ms);
            }
        }
        before
    }

    /// Finds the timestamps of records just read, and counts them. Returns the rows that have none or one too far ahead, and why.
    pub(super) fn take_times(&mut self, at: usize, batch: &mut RecordBatch, now_ms: i64) -> Vec<(u32, String)> {
        let shared = Arc::clone(&self.shared);
        let mut refused = Vec::new();
        if let Some(event_time) = shared.event_times.get(at).and_then(Option::as_ref) {
            for row in 0..batch.len() as u32 {
                match event_time.of(batch, row) {
                    Ok(time_ms) => {
                        if let Some(place) = batch.timestamps_ms.get_mut(row as usize) {
                            *place = time_ms;
                        }
                    }
                    Err(reason) => refused.push((row, reason)),
                }
            }
        }
        let max_future_ms = self.plan.sources.get(at).and_then(|node| node.time.max_future_ms);
        if let Some(max_future_ms) = max_future_ms {
            refuse_future(batch, now_ms, max_future_ms, &mut refused);
        }
        let monotonic_ms = shared.clock.monotonic_ms();
        let has_ended = self.intake.is_at_last_batch(at);
        if let (Some(times), Some(source)) = (self.marks.times(at), self.intake.source(at)) {
            times.follow(source.progress(), has_ended, monotonic_ms);
            let without: Vec<u32> = refused.iter().map(|(row, _)| *row).collect();
            times.count(batch, &without);
        }
        refused
    }

    /// Places a mark behind what a source has given so far.
    pub(super) fn place_mark(&mut self, at: usize, now_ms: i64) -> Result<(), WorkerError> {
        let Some(source) = self.marks.sources.get_mut(at) else { return Ok(()) };
        let Some(times) = &source.times else { return Ok(()) };
        let time = times.time();
        let (is_news, ticks) = match source.said {
            Some((said, then_ms)) => (said != time, now_ms > then_ms),
            None => (true, true),
        };
        if !is_news && !ticks {
            return Ok(());
        }
        source.said = Some((time, now_ms));
        if is_news {
            let slowest = times.slowest();
            self.shared.board.times.tell_source(at, self.exchange.worker(), time, slowest);
        }
        for position in 0..self.marks.routes.of_source(at).len() {
            if let Some(&route) = self.marks.routes.of_source(at).get(position) {
                self.send_mark(route, time, now_ms, is_news);
            }
        }
        Ok(())
    }

    /// Sends a mark along an edge, the way that records take: to the operator on every worker if they come over the exchange.
    fn send_mark(&mut self, route: Route, time: EdgeTime, now_ms: i64, is_news: bool) {
        let at = usize::from(route.operator);
        if !is_news && !self.marks.ticks.get(at).copied().unwrap_or(false) {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let Some(node) = plan.operators.get(at) else { return };
        let own = self.exchange.worker();
        let parcel =
            || Parcel { operator: route.operator, now_ms, load: Load::Mark { edge: route.edge, sender: own, time } };
        if self.marks.routes.is_broadcast(route) {
            if own == FIRST_WORKER {
                self.take_mark(route, own, time, now_ms);
            } else {
                self.exchange.push(FIRST_WORKER, node.stage.saturating_sub(1), parcel());
            }
            return;
        }
        if node.keyed {
            for worker in (0..self.exchange.workers()).filter(|worker| *worker != own) {
                self.exchange.push(worker, node.stage, parcel());
            }
        }
        self.hear_mark(route, if node.keyed { own } else { 0 }, time, now_ms);
    }

    /// Takes a mark that has come; the first worker hands on what is to reach all, behind the records that it handed on before.
    pub(super) fn take_mark(&mut self, route: Route, sender: usize, time: EdgeTime, now_ms: i64) {
        let own = self.exchange.worker();
        if own == FIRST_WORKER && self.marks.routes.is_broadcast(route) {
            let stage = self.plan.operators.get(usize::from(route.operator)).map_or(0, |node| node.stage);
            for worker in (0..self.exchange.workers()).filter(|worker| *worker != own) {
                let load = Load::Mark { edge: route.edge, sender, time };
                self.exchange.push(worker, stage, Parcel { operator: route.operator, now_ms, load });
            }
        }
        self.hear_mark(route, sender, time, now_ms);
    }

    /// A mark has come to an operator: what is due by it fires, and then it goes on.
    fn hear_mark(&mut self, route: Route, sender: usize, time: EdgeTime, now_ms: i64) {
        let at = usize::from(route.operator);
        let Some(inputs) = self.marks.inputs.get_mut(at) else { return };
        let is_news = inputs.hear(usize::from(route.edge), sender, time);
        let ticks = inputs.tick(now_ms);
        let mark = inputs.mark();
        if is_news {
            self.shared.board.times.tell_operator(at, self.exchange.worker(), inputs.time());
        }
        if (!is_news && !ticks) || self.marks.firing.contains(&at) {
            return;
        }
        if self.tasks.get_mut(at).is_some_and(|task| task.has_due(mark)) {
            self.marks.firing.insert(at);
        } else {
            self.forward_mark(at, is_news);
        }
    }

    fn forward_mark(&mut self, at: usize, is_news: bool) {
        let Some(inputs) = self.marks.inputs.get_mut(at) else { return };
        let (time, now_ms) = (inputs.tell(), inputs.mark().now_ms);
        let own = self.marks.emitted.get_mut(at).and_then(Option::as_mut);
        let (time, is_news) = own.map_or((time, is_news), |emitted| emitted.tell(time));
        for position in 0..self.marks.routes.of_operator(at).len() {
            if let Some(&route) = self.marks.routes.of_operator(at).get(position) {
                self.send_mark(route, time, now_ms, is_news);
            }
        }
    }

    /// Counts the timestamps that an operator has emitted, if they say what time it is.
    pub(super) fn count_emitted(&mut self, at: usize, call: &Call) {
        let Some(emitted) = self.marks.emitted.get_mut(at).and_then(Option::as_mut) else { return };
        for output in call.staged.outputs() {
            let parents = output.parents.iter().filter_map(|row| call.batch.timestamps_ms.get(*row as usize)).max();
            let latest = output.timestamps_ms.as_ref().map_or(parents, |times_ms| times_ms.iter().max());
            emitted.max_ms = emitted.max_ms.max(latest.copied());
        }
    }

    /// Has sources that are too far ahead of the slowest one wait.
    pub(super) fn align_sources(&mut self) {
        for (at, node) in self.plan.sources.iter().enumerate() {
            let Some(align_ms) = node.time.align_ms else { continue };
            let said = self.marks.sources.get(at).and_then(|source| source.said);
            let own_ms = said.and_then(|(time, _)| time.watermark_ms);
            let is_ahead = own_ms.zip(self.shared.board.times.slowest_ms()).is_some_and(|(own_ms, slowest_ms)| {
                own_ms.saturating_sub(slowest_ms) > i64::try_from(align_ms).unwrap_or(i64::MAX)
            });
            self.intake.set_ahead(at, is_ahead);
        }
    }

    /// Partitions are made known before the first record of theirs can be refused somewhere.
    pub(super) fn make_known(&mut self, source: usize) {
        for progress in self.intake.take_unknown(source) {
            let id = self.plan.sources.get(source).map(|node| node.id.as_str()).unwrap_or_default();
            self.shared.places.insert(progress.index, id, progress.partition);
        }
    }
}

/// Refuses rows whose timestamp is further ahead of the clock than is allowed.
fn refuse_future(batch: &RecordBatch, now_ms: i64, max_future_ms: u64, refused: &mut Vec<(u32, String)>) {
    let latest_ms = now_ms.saturating_add_unsigned(max_future_ms);
    let is_early = |time_ms: &i64| *time_ms <= latest_ms;
    if batch.timestamps_ms.iter().all(is_early) {
        return;
    }
    for (row, time_ms) in (0u32..).zip(&batch.timestamps_ms) {
        if !is_early(time_ms) && !refused.iter().any(|(other, _)| *other == row) {
            let ahead_ms = time_ms.saturating_sub(now_ms);
            refused.push((row, format!("its timestamp {time_ms} is {ahead_ms} ms ahead of the wall clock, `max_future` allows {max_future_ms}")));
        }
    }
    refused.sort_unstable_by_key(|(row, _)| *row);
}
