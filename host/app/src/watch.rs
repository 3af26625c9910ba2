//! `run --watch`: a change of a module, or of the source it is built of, becomes a swap.

use crate::config::{PipelineFile, Resolved};
use crate::error::{Failure, Outcome};
use crate::staging::{Offered, Proposal, Refused, Rules, Staging};
use crate::verbs::build;
use millstream_engine::swap::{SwapDone, SwapRefused};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long nothing must change before something is done about it: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(300);

/// A module of the pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    /// Where it is.
    module: PathBuf,
    /// The operators it is for.
    operators: Vec<String>,
    /// The crate it is built of, if it lies beside its Cargo.toml, as `millstream build` puts it.
    package: Option<PathBuf>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Source,
    Module,
}

/// Watches for as long as it is kept.
pub(crate) struct Watching {
    _watcher: RecommendedWatcher,
}

/// Watches the modules of a pipeline.
pub(crate) fn watch(file: &PipelineFile, resolved: &Resolved, staging: &Arc<Staging>) -> Outcome<Watching> {
    let all = watched(file, resolved);
    if all.is_empty() {
        return Err(Failure::config(
            "--watch: the pipeline file names no module by its path, so there is nothing to watch",
        ));
    }
    let (tell, told) = channel();
    let hear = move |event: notify::Result<Event>| {
        // The thread that listens is gone with the run.
        let _ = tell.send(event);
    };
    let mut watcher =
        notify::recommended_watcher(hear).map_err(|error| Failure::failed(format!("--watch: {error}")))?;
    for one in &all {
        one.places().iter().filter(|(path, _)| path.exists()).try_for_each(|(path, mode)| {
            watcher.watch(path, *mode).map_err(|error| Failure::failed(format!("--watch {}: {error}", path.display())))
        })?;
        let source = one.package.as_ref().map(|package| package.join("src").display().to_string());
        tracing::info!(module = %one.module.display(), source, "watching");
    }
    let staging = Arc::clone(staging);
    let listen = move || listen(&told, &all, &staging);
    std::thread::Builder::new().name("watch".to_owned()).spawn(listen).map_err(Failure::failed)?;
    Ok(Watching { _watcher: watcher })
}

/// Modules that are named by path. One that is not there yet is watched all the same.
fn watched(file: &PipelineFile, resolved: &Resolved) -> Vec<Watched> {
    let mut all: BTreeMap<PathBuf, Watched> = BTreeMap::new();
    for spec in resolved.operators.iter().filter(|spec| !spec.module.contains('@') || spec.module.contains('/')) {
        let path = file.folder().join(&spec.module);
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(folder) = folder.canonicalize() else { continue };
        let module = folder.join(name);
        let package = folder.join("Cargo.toml").is_file().then_some(folder);
        let new = || Watched { module: module.clone(), operators: Vec::new(), package };
        all.entry(module.clone()).or_insert_with(new).operators.push(spec.id.clone());
    }
    all.into_values().collect()
}

impl Watched {
    fn places(&self) -> Vec<(PathBuf, RecursiveMode)> {
        let folder = self.module.parent().map(Path::to_owned).unwrap_or_default();
        let mut places = vec![(folder, RecursiveMode::NonRecursive)];
        if let Some(package) = &self.package {
            places.push((package.join("src"), RecursiveMode::Recursive));
        }
        places
    }

    /// What a change of a file means. Cargo.lock is written by the build itself.
    fn change(&self, path: &Path) -> Option<Change> {
        if path == self.module {
            return Some(Change::Module);
        }
        let package = self.package.as_ref()?;
        let own = ["Cargo.toml", "build.rs"].map(|name| package.join(name));
        (path.starts_with(package.join("src")) || own.iter().any(|own| own == path)).then_some(Change::Source)
    }
}

/// Waits until a change has come to rest. Other files in the same folder may change all the time, the output of a sink among them: they do not count.
fn listen(told: &Receiver<notify::Result<Event>>, all: &[Watched], staging: &Arc<Staging>) {
    let mut pending = Pending::default();
    loop {
        let event = match pending.rest(Instant::now()) {
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
            Some(rest) => told.recv_timeout(rest),
        };
        match event {
            Ok(Ok(event)) => pending.note(&event, all, Instant::now()),
            Ok(Err(error)) => tracing::warn!(%error, "a change may have been missed"),
            Err(RecvTimeoutError::Timeout) => {
                for (at, change) in std::mem::take(&mut pending).changes {
                    if let Some(one) = all.get(at) {
                        act(one, change, staging);
                    }
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Changes that nothing was done about yet, by the index of what is watched.
#[derive(Default)]
struct Pending {
    changes: BTreeSet<(usize, Change)>,
    /// When the last of them came.
    newest: Option<Instant>,
}

impl Pending {
    fn note(&mut self, event: &Event, all: &[Watched], now: Instant) {
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        for path in &event.paths {
            for (at, change) in all.iter().enumerate().filter_map(|(at, one)| Some((at, one.change(path)?))) {
                self.changes.insert((at, change));
                self.newest = Some(now);
            }
        }
    }

    /// How long to wait until something is done about them; `None` if there is none.
    fn rest(&self, now: Instant) -> Option<Duration> {
        self.newest.map(|newest| QUIET.saturating_sub(now.saturating_duration_since(newest)))
    }
}

/// Builds, or swaps. A build ends with a change of the module, if it changed anything.
fn act(one: &Watched, change: Change, staging: &Arc<Staging>) {
    match (change, &one.package) {
        (Change::Source, Some(package)) => {
            tracing::info!(crate_ = %package.display(), "its source changed: building");
            let path = package.clone();
            // Cargo inherits the priority of the thread that starts it.
            match staging.background().run(move || build::build_quietly(&path)) {
                Some(Ok(())) => {}
                Some(Err(failure)) => tracing::error!("the build failed, and what runs goes on:\n{}", failure.text),
                None => {}
            }
        }
        _ => one.operators.iter().for_each(|operator| swap(operator, &one.module, staging)),
    }
}

fn swap(operator: &str, module: &Path, staging: &Arc<Staging>) {
    let Ok(bytes) = std::fs::read(module) else {
        tracing::info!(operator, "the module is gone; what runs goes on");
        return;
    };
    let proposal = Proposal {
        operator: operator.to_owned(),
        module: Offered::Bytes(module.display().to_string(), bytes),
        allow: Vec::new(),
    };
    let work = Arc::clone(staging);
    match staging.background().run(move || decided(&work, proposal)) {
        Some(Ok(done)) => {
            tracing::info!(operator, generation = %done.generation, digest = %done.digest, proven = done.is_proven(), "a new version took over");
        }
        // What a build left was the same, or a file was only touched.
        Some(Err(Refused::Runs { .. })) | None => {}
        Some(Err(refused)) => tracing::error!(operator, "the change was refused, and what runs goes on: {refused}"),
    }
}

fn decided(staging: &Staging, proposal: Proposal) -> Result<SwapDone, Refused> {
    let operator = proposal.operator.clone();
    let staged = staging.stage(proposal)?;
    let (done, decided) = channel();
    let answer = move |decision| {
        // Whoever waits is below.
        let _ = done.send(decision);
    };
    staging.swap(staged, Rules::default(), Box::new(answer))?;
    let ended = || SwapRefused::Ended { operator, failure: None };
    decided.recv().unwrap_or_else(|_| Err(ended())).map_err(Refused::Engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Watched {
        Watched {
            module: "/w/count/count.wasm".into(),
            operators: vec!["count".to_owned()],
            package: Some("/w/count".into()),
        }
    }

    #[test]
    fn source_and_module_are_told_apart_and_the_rest_is_nothing() {
        let change = |path: &str| one().change(Path::new(path));
        assert_eq!(change("/w/count/count.wasm"), Some(Change::Module));
        for source in ["/w/count/src/lib.rs", "/w/count/src/a/b.rs", "/w/count/Cargo.toml", "/w/count/build.rs"] {
            assert_eq!(change(source), Some(Change::Source), "{source}");
        }
        for other in ["/w/count/Cargo.lock", "/w/count/count.wasm.partial", "/w/count/target/x", "/w/other/src/lib.rs"]
        {
            assert_eq!(change(other), None, "{other}");
        }
        let alone = Watched { package: None, ..one() };
        assert_eq!(alone.change(Path::new("/w/count/src/lib.rs")), None);
        assert_eq!(alone.change(Path::new("/w/count/count.wasm")), Some(Change::Module));
    }

    #[test]
    fn only_what_is_watched_puts_off_what_is_done_about_it() {
        let (all, start) = ([one()], Instant::now());
        let event = |path: &str| Event::new(EventKind::Any).add_path(path.into());
        let mut pending = Pending::default();
        pending.note(&event("/w/count/out.jsonl"), &all, start);
        assert_eq!(pending.rest(start), None);
        pending.note(&event("/w/count/count.wasm"), &all, start);
        assert_eq!(pending.rest(start), Some(QUIET));
        pending.note(&event("/w/count/out.jsonl"), &all, start + QUIET / 2);
        assert_eq!(pending.rest(start + QUIET / 2), Some(QUIET / 2));
        assert_eq!(pending.rest(start + QUIET * 2), Some(Duration::ZERO));
        pending.note(&event("/w/count/src/lib.rs"), &all, start + QUIET / 2);
        assert_eq!(pending.rest(start + QUIET), Some(QUIET / 2));
        assert_eq!(pending.changes.len(), 2);
    }
}
