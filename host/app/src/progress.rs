use indicatif::{ProgressBar, ProgressStyle};
use millstream_engine::call::OwnMetric;
use millstream_engine::ports::{Clock, SystemClock};
use millstream_engine::run::Control;
use millstream_engine::run::board::CommitStatus;
use millstream_engine::run::times::OperatorTime;
use millstream_model::plan::Plan;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a pipeline is doing, at one moment.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) commit: CommitStatus,
    pub(crate) sources: BTreeMap<String, SourceStatus>,
    pub(crate) operators: BTreeMap<String, OperatorStatus>,
    pub(crate) sinks: BTreeMap<String, SinkStatus>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SourceStatus {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Records behind the ends of the logs, where these are known.
    pub(crate) lag: i64,
    /// Records refused for their timestamps.
    pub(crate) refused: u64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct OperatorStatus {
    pub(crate) records_in: u64,
    pub(crate) records_out: u64,
    /// Timers that came due.
    pub(crate) timers: u64,
    pub(crate) refused: u64,
    /// Records too late for all their windows.
    pub(crate) late: u64,
    pub(crate) dropped: u64,
    pub(crate) calls: u64,
    pub(crate) calls_failed: u64,
    pub(crate) migrated: u64,
    pub(crate) migrations_refused: u64,
    pub(crate) busy_ms: u64,
    pub(crate) state_bytes: u64,
    /// Where it is in event time; nothing of operators to which that makes no difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<OperatorTime>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metrics: BTreeMap<String, OwnMetric>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SinkStatus {
    pub(crate) records: u64,
}

impl Snapshot {
    pub(crate) fn of(plan: &Plan, control: &Control) -> Self {
        let board = control.board();
        let commit = board.status();
        let lag = |id: &str| {
            let own = commit.positions.iter().filter(|position| position.source == id && position.end >= 0);
            own.map(|position| (position.end - position.next).max(0)).sum()
        };
        let sources = plan.sources.iter().zip(&board.sources).map(|(node, counters)| {
            let status = SourceStatus {
                records: counters.records.get(),
                bytes: counters.bytes.get(),
                lag: lag(&node.id),
                refused: counters.refused.get(),
            };
            (node.id.clone(), status)
        });
        let times = board.times.operators(plan, SystemClock::default().now_ms());
        let operators = plan.operators.iter().zip(&board.operators).zip(times).map(|((node, counters), time)| {
            let status = OperatorStatus {
                records_in: counters.records_in.get(),
                records_out: counters.records_out.get(),
                timers: counters.timers.get(),
                refused: counters.refused.get(),
                late: counters.late.get(),
                dropped: counters.dropped.get(),
                calls: counters.calls.get(),
                calls_failed: counters.calls_failed.get(),
                migrated: counters.migrated.get(),
                migrations_refused: counters.migrations_refused.get(),
                busy_ms: counters.busy_ns.get() / 1_000_000,
                state_bytes: counters.state_bytes.load(Ordering::Relaxed),
                time,
                metrics: counters.own.values(),
            };
            (node.id.clone(), status)
        });
        let sinks = plan.sinks.iter().zip(&board.sinks);
        let sinks = sinks.map(|(node, counters)| (node.id.clone(), SinkStatus { records: counters.records.get() }));
        let (sources, operators, sinks) = (sources.collect(), operators.collect(), sinks.collect());
        Self { id: plan.id.clone(), commit, sources, operators, sinks }
    }

    pub(crate) fn records_in(&self) -> u64 {
        self.sources.values().map(|source| source.records).sum()
    }

    pub(crate) fn records_out(&self) -> u64 {
        self.sinks.values().map(|sink| sink.records).sum()
    }

    pub(crate) fn lag(&self) -> i64 {
        self.sources.values().map(|source| source.lag).sum()
    }
}

/// A line on the terminal that says how the run is doing; on anything else nothing.
pub(crate) struct ProgressLine {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ProgressLine {
    pub(crate) fn show(plan: &Arc<Plan>, control: &Arc<Control>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if !std::io::stderr().is_terminal() {
            return Self { done, thread: None };
        }
        let (plan, control, is_done) = (Arc::clone(plan), Arc::clone(control), Arc::clone(&done));
        let draw = move || draw(&plan, &control, &is_done);
        Self { thread: std::thread::Builder::new().name("progress".to_owned()).spawn(draw).ok(), done }
    }
}

#[expect(clippy::disallowed_methods, reason = "a picture for a person")]
fn draw(plan: &Plan, control: &Control, is_done: &AtomicBool) {
    const EVERY_MS: u64 = 500;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let mut before = 0;
    while !is_done.load(Ordering::Relaxed) {
        let now = Snapshot::of(plan, control);
        let per_second = now.records_in().saturating_sub(before) * 1_000 / EVERY_MS;
        before = now.records_in();
        bar.set_message(format!(
            "{:?}  {per_second} records/s  {} in  {} out  lag {}  {} commits, the last in {} ms",
            now.commit.phase,
            now.records_in(),
            now.records_out(),
            now.lag(),
            now.commit.commits,
            now.commit.duration_ms
        ));
        bar.tick();
        std::thread::sleep(Duration::from_millis(EVERY_MS));
    }
    bar.finish_and_clear();
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
