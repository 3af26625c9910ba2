//! The program under test.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::crash::{Bug, CrashPoint};
use crate::kafka::tail;
use crate::{Process, Scratch, Signal, eventually};

/// A directory in which runs of Millstream follow each other: `pipeline.yaml`, its state, and one log per run.
#[derive(Debug)]
pub struct Workplace {
    scratch: Scratch,
    runs: AtomicU32,
}

/// How one run is started.
#[derive(Debug, Clone, Default)]
pub struct MillstreamOptions {
    /// Arguments instead of `run pipeline.yaml`.
    pub arguments: Option<Vec<String>>,
    /// Arguments after those.
    pub more_arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Where the run is to be killed or frozen.
    pub crash: Option<CrashPoint>,
    /// What is wrong with it.
    pub bug: Option<Bug>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if that ended it.
    pub signal: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error: messages and log.
    pub stderr: String,
}

impl Exit {
    /// The same, if this was its exit code.
    ///
    /// # Errors
    /// If it ended in another way; the error has all it said.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code != Some(code) {
            bail!("exit code {:?}, signal {:?}, not {code}:\n{}{}", self.code, self.signal, self.stdout, self.stderr);
        }
        Ok(self)
    }

    /// Whether it was killed, as at a crash point.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.signal == Some(libc::SIGKILL)
    }
}

/// One run of the `millstream` binary. Dropping it kills it; if the test is failing, the end of its log is shown.
#[derive(Debug)]
pub struct Millstream {
    process: Mutex<Process>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Workplace {
    /// Makes an empty one.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self { scratch: Scratch::new("work")?, runs: AtomicU32::new(0) })
    }

    /// Makes one with this `pipeline.yaml`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn with_pipeline(yaml: &str) -> Result<Self> {
        let workplace = Self::new()?;
        workplace.write("pipeline.yaml", yaml)?;
        Ok(workplace)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a file into it.
    ///
    /// # Errors
    /// If that fails.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a run of the pipeline.
    ///
    /// # Errors
    /// If there is no binary (`make build`), or it cannot be started.
    pub fn start(&self, options: &MillstreamOptions) -> Result<Millstream> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let stdout = self.path().join(format!("run-{number}.out"));
        let stderr = self.path().join(format!("run-{number}.log"));
        let mut command = Command::new(binary()?);
        match &options.arguments {
            Some(arguments) => command.args(arguments),
            None => command.args(["run", "pipeline.yaml"]),
        };
        command.args(&options.more_arguments).current_dir(self.path());
        command.env_remove("FAILPOINTS").env_remove("MILLSTREAM_SIGNAL_AT").env("RUST_BACKTRACE", "1");
        command.envs(options.environment.iter().map(|(key, value)| (key, value)));
        if let Some(crash) = &options.crash {
            command.env("MILLSTREAM_SIGNAL_AT", crash.to_string());
        }
        if let Some(bug) = options.bug {
            command.env("FAILPOINTS", bug.to_string());
        }
        command.stdin(Stdio::null()).stdout(File::create(&stdout)?);
        command.stderr(OpenOptions::new().create(true).append(true).open(&stderr)?);
        let process = Mutex::new(Process::spawn("millstream", command)?);
        Ok(Millstream { process, stdout, stderr })
    }

    /// Runs a command of the CLI to its end.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub fn command(&self, arguments: &[&str]) -> Result<Exit> {
        let options = MillstreamOptions {
            arguments: Some(arguments.iter().map(|&argument| argument.to_owned()).collect()),
            ..MillstreamOptions::default()
        };
        self.start(&options)?.wait(Duration::from_secs(60))
    }
}

impl Millstream {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process().id()
    }

    /// Asks it to drain, commit and end; does not wait.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn terminate(&self) -> Result<()> {
        self.process().signal(Signal::Terminate)
    }

    /// Kills it between two instructions and waits until it is gone.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn kill(&self) -> Result<Exit> {
        let status = self.process().kill()?;
        Ok(self.exit(status))
    }

    /// Freezes it.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn pause(&self) -> Result<()> {
        self.process().signal(Signal::Stop)
    }

    /// Whether it is frozen, by [`pause`](Self::pause) or [`CrashPoint::freezing`].
    ///
    /// # Errors
    /// If it has ended.
    pub fn is_frozen(&self) -> Result<bool> {
        if let Some(exit) = self.exited()? {
            bail!("millstream ended: {:?}, {:?}\n{}", exit.code, exit.signal, exit.stderr);
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        Ok(stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T')))
    }

    /// Lets it go on after [`pause`](Self::pause), believing that no time has passed.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        self.process().signal(Signal::Continue)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn exited(&self) -> Result<Option<Exit>> {
        let status = self.process().exited()?;
        Ok(status.map(|status| self.exit(status)))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it still runs after `timeout`.
    pub fn wait(&self, timeout: Duration) -> Result<Exit> {
        let status = self.process().wait(timeout).with_context(|| format!("its log ends:\n{}", self.log_end()))?;
        Ok(self.exit(status))
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.stderr)
    }

    /// Its log as JSON objects; lines that are none are left out.
    #[must_use]
    pub fn log_events(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Waits until its log contains `text`.
    ///
    /// # Errors
    /// If it ends before, or `timeout` is over.
    pub fn wait_for_log(&self, text: &str, timeout: Duration) -> Result<()> {
        let waiting = format!("{text:?} in the log of millstream");
        let found = eventually(&waiting, timeout, || {
            // Asked before reading the log, so that the last line of a process that ended is not missed.
            let exited = self.exited()?;
            if self.log().contains(text) {
                return Ok(Some(()));
            }
            match exited {
                Some(exit) => bail!("millstream ended ({:?}, {:?}) before {text:?}", exit.code, exit.signal),
                None => Ok(None),
            }
        });
        found.with_context(|| format!("its log ends:\n{}", self.log_end()))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        tail(&self.stderr, 40)
    }

    fn exit(&self, status: ExitStatus) -> Exit {
        Exit { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.log() }
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Millstream {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of millstream (pid {}) ends:\n{}\n---", self.id(), self.log_end());
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// `MILLSTREAM_BIN`, or the binary beside the running test: tests run from `release/deps`, the binary is in `release`.
fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("MILLSTREAM_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe()?;
            let folder = test.parent().and_then(Path::parent).context("the test runs from an unexpected place")?;
            folder.join("millstream")
        }
    };
    if !path.is_file() {
        bail!("there is no binary at {}; run `make build`, or set MILLSTREAM_BIN", path.display());
    }
    Ok(path)
}
