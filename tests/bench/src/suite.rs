//! Which measurements there are, and what they are compared with.

use anyhow::Result;

use crate::bare::{Records, fill};
use crate::boundary::Boundary;
use crate::job::{Job, Taken};
use crate::operators::{Place, Work};
use crate::pipeline::{Broker, PARTITIONS, copy_bare, copy_through};
use crate::report::{Line, Reach, Report, share_of};
use crate::restart::{Killed, Left, NEWS, Restart};
use crate::role::{Role, apart};
use crate::stream::{Stream, Values};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Records of a measurement inside a process: enough for many commits.
    pub records: u64,
    /// Records of a topic, of 100 bytes.
    pub topic_records: u64,
    /// The largest number of keys.
    pub keys_max: u64,
    /// Keys of the pipeline that is restarted with much state.
    pub restart_keys: u64,
    /// How often each pipeline is restarted.
    pub restarts: u32,
    /// How often what is compared is measured; each time one after the other, so that all see the same machine.
    pub rounds: u32,
}

impl Effort {
    /// What figures are taken from.
    pub const FULL: Self = Self {
        records: 16_000_000,
        topic_records: 12_000_000,
        keys_max: 10_000_000,
        restart_keys: 1_000_000,
        restarts: 10,
        rounds: 3,
    };
    /// Whether everything works.
    pub const QUICK: Self = Self {
        records: 300_000,
        topic_records: 300_000,
        keys_max: 100_000,
        restart_keys: 50_000,
        restarts: 2,
        rounds: 1,
    };
}

/// `state.memory`, by default.
const MEMORY_BYTES: u64 = 256 << 20;

/// `state.memory` in MiB.
const MEMORY_MIB: f64 = (MEMORY_BYTES >> 20) as f64;

/// The longest a restart with little state may take, in seconds.
const RESTART_S_MAX: f64 = 3.0;

/// What two ways of doing the same took, in rounds.
#[derive(Default)]
struct Beside {
    base: Vec<Taken>,
    ours: Vec<Taken>,
}

impl Beside {
    /// How much of the base's speed is ours: of all rounds together, and of each.
    fn ratios(&self) -> (f64, Vec<f64>) {
        let ratio = |ours: &Taken, base: &Taken| ours.per_cpu_s() / base.per_cpu_s();
        let rounds = self.ours.iter().zip(&self.base).map(|(ours, base)| ratio(ours, base)).collect();
        (ratio(&sum(&self.ours), &sum(&self.base)), rounds)
    }

    /// Two lines: the base, and what of it is reached.
    fn report(&self, report: &mut Report, bench: &str, cases: (&str, &str), (name, least): (&str, f64)) -> Result<()> {
        report.add(line(bench, cases.0, &sum(&self.base)))?;
        let (ratio, rounds) = self.ratios();
        let line = line(bench, cases.1, &sum(&self.ours)).reaching(name, ratio, Reach::AtLeast(least));
        let worst = share_of(&rounds, 0.0);
        report.add(line.figure(&format!("{name}_worst_round"), worst))
    }
}

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
        .figure("wall_s", taken.wall_s)
        .figure("rss_mib", taken.peak_rss_mib)
}

/// What a call costs.
///
/// # Errors
/// If it does not work.
pub fn boundary(report: &mut Report, effort: Effort) -> Result<()> {
    for rows in [64, 256, 512, 4_096] {
        let records = effort.records as usize / 4;
        let call = |place| apart(&Role::Boundary(Boundary { place, rows, records }));
        let (native, wasm) = (call(Place::Native)?, call(Place::Wasm)?);
        let line = Line::new("boundary", &format!("identity, batch {rows}"));
        let line = match rows {
            512 => line.reaching("ns_per_record", wasm.ns_per_record(), Reach::AtMost(100.0)),
            _ => line.figure("ns_per_record", wasm.ns_per_record()),
        };
        let line = line.figure("native_ns_per_record", native.ns_per_record());
        let line = line.figure("over_native", wasm.ns_per_record() / native.ns_per_record());
        report.add(line.figure("records_per_cpu_s", wasm.per_cpu_s()).figure("rss_mib", wasm.peak_rss_mib))?;
    }
    Ok(())
}

/// The pipeline against the bare loop.
///
/// # Errors
/// If it does not work.
pub fn pipeline(report: &mut Report, effort: Effort, broker: &Broker) -> Result<()> {
    let records = effort.topic_records;
    for (case, value_bytes, records) in [("100 B", 100, records), ("1 KB", 1_000, records / 6)] {
        let input = broker.topic(&format!("in-{value_bytes}"))?;
        let spec = Records { count: records, keys: 10_000, in_order: false, value_bytes };
        fill(broker.address(), &input, PARTITIONS, &spec)?;
        let mut beside = Beside::default();
        for _ in 0..effort.rounds {
            beside.base.push(copy_bare(broker, &input, records)?);
            beside.ours.push(copy_through(broker, &input, records)?);
        }
        broker.remove(&input)?;
        let cases = (format!("bare loop, {case}"), format!("identity, {case}"));
        beside.report(report, "pipeline", (&cases.0, &cases.1), ("of_bare_loop", 0.8))?;
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
        let run = |place| apart(&Role::Job(Job { work, place, stream, memory_bytes: MEMORY_BYTES }));
        let mut beside = Beside::default();
        for _ in 0..effort.rounds {
            beside.base.push(run(Place::Native)?);
            beside.ours.push(run(Place::Wasm)?);
        }
        let cases = (format!("{case}, native"), format!("{case}, wasm"));
        beside.report(report, "sandbox", (&cases.0, &cases.1), ("of_native", least))?;
    }
    Ok(())
}

/// The keyed count with more and more keys, in rounds.
///
/// # Errors
/// If it does not work.
pub fn growth(report: &mut Report, effort: Effort) -> Result<()> {
    let mut cases: Vec<(u64, Vec<Taken>)> =
        (3..=7).map(|power| (10_u64.pow(power), Vec::new())).filter(|(keys, _)| *keys <= effort.keys_max).collect();
    for _ in 0..effort.rounds {
        for (keys, taken) in &mut cases {
            let stream = Stream { keys: *keys, records: effort.records, values: Values::Bytes };
            let job = Job { work: Work::Count, place: Place::Wasm, stream, memory_bytes: MEMORY_BYTES };
            taken.push(apart(&Role::Job(job))?);
        }
    }
    let few = cases.first().map(|(_, taken)| sum(taken));
    for (keys, rounds) in &cases {
        let (taken, few) = (sum(rounds), few.unwrap_or_else(|| sum(rounds)));
        let times: Vec<f64> = rounds.iter().map(Taken::ns_per_record).collect();
        let line = line("growth", &format!("keyed count, {keys} keys"), &taken);
        let line = line.figure("ns_per_record", taken.ns_per_record());
        let line = line.figure("ns_per_record_best", share_of(&times, 0.0));
        let line = line.figure("ns_per_record_worst", share_of(&times, 1.0));
        let line = line.reaching("of_1000_keys", taken.ns_per_record() / few.ns_per_record(), Reach::AtMost(2.5));
        // The whole process against the budget of the state in it; and what the keys add to a process that has few.
        let line = line.figure("state_memory_mib", MEMORY_MIB);
        let line = line.figure("rss_of_budget", taken.peak_rss_mib / MEMORY_MIB);
        let added_mib = taken.peak_rss_mib - few.peak_rss_mib;
        report.add(line.reaching("rss_over_1000_keys_mib", added_mib, Reach::AtMost(MEMORY_MIB)))?;
    }
    Ok(())
}

/// Timers, with more and more of them pending: each record sets one and lets one fire.
///
/// # Errors
/// If it does not work.
pub fn timers(report: &mut Report, effort: Effort) -> Result<()> {
    let mut few: Option<Taken> = None;
    for keys in (4..=7).map(|power| 10_u64.pow(power)).filter(|keys| *keys <= effort.keys_max) {
        // Those that are left at the end fire as well.
        let stream = Stream { keys, records: effort.records / 4, values: Values::Bytes };
        let job = Job { work: Work::Remind, place: Place::Wasm, stream, memory_bytes: MEMORY_BYTES };
        let taken = apart(&Role::Job(job))?;
        let taken = Taken { records: stream.records + keys, ..taken };
        let base = *few.get_or_insert(taken);
        let line = Line::new("timers", &format!("set and fired, {keys} pending"));
        let line = line.figure("fired_per_cpu_s", taken.per_cpu_s()).figure("cpu_s", taken.cpu_s);
        let line = line.figure("rss_mib", taken.peak_rss_mib);
        let line = line.reaching("of_10000_pending", taken.ns_per_record() / base.ns_per_record(), Reach::AtMost(2.5));
        let added_mib = taken.peak_rss_mib - base.peak_rss_mib;
        report.add(line.reaching("rss_over_10000_pending_mib", added_mib, Reach::AtMost(MEMORY_MIB)))?;
    }
    Ok(())
}

/// From start to first commit.
///
/// # Errors
/// If it does not work.
pub fn restart(report: &mut Report, effort: Effort, broker: &Broker) -> Result<()> {
    for keys in [1_000, effort.restart_keys] {
        let killed = Killed::new(broker, keys)?;
        for (case, left) in [("state kept", Left::State), ("from the changelog", Left::Nothing)] {
            let restarts: Vec<Restart> = (0..effort.restarts).map(|_| killed.restart(left)).collect::<Result<_>>()?;
            let seconds: Vec<f64> = restarts.iter().map(|restart| restart.seconds).collect();
            let line = Line::new("restart", &format!("{keys} keys, {case}")).spread("seconds_to_commit", &seconds);
            let line = match (keys, left) {
                (1_000, Left::State) => {
                    line.reaching("worst_seconds", share_of(&seconds, 1.0), Reach::AtMost(RESTART_S_MAX))
                }
                _ => line,
            };
            // What it reads until then: its news, and a cell for each key where the store is gone.
            let records = NEWS + if left == Left::Nothing { keys } else { 0 };
            let cpu_s = restarts.iter().map(|restart| restart.cpu_s).sum::<f64>() / f64::from(effort.restarts);
            let rss_mib = restarts.iter().map(|restart| restart.peak_rss_mib).fold(0.0, f64::max);
            let line = line.figure("cpu_s", cpu_s).figure("records_per_cpu_s", records as f64 / cpu_s.max(1e-9));
            report.add(line.figure("rss_mib", rss_mib))?;
        }
        killed.remove()?;
    }
    Ok(())
}
