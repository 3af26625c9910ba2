//! Measurements that need a process of their own: this program starts itself again and is told what to be.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use millstream_e2e::Process;
use serde::{Deserialize, Serialize};

use crate::bare::{Copy, copy_forever};
use crate::boundary::{self, Boundary};
use crate::job::{Job, Taken, run_job};

/// Holds the role, as JSON.
const VARIABLE: &str = "MILLSTREAM_BENCH_ROLE";

/// Longest time a job may take.
const JOB_TIME_MAX: Duration = Duration::from_secs(600);

/// What a process of this program is, if it is not the one that measures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Role {
    /// Runs a job and tells what it took.
    Job(Job),
    /// Copies a topic until it is killed.
    Copy(Copy),
    /// Makes calls and tells what they took.
    Boundary(Boundary),
}

impl Role {
    /// The role this process was given.
    ///
    /// # Errors
    /// If it is none that there is.
    pub fn given() -> Result<Option<Self>> {
        std::env::var(VARIABLE).ok().map(|text| serde_json::from_str(&text)).transpose().context(VARIABLE)
    }

    /// Does what the role is.
    ///
    /// # Errors
    /// If that fails.
    pub fn play(&self) -> Result<()> {
        match self {
            Self::Job(job) => tell(&run_job(job)?),
            Self::Boundary(calls) => tell(&boundary::call(calls)?),
            Self::Copy(copy) => copy_forever(copy),
        }
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(VARIABLE, serde_json::to_string(self)?).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts a process with this role; it does not outlive this one.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self) -> Result<Process> {
        let mut command = self.command()?;
        command.stdout(Stdio::null());
        Process::spawn("the baseline", command)
    }
}

fn tell(taken: &Taken) -> Result<()> {
    let taken = serde_json::to_string(taken)?;
    writeln!(std::io::stdout(), "{taken}").map_err(Into::into)
}

/// Has a role played in a process of its own, so that its memory is its own.
///
/// # Errors
/// If it fails there.
pub fn apart(role: &Role) -> Result<Taken> {
    let output = tempfile::NamedTempFile::new()?;
    let mut command = role.command()?;
    command.stdout(output.reopen()?);
    let mut process = Process::spawn("a job", command)?;
    let status = process.wait(JOB_TIME_MAX)?;
    if !status.success() {
        bail!("{role:?} failed: {status}");
    }
    let text = std::fs::read_to_string(output.path())?;
    serde_json::from_str(&text).with_context(|| format!("{role:?} said {text:?}"))
}
