//! A run: workers and the committer put together from a plan and its ports, from taking the pipeline over to the last commit.

pub mod board;
mod commits;
mod control;
mod coordinator;
mod lookout;
mod prepare;
mod recovery;
mod swaps;
mod switching;
pub mod times;
mod wiring;

pub use board::Board;
pub use control::Control;

use crate::call::SizeLimits;
use crate::commit::{Auditor, CommitPorts, Committer, CommitterSettings, Identity, Stop};
use crate::ports::{
    Checkpoints, Clock, CommitsReader, EventTime, LogError, OpenError, OperatorFactory, RecordSizesReader, Source,
    SourceError,
};
use crate::swap::Refusal;
use crate::swap::plan::unread;
use crate::worker::{Command, Lineup, WorkerError};
use board::RunPhase;
use coordinator::{Coordinator, CoordinatorParts};
use lookout::{Lookout, Sizes};
use millstream_model::plan::Plan;
use std::collections::BTreeMap;
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
    /// By source: where its event time is found, if that is not its own timestamp.
    pub event_times: Vec<Option<Arc<dyn EventTime>>>,
    /// Tells the largest records that topics take: at the start, every five minutes, and after an epoch was lost.
    pub sizes: Arc<dyn RecordSizesReader>,
    /// Reads the commits beside whoever writes them; none where there is no log.
    pub commits: Option<Box<dyn CommitsReader>>,
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
    /// The brokers do not tell the largest records that topics take.
    #[error(transparent)]
    Sizes(#[from] LogError),
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
    mut settings: CommitterSettings,
    control: &Control,
) -> Result<RunEnd, RunError> {
    let store = Arc::clone(&ports.commit.state);
    let limits = Arc::new(SizeLimits::new(&ports.sizes.read()?));
    settings.cell_bytes_max = limits.of_changelog();
    let topics = source_topics(&identity);
    let (committer, started) = Committer::start(ports.commit, identity, settings)?;
    if started.finished {
        return Ok(RunEnd::AlreadyFinished);
    }
    let shared = wiring::share(plan, control, &ports.clock, (&limits, topics, ports.event_times));
    let maker = PartsMaker { shared: Arc::clone(&shared), store };
    let lineup = Arc::new(maker.first(plan, &ports.operators, &started.catalog, committer.applied()));
    refuse_unread(&lineup)?;
    wiring::check_timers(&lineup, &started.catalog)?;
    let workers = wiring::make_workers(&shared, &lineup, ports.sources, committer.applied())?;
    let mut threads = Vec::new();
    let mut commands = Vec::new();
    for (at, (worker, command)) in workers.workers.into_iter().enumerate() {
        commands.push(command);
        let thread = std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || worker.run());
        threads.push(thread.map_err(RunError::Thread)?);
    }
    let sizes = Arc::new(Sizes { limits, reader: ports.sizes });
    let auditor = ports.commits.map(|reader| Auditor::new(reader, &started));
    let lookout = Lookout::start(auditor, Arc::clone(&sizes), &ports.clock).map_err(RunError::Thread)?;
    let swaps = Swaps::new(maker, &lineup, commands.len());
    let parts = CoordinatorParts { committer, commands, checkpoints: ports.checkpoints, lookout, sizes };
    let mut coordinator = Coordinator::new((shared, swaps), parts, workers.reports);
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

/// The topic that each source reads, by the source's id; those that read none are not there.
fn source_topics(identity: &Identity) -> BTreeMap<String, String> {
    let topics = identity.topics.iter().filter(|(_, topic)| !topic.id.is_empty());
    topics.map(|(source, topic)| (source.clone(), topic.name.clone())).collect()
}
