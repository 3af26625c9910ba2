//! `make bench`: every measurement, one after the other. `BENCH_QUICK=1` shortens all, `BENCH_ONLY=growth,restart` leaves others out.

use std::time::Instant;

use anyhow::{Context as _, Result};
use millstream_bench::pipeline::Broker;
use millstream_bench::report::{Line, Report};
use millstream_bench::role::Role;
use millstream_bench::suite::{self, Effort};

// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    if let Some(role) = Role::given()? {
        return role.play();
    }
    let is_quick = std::env::var("BENCH_QUICK").is_ok_and(|quick| quick == "1");
    let effort = if is_quick { Effort::QUICK } else { Effort::FULL };
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let is_wanted = |name: &str| only.is_empty() || only.split(',').any(|wanted| wanted == name);
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("this program is not in a target directory")?;
    let mut report = Report::begin(&target.join("bench"))?;
    let began = Instant::now();
    if is_wanted("boundary") {
        suite::boundary(&mut report, effort)?;
    }
    if is_wanted("sandbox") {
        suite::sandbox(&mut report, effort)?;
    }
    if is_wanted("growth") {
        suite::growth(&mut report, effort)?;
    }
    if is_wanted("timers") {
        suite::timers(&mut report, effort)?;
    }
    if is_wanted("pipeline") || is_wanted("restart") {
        let broker = Broker::find()?;
        if is_wanted("pipeline") {
            suite::pipeline(&mut report, effort, &broker)?;
        }
        if is_wanted("restart") {
            suite::restart(&mut report, effort, &broker)?;
        }
    }
    let case = if is_quick { "quick: figures mean nothing" } else { "full" };
    report.add(Line::new("whole run", case).figure("seconds", began.elapsed().as_secs_f64()))
}
