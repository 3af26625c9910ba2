#![expect(unsafe_code, reason = "clocks of processes and threads have no safe wrapper in the standard library")]
//! What a process takes of its machine, as Linux counts it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Time on a processor and memory of a process, at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// When.
    pub at: Instant,
    /// User and system time of all its threads.
    pub cpu: Duration,
}

impl Usage {
    /// Of a process.
    ///
    /// # Errors
    /// If it is gone.
    pub fn of(process: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if fields.trim_start().starts_with('Z') {
            bail!("the process has ended");
        }
        // Fields 14 and 15 of proc(5), in hundredths of a second.
        let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0));
        Ok(Self { at: Instant::now(), cpu: Duration::from_millis(10 * ticks.sum::<u64>()) })
    }

    /// Of this process.
    #[must_use]
    pub fn own() -> Self {
        Self { at: Instant::now(), cpu: clock(libc::CLOCK_PROCESS_CPUTIME_ID) }
    }

    /// Time on a processor since an earlier moment, in seconds.
    #[must_use]
    pub fn cpu_s_since(&self, earlier: &Self) -> f64 {
        self.cpu.saturating_sub(earlier.cpu).as_secs_f64()
    }

    /// Time since an earlier moment, in seconds.
    #[must_use]
    pub fn wall_s_since(&self, earlier: &Self) -> f64 {
        self.at.saturating_duration_since(earlier.at).as_secs_f64()
    }
}

/// Time the calling thread has spent on a processor.
#[must_use]
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the time it is given a place for, or nothing.
    unsafe { libc::clock_gettime(id, &mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Most memory a process ever had, in MiB.
///
/// # Errors
/// If it is gone.
pub fn peak_rss_mib(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    Ok(kib.unwrap_or(0.0) / 1024.0)
}
