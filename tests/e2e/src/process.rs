//! Child processes that cannot outlive the test process.

#![expect(unsafe_code, reason = "signals and the parent-death signal have no safe wrapper in the standard library")]

use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A signal that a test sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: asked to end in good order.
    Terminate,
    /// SIGKILL: gone between two instructions.
    Kill,
    /// SIGSTOP: alive and frozen, as in a long pause of its machine.
    Stop,
    /// SIGCONT: goes on after [`Signal::Stop`], believing that no time has passed.
    Continue,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
        }
    }
}

/// A child process; it is killed when this is dropped, or when the test process ends in whatever way.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command`; `name` is how errors call it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(name: &str, command: Command) -> Result<Self> {
        let child = spawn_bound(command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child's standard input and output, if they were piped and not taken before.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.child.stdin.take().zip(self.child.stdout.take())
    }

    /// Sends a signal; to a process that has already been waited for it does nothing.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: plain system call; the pid is our child's and not yet reaped, so it is nobody else's.
        if unsafe { libc::kill(pid, signal.number()) } != 0 {
            let error = std::io::Error::last_os_error();
            bail!("cannot send {signal:?} to {}: {error}", self.name);
        }
        Ok(())
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::Kill)?;
        Ok(self.child.wait()?)
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} (pid {}) still runs after {timeout:?}", self.name, self.id());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

type Job = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Spawns on a thread that lives as long as this process: the kernel sends the parent-death signal when the *thread*
/// that made the child ends, and a test's thread ends long before the broker that it happened to start.
fn spawn_bound(mut command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let parent = std::process::id();
    let child_setup = move || {
        // SAFETY: both calls are async-signal-safe and touch nothing of ours.
        let (set, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if set != 0 || u32::try_from(now) != Ok(parent) {
            return Err(std::io::Error::other("the test process is gone"));
        }
        Ok(())
    };
    // SAFETY: the closure only makes the two system calls above; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(child_setup) };
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                drop(answer.send(command.spawn()));
            }
        });
        jobs
    });
    let (answer, result) = mpsc::channel();
    spawner.send((command, answer)).ok().context("the spawner thread is gone")?;
    Ok(result.recv().context("the spawner thread is gone")??)
}
