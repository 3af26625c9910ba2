//! A run: workers and the committer put together from a plan and its ports, from taking the pipeline over to the last commit.

pub mod board;
mod control;
mod coordinator;
mod recovery;
mod wiring;

pub use board::Board;
pub use control::Control;

use crate::commit::{CommitPorts, Committer, CommitterSettings, Identity, Stop};
use crate::ports::{Checkpoints, Clock, OpenError, OperatorFactory, Source, SourceError};
use crate::swap::versions::{self, OlderVersions};
use crate::worker::{Command, WorkerError};
use board::RunPhase;
use coordinator::Coordinator;
use millstream_model::plan::Plan;
use std::sync::Arc;

/// The outside world of a run.
pub struct RunPorts {
    /// In the order of the plan.
    pub operators: Vec<Arc<dyn OperatorFactory>>,
    /// By worker, then in the order of the plan.
    pub sources: Vec<Vec<Box<dyn Source>>>,
    /// What commits go through.
    pub commit: CommitPorts,
    /// What takes checkpoints.
    pub checkpoints: Box<dyn Checkpoints>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The largest record each sink takes, in bytes of key, value and headers; in the order of the plan.
    pub sink_record_bytes_max: Vec<usize>,
}

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// It was asked to end and committed everything it had read.
    Drained,
    /// Every source came to its end and everything is committed.
    Finished,
    /// Everything was committed before it began.
    AlreadyFinished,
}

/// Why a run cannot go on. Everything up to the last commit is safe.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The commit protocol.
    #[error(transparent)]
    Commit(#[from] Stop),
    /// A worker.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// An operator could not be made ready.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A source could not be brought to its position.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A thread could not be started.
    #[error("a worker thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// Runs a pipeline until it is drained, at its end, or cannot go on.
///
/// # Errors
/// See [`RunError`].
pub fn run(
    plan: Arc<Plan>,
    ports: RunPorts,
    identity: Identity,
    settings: CommitterSettings,
    control: &Control,
) -> Result<RunEnd, RunError> {
    let state = Arc::clone(&ports.commit.state);
    let (committer, started) = Committer::start(ports.commit, identity, settings)?;
    if started.finished {
        control.board().update(|status| status.phase = RunPhase::Ended);
        return Ok(RunEnd::AlreadyFinished);
    }
    let older_versions = find_older_versions(&plan, &committer)?;
    let shared = wiring::share(&plan, control.board(), &ports.clock, ports.sink_record_bytes_max);
    let (catalog, older_versions) = (&started.catalog, &older_versions);
    let factories = wiring::Factories { operators: &ports.operators, state: &state, catalog, older_versions };
    let workers = wiring::make_workers(&shared, factories, ports.sources, &started.positions)?;
    let mut threads = Vec::new();
    let mut commands = Vec::new();
    for (at, (worker, command)) in workers.workers.into_iter().enumerate() {
        commands.push(command);
        let thread = std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || worker.run());
        threads.push(thread.map_err(RunError::Thread)?);
    }
    let rest = (ports.checkpoints, older_versions.clone());
    let mut coordinator = Coordinator::new(shared, committer, commands, workers.reports, rest);
    let end = coordinator.coordinate(control);
    coordinator.tell_all(&Command::Stop);
    coordinator.refuse_savepoints(control);
    for thread in threads {
        // A panic was caught and reported by the worker itself.
        let _ = thread.join();
    }
    control.board().update(|status| status.phase = RunPhase::Ended);
    end
}

/// Which versions of values lie about, if the operators can read all of them.
fn find_older_versions(plan: &Plan, committer: &Committer) -> Result<OlderVersions, OpenError> {
    let descriptor = |id: &str| plan.operators.iter().find(|node| node.id == id).map(|node| &node.descriptor);
    let older = versions::at_start(committer.applied(), descriptor);
    for node in &plan.operators {
        if let Some((state, unreadable)) = versions::unreadable(&older, &node.id, &node.descriptor).first() {
            let version =
                node.descriptor.states.iter().find(|other| other.name == *state).map_or(0, |state| state.version);
            let reason = format!(
                "its state `{state}` holds values of version(s) {unreadable:?}, and this module neither reads nor migrates them (it writes version {version}): run one \
                 that does, or give the state a new name to begin without them"
            );
            return Err(OpenError { operator: node.id.clone(), reason });
        }
    }
    Ok(older)
}
