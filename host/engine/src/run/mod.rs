//! A run: workers and the committer put together from a plan and its ports, from taking the pipeline over to the last commit.

pub mod board;
mod control;
mod coordinator;
mod prepare;
mod recovery;
mod swaps;
mod switching;
mod wiring;

pub use board::Board;
pub use control::Control;

use crate::commit::{CommitPorts, Committer, CommitterSettings, Identity, Stop};
use crate::ports::{Checkpoints, Clock, OpenError, OperatorFactory, Source, SourceError};
use crate::swap::Refusal;
use crate::swap::plan::unread;
use crate::worker::{Command, Lineup, WorkerError};
use board::RunPhase;
use coordinator::Coordinator;
use millstream_model::plan::Plan;
use std::sync::Arc;
use swaps::Swaps;
use wiring::PartsMaker;

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
    let end = run_until_the_end(&plan, ports, identity, settings, control);
    control.end();
    control.board().update(|status| status.phase = RunPhase::Ended);
    end
}

fn run_until_the_end(
    plan: &Arc<Plan>,
    ports: RunPorts,
    identity: Identity,
    settings: CommitterSettings,
    control: &Control,
) -> Result<RunEnd, RunError> {
    let store = Arc::clone(&ports.commit.state);
    let (committer, started) = Committer::start(ports.commit, identity, settings)?;
    if started.finished {
        return Ok(RunEnd::AlreadyFinished);
    }
    let shared = wiring::share(plan, control, &ports.clock, ports.sink_record_bytes_max);
    let maker = PartsMaker { shared: Arc::clone(&shared), store };
    let lineup = Arc::new(maker.first(plan, &ports.operators, &started.catalog, committer.applied()));
    refuse_unread(&lineup)?;
    let workers = wiring::make_workers(&shared, &lineup, ports.sources, &started.positions)?;
    let mut threads = Vec::new();
    let mut commands = Vec::new();
    for (at, (worker, command)) in workers.workers.into_iter().enumerate() {
        commands.push(command);
        let thread = std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || worker.run());
        threads.push(thread.map_err(RunError::Thread)?);
    }
    let swaps = Swaps::new(maker, &lineup, commands.len());
    let mut coordinator = Coordinator::new((shared, swaps), committer, commands, workers.reports, ports.checkpoints);
    let end = coordinator.coordinate(control);
    coordinator.tell_all(&Command::Stop);
    coordinator.refuse_savepoints(control);
    coordinator.swaps.end();
    for thread in threads {
        // A panic was caught and reported by the worker itself.
        let _ = thread.join();
    }
    end
}

/// Refuses to begin with a module that cannot read what lies in the store.
fn refuse_unread(lineup: &Lineup) -> Result<(), OpenError> {
    lineup.operators.iter().try_for_each(|parts| {
        let refusals = unread(&parts.node.descriptor, &parts.older_versions);
        let refused = |refusal: &Refusal| OpenError { operator: parts.node.id.clone(), reason: refusal.to_string() };
        refusals.first().map_or(Ok(()), |refusal| Err(refused(refusal)))
    })
}
