//! Directories that are gone after the test run.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result};

/// Test data this large and this short-lived belongs into memory, where there is some.
const MEMORY: &str = "/dev/shm";

/// A directory of a test. It is removed when this is dropped; should the process be killed first, a small watcher
/// removes it. `MILLSTREAM_KEEP=1` keeps it and says where it is.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty directory, in memory if the machine has such a place.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let prefix = format!("millstream-{name}-");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        let made = if has_room(MEMORY) { builder.tempdir_in(MEMORY) } else { builder.tempdir() };
        let path = made.context("cannot make a directory for the test")?.keep();
        if !kept() {
            watch(&path)?;
        }
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if kept() {
            eprintln!("kept {}", self.path.display());
        } else {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// Whether there is such a place with some GiB left; containers often have one of 64 MiB.
fn has_room(place: &str) -> bool {
    const ROOM_KIB: u64 = 4 << 20;
    let output = Command::new("df").args(["--output=avail", "-k", place]).stderr(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().last().and_then(|avail| avail.parse().ok()).is_some_and(|avail: u64| avail > ROOM_KIB)
}

fn kept() -> bool {
    std::env::var_os("MILLSTREAM_KEEP").is_some()
}

/// Tells the watcher about a directory. The watcher is a shell that reads names from a pipe which only this process
/// holds; when the pipe closes, our children are dying (see `process.rs`) and it removes what is left.
fn watch(path: &Path) -> Result<()> {
    static WATCHER: OnceLock<std::io::Result<Mutex<Child>>> = OnceLock::new();
    let watcher = WATCHER.get_or_init(|| {
        let script = r#"while IFS= read -r dir; do set -- "$@" "$dir"; done
            for _ in 1 2 3 4 5; do sleep 0.2; rm -rf -- "$@" 2>/dev/null && [ ! -e "$1" ] && exit; done"#;
        let mut command = Command::new("sh");
        // A group of its own, so that Ctrl-C in the terminal does not reach it.
        command.args(["-c", script, "scratch"]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Mutex::new)
    });
    let watcher = watcher.as_ref().map_err(|error| anyhow::anyhow!("cannot start the watcher: {error}"))?;
    let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = watcher.stdin.as_mut().context("the watcher has no pipe")?;
    writeln!(pipe, "{}", path.display()).context("the watcher is gone")
}
