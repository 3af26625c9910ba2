//! Windows kept by the host against sums made by hand.
//!
//! Where nothing is late, every window of every key is put out once, in the order of ends, whatever is cut, shared and lost. Where more is out of order than the watermark allows for, what
//! is late depends on where marks fall; but nothing is counted twice and nothing is lost: what a key's windows came to and its late records make up all there was.

use crate::model::Stream;
use crate::world::{TIMEOUT_MS, World, sources};
use millstream_engine::call::{Call, OutputColumns, WindowFiring};
use millstream_engine::fakes::{Chance, FakeOperator, Life, LogFaults, plans};
use millstream_engine::ports::{CallError, OperatorFactory};
use millstream_engine::run::{Board, Control, RunEnd, RunError};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{Descriptor, InputDescriptor, StateDescriptor, StateKind, WindowUse};
use millstream_model::ids::SinkIndex;
use millstream_model::limits::BatchLimits;
use millstream_model::plan::{CommitSettings, OperatorNode, Plan, SinkNode, Target};
use millstream_model::window::{WindowKind, Windowing};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Starts that may fail, and those that are enough then.
const RUNS: u64 = 5;
const CALM_RUNS: u64 = 5;

/// Values of a key in the order they were put out: beginning of the window, why it fired, its sum.
type Fired = BTreeMap<Vec<u8>, Vec<(i64, char, u64)>>;

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()).unwrap_or_default()
}

/// Adds up what the records of a window hold.
fn summing() -> FakeOperator {
    let descriptor = Descriptor {
        inputs: vec![InputDescriptor::records("in")],
        outputs: vec!["out".to_owned()],
        states: vec![StateDescriptor::new("sum", StateKind::Value)],
        windows: WindowUse::Unmergeable,
        ..Descriptor::default()
    };
    FakeOperator::new(descriptor, |call| if call.window.is_some() { put_out(call) } else { fold(call) })
}

fn fold(call: &mut Call) -> Result<(), CallError> {
    let mut before = BytesColumn::default();
    call.values(0, &mut before)?;
    let mut sums: Vec<u64> = before.iter().map(number).collect();
    for (key_row, value) in call.key_rows.iter().zip(call.batch.values.iter()) {
        if let Some(sum) = sums.get_mut(*key_row as usize) {
            *sum += number(value);
        }
    }
    let texts: Vec<String> = sums.iter().map(u64::to_string).collect();
    let column: BytesColumn = texts.iter().map(|text| Some(text.as_bytes())).collect();
    let rows: Vec<u32> = (0..sums.len() as u32).collect();
    Ok(call.put_values(0, &rows, lend(&column))?)
}

fn put_out(call: &mut Call) -> Result<(), CallError> {
    let mut sums = BytesColumn::default();
    call.values(0, &mut sums)?;
    let windows = call.window.clone().ok_or_else(|| CallError::Stop("no windows".to_owned()))?;
    let why = match windows.firing {
        WindowFiring::Early => 'e',
        WindowFiring::OnTime => 'o',
        WindowFiring::Late => 'l',
    };
    let is_over = |end_ms: &i64| call.mark.watermark_ms.is_some_and(|watermark_ms| *end_ms <= watermark_ms);
    if windows.ends_ms.iter().any(|end_ms| is_over(end_ms) == (why == 'e')) {
        return Err(CallError::Stop(format!("{windows:?} at {:?}", call.mark)));
    }
    let text = |(start_ms, sum): (&i64, Option<&[u8]>)| format!("{start_ms} {why} {}", number(sum));
    let texts: Vec<String> = windows.starts_ms.iter().zip(sums.iter()).map(text).collect();
    let values: BytesColumn = texts.iter().map(|text| Some(text.as_bytes())).collect();
    let parents: Vec<u32> = (0..texts.len() as u32).collect();
    let output = OutputColumns {
        port: 0,
        parents: &parents,
        keys: None,
        values: Some(lend(&values)),
        timestamps_ms: None,
        headers: None,
    };
    Ok(call.emit(output)?)
}

/// What a seed decides that must be the same in every start.
struct Setting {
    stream: Stream,
    windowing: Windowing,
    /// What the watermark allows for.
    disorder_ms: u64,
}

impl Setting {
    fn new(seed: u64, chance: &mut Chance, is_late: bool) -> Self {
        let stream = Stream::new(seed, chance);
        let size_ms = 10 + chance.below(90);
        let offset_ms = chance.below(200) as i64 - 100;
        let kind = if chance.happens(500) {
            WindowKind::Tumbling { size_ms, offset_ms }
        } else {
            // Some leave gaps.
            WindowKind::Sliding { size_ms, slide_ms: 5 + chance.below(120), offset_ms }
        };
        let kind = if is_late { WindowKind::Tumbling { size_ms, offset_ms } } else { kind };
        let lateness_ms = if chance.happens(500) { chance.below(150) } else { 0 };
        let early_ms = (is_late && chance.happens(500)).then(|| 1 + chance.below(20));
        let disorder_ms = if is_late { stream.disorder_ms / 3 } else { stream.disorder_ms };
        Self { stream, windowing: Windowing { kind, lateness_ms, early_ms }, disorder_ms }
    }

    fn plan(&self, operator: &FakeOperator, chance: &mut Chance) -> Plan {
        let node = plans::operator("sum", 1, true, vec![Target::Sink(SinkIndex(0))]);
        let node = OperatorNode {
            descriptor: self.windowing.describe(operator.descriptor().clone()),
            windows: Some(self.windowing),
            late: vec![Target::Sink(SinkIndex(2))],
            ..node
        };
        let mut source = plans::source("stream", &[0]);
        source.time.disorder_ms = self.disorder_ms;
        source.time.idle_after_ms = None;
        let workers = [1, 2, 4].get(chance.below(3) as usize).copied().unwrap_or(1);
        let mut plan = plans::plan(vec![source], vec![node], workers);
        plan.sinks.push(SinkNode { id: "late".to_owned() });
        plan.batch = BatchLimits { rows_max: 1 << chance.below(13), ..BatchLimits::default() };
        plan.commit = CommitSettings {
            interval_ms: 1 + chance.below(30),
            transaction_timeout_ms: TIMEOUT_MS,
            ..CommitSettings::default()
        };
        plan.state_memory_bytes = 1_000 << chance.below(10);
        plan
    }

    /// Sums by key and beginning of the window, found by looking at every window for every record.
    fn sums(&self) -> BTreeMap<Vec<u8>, BTreeMap<i64, u64>> {
        let (size_ms, slide_ms, offset_ms) = match self.windowing.kind {
            WindowKind::Tumbling { size_ms, offset_ms } => (size_ms as i64, size_ms as i64, offset_ms),
            WindowKind::Sliding { size_ms, slide_ms, offset_ms } => (size_ms as i64, slide_ms as i64, offset_ms),
        };
        let mut sums: BTreeMap<Vec<u8>, BTreeMap<i64, u64>> = BTreeMap::new();
        for (partition, end) in (0..).zip(&self.stream.ends) {
            for offset in 0..*end {
                let input = self.stream.input(partition, offset);
                for number in -500..=1_500 {
                    let start_ms = offset_ms + number * slide_ms;
                    if (start_ms..start_ms + size_ms).contains(&input.time_ms) {
                        *sums.entry(input.key.clone()).or_default().entry(start_ms).or_default() += input.amount;
                    }
                }
            }
        }
        sums
    }
}

/// Runs until the end is reached; tells how many epochs were lost.
fn run_through(seed: u64, is_late: bool) -> Result<(World, Setting, u64), String> {
    let mut world = World::new(seed);
    let setting = Setting::new(seed, &mut world.chance, is_late);
    let mut rollbacks = 0;
    for start in 0..RUNS + CALM_RUNS {
        if start == RUNS {
            world.cluster.set_faults(LogFaults::default());
        }
        let life = Life::default();
        if start < RUNS && world.chance.happens(600) {
            life.ends_in(1 + world.chance.below(400));
        }
        let operator = summing();
        let plan = Arc::new(setting.plan(&operator, &mut world.chance));
        let control = Control::new(Board::new(&plan));
        let sources = sources(&setting.stream, plan.workers as usize, true);
        let ended = world.start(&life, &plan, &[operator], sources, &control);
        rollbacks += control.board().status().rollbacks;
        if life.is_over() {
            continue;
        }
        match ended {
            Ok(RunEnd::Finished | RunEnd::AlreadyFinished) => return Ok((world, setting, rollbacks)),
            Ok(RunEnd::Drained) => return Err("nobody asked it to drain".to_owned()),
            Err(RunError::Commit(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("the end was not reached, though nothing fails any more".to_owned())
}

fn fired(world: &World) -> Result<Fired, String> {
    let mut fired = Fired::new();
    for (key, value) in world.committed(0) {
        let parts: Vec<&str> = value.split(' ').collect();
        let [start, why, sum] = parts[..] else { return Err(format!("{value:?} was put out")) };
        let one = (start.parse().ok(), why.chars().next(), sum.parse().ok());
        let (Some(start), Some(why), Some(sum)) = one else { return Err(format!("{value:?} was put out")) };
        fired.entry(key).or_default().push((start, why, sum));
    }
    Ok(fired)
}

/// A seed in which nothing is late.
pub(crate) fn run_on_time(seed: u64) -> Result<u64, String> {
    let (world, setting, rollbacks) = run_through(seed, false)?;
    let on_time = |sums: BTreeMap<i64, u64>| sums.into_iter().map(|(start_ms, sum)| (start_ms, 'o', sum)).collect();
    let expected: Fired = setting.sums().into_iter().map(|(key, sums)| (key, on_time(sums))).collect();
    let found = fired(&world)?;
    for (key, windows) in &expected {
        if found.get(key) != Some(windows) {
            return Err(format!("{key:?} has {:?}, and {windows:?} was due ({:?})", found.get(key), setting.windowing));
        }
    }
    if found.len() != expected.len() || !world.committed(1).is_empty() || !world.committed(2).is_empty() {
        return Err("there is more than was due".to_owned());
    }
    world.check_no_state("sum")?;
    Ok(rollbacks)
}

/// A seed in which the watermark allows for less than there is.
pub(crate) fn run_late(seed: u64) -> Result<u64, String> {
    let (world, setting, rollbacks) = run_through(seed, true)?;
    let mut late: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (key, amount) in world.committed(2) {
        *late.entry(key).or_default() += number(Some(amount.as_bytes()));
    }
    let mut found = fired(&world)?;
    for (key, sums) in setting.sums() {
        let mut came_to = late.remove(&key).unwrap_or_default();
        let mut by_window: BTreeMap<i64, Vec<(char, u64)>> = BTreeMap::new();
        for (start_ms, why, sum) in found.remove(&key).unwrap_or_default() {
            by_window.entry(start_ms).or_default().push((why, sum));
        }
        for (start_ms, firings) in by_window {
            let all = *sums.get(&start_ms).ok_or_else(|| format!("{key:?} has no window at {start_ms}"))?;
            let early = firings.iter().take_while(|(why, _)| *why == 'e').count();
            let (_, rest) = firings.split_at(early);
            let is_good = rest.first().is_some_and(|(why, _)| *why == 'o')
                && rest.iter().skip(1).all(|(why, _)| *why == 'l')
                && firings.is_sorted_by_key(|(_, sum)| *sum)
                && firings.iter().all(|(_, sum)| *sum <= all);
            if !is_good {
                return Err(format!("{key:?} at {start_ms} of {all}: {firings:?} ({:?})", setting.windowing));
            }
            came_to += firings.last().map_or(0, |(_, sum)| *sum);
        }
        let all: u64 = sums.values().sum();
        if came_to != all {
            return Err(format!("{key:?} came to {came_to} of {all} ({:?})", setting.windowing));
        }
    }
    if !found.is_empty() || !late.is_empty() {
        return Err(format!("there is more than was due: {found:?}, {late:?}"));
    }
    world.check_no_state("sum")?;
    Ok(rollbacks)
}
