//! Which measurements there are, and what they are compared with.

use anyhow::Result;

use crate::bare::{Records, fill};
use crate::boundary::identity_ns;
use crate::job::{Job, Taken};
use crate::operators::{Place, Work};
use crate::pipeline::{Broker, PARTITIONS, copy_bare, copy_through};
use crate::report::{Line, Reach, Report};
use crate::restart::restarts;
use crate::role::run_apart;
use crate::stream::{Stream, Values};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Records of a measurement, roughly.
    pub records: u64,
    /// The largest number of keys.
    pub keys_max: u64,
    /// Keys of the pipeline that is restarted.
    pub restart_keys: u64,
    /// How often what is compared is measured; each time one after the other, so that both see the same machine.
    pub rounds: u32,
}

impl Effort {
    /// What figures are taken from.
    pub const FULL: Self = Self { records: 3_000_000, keys_max: 10_000_000, restart_keys: 1_000_000, rounds: 2 };
    /// Whether everything works.
    pub const QUICK: Self = Self { records: 300_000, keys_max: 100_000, restart_keys: 50_000, rounds: 1 };
}

/// `state.memory`, by default.
const MEMORY_BYTES: u64 = 256 << 20;

/// What the process takes beside its state: code, the sandbox, batches under way.
const FIXED_MIB: f64 = 128.0;

/// Takes all of a kind together.
fn sum(all: &[Taken]) -> Taken {
    Taken {
        records: all.iter().map(|taken| taken.records).sum(),
        cpu_s: all.iter().map(|taken| taken.cpu_s).sum(),
        wall_s: all.iter().map(|taken| taken.wall_s).sum(),
        peak_rss_mib: all.iter().map(|taken| taken.peak_rss_mib).fold(0.0, f64::max),
    }
}

fn line(bench: &str, case: &str, taken: &Taken) -> Line {
    Line::new(bench, case)
        .figure("records_per_cpu_s", taken.per_cpu_s())
        .figure("cpu_s", taken.cpu_s)
        .figure("rss_mib", taken.peak_rss_mib)
}

/// What a call costs.
///
/// # Errors
/// If it does not work.
pub fn boundary(report: &mut Report, effort: Effort) -> Result<()> {
    for rows in [64, 256, 512, 4_096] {
        let records = effort.records as usize;
        let native = identity_ns(Place::Native, rows, records)?;
        let wasm = identity_ns(Place::Wasm, rows, records)?;
        let line = Line::new("boundary", &format!("identity, batch {rows}"));
        let line = match rows {
            512 => line.reaching("ns_per_record", wasm, Reach::AtMost(100.0)),
            _ => line.figure("ns_per_record", wasm),
        };
        report.add(line.figure("native_ns_per_record", native).figure("over_native", wasm / native))?;
    }
    Ok(())
}

/// The pipeline against the bare loop.
///
/// # Errors
/// If it does not work.
pub fn pipeline(report: &mut Report, effort: Effort, broker: &Broker) -> Result<()> {
    for (case, value_bytes, records) in [("100 B", 100, effort.records), ("1 KB", 1_000, effort.records / 5)] {
        let input = broker.topic(&format!("in-{value_bytes}"))?;
        let spec = Records { count: records, keys: 10_000, in_order: false, value_bytes };
        fill(broker.address(), &input, PARTITIONS, &spec)?;
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            bare.push(copy_bare(broker, &input, records)?);
            ours.push(copy_through(broker, &input, records)?);
        }
        broker.remove(&input)?;
        let (bare, ours) = (sum(&bare), sum(&ours));
        report.add(line("pipeline", &format!("bare loop, {case}"), &bare))?;
        let ratio = ours.per_cpu_s() / bare.per_cpu_s();
        let ours = line("pipeline", &format!("identity, {case}"), &ours);
        report.add(ours.reaching("of_bare_loop", ratio, Reach::AtLeast(0.8)))?;
    }
    Ok(())
}

/// Operators in the sandbox against the same ones in the host.
///
/// # Errors
/// If it does not work.
pub fn sandbox(report: &mut Report, effort: Effort) -> Result<()> {
    let cases =
        [("keyed count", Work::Count, Values::Bytes, 0.8), ("JSON filter", Work::JsonFilter, Values::Json, 0.6)];
    for (case, work, values, least) in cases {
        let stream = Stream { keys: 10_000, records: effort.records, values };
        let run = |place| run_apart(Job { work, place, stream, memory_bytes: MEMORY_BYTES });
        let (mut native, mut wasm) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            native.push(run(Place::Native)?);
            wasm.push(run(Place::Wasm)?);
        }
        let (native, wasm) = (sum(&native), sum(&wasm));
        report.add(line("sandbox", &format!("{case}, native"), &native))?;
        let ratio = wasm.per_cpu_s() / native.per_cpu_s();
        report.add(line("sandbox", &format!("{case}, wasm"), &wasm).reaching(
            "of_native",
            ratio,
            Reach::AtLeast(least),
        ))?;
    }
    Ok(())
}

/// The keyed count with more and more keys.
///
/// # Errors
/// If it does not work.
pub fn growth(report: &mut Report, effort: Effort) -> Result<()> {
    let mut least = None;
    for keys in (3..=7).map(|power| 10_u64.pow(power)).filter(|keys| *keys <= effort.keys_max) {
        let stream = Stream { keys, records: effort.records, values: Values::Bytes };
        let taken = run_apart(Job { work: Work::Count, place: Place::Wasm, stream, memory_bytes: MEMORY_BYTES })?;
        let least = *least.get_or_insert(taken.ns_per_record());
        let line = line("growth", &format!("keyed count, {keys} keys"), &taken);
        let line = line.figure("ns_per_record", taken.ns_per_record());
        let line = line.reaching("of_1000_keys", taken.ns_per_record() / least, Reach::AtMost(2.5));
        let budget_mib = MEMORY_BYTES as f64 / f64::from(1 << 20);
        let line = line.figure("state_memory_mib", budget_mib);
        report.add(line.reaching("rss_over_fixed", taken.peak_rss_mib - FIXED_MIB, Reach::AtMost(budget_mib)))?;
    }
    Ok(())
}

/// From start to first commit.
///
/// # Errors
/// If it does not work.
pub fn restart(report: &mut Report, effort: Effort, broker: &Broker) -> Result<()> {
    let none = restarts(broker, 1_000)?;
    let some = restarts(broker, effort.restart_keys)?;
    let keys = effort.restart_keys;
    let cases = [("state kept", none.kept_s, some.kept_s), ("from the changelog", none.restored_s, some.restored_s)];
    for (case, few_s, many_s) in cases {
        let line = Line::new("restart", &format!("{keys} keys, {case}"));
        let line = line.figure("seconds_to_commit", many_s).figure("with_1000_keys", few_s);
        report.add(line.figure("over_1000_keys", many_s / few_s))?;
    }
    Ok(())
}
