use super::Running;
use crate::api::problem::{Kind, Problem};
use crate::progress::Snapshot;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// How long a savepoint may take.
const SAVEPOINT_PATIENCE: Duration = Duration::from_secs(600);

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", tag = "probes", responses((status = 200, description = "It does.")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the pipeline processes: it is taken over, and its state restored.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, description = "It does."),
    (status = 503, body = Problem, description = "Not yet, or not any more.")
))]
pub(super) async fn readyz(State(running): State<Running>) -> Result<&'static str, Problem> {
    running.check_ready().map(|()| "ok\n")
}

/// How the pipeline is doing.
#[utoipa::path(get, path = "/status", tag = "run", responses((status = 200, body = Snapshot)))]
pub(super) async fn status(State(running): State<Running>) -> Json<Snapshot> {
    Json(Snapshot::of(&running.plan, &running.control))
}

/// What a run was told to do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Told {
    /// Whether nothing is read from the sources until it is resumed.
    paused: bool,
    /// Whether it commits what it has read and ends.
    draining: bool,
}

impl Told {
    fn of(running: &Running) -> Json<Self> {
        Json(Self { paused: running.control.is_paused(), draining: running.control.is_draining() })
    }
}

/// Reads nothing more from the sources until it is resumed; what was read is processed, and commits go on.
#[utoipa::path(post, path = "/pause", tag = "run", responses((status = 200, body = Told)))]
pub(super) async fn pause(State(running): State<Running>) -> Json<Told> {
    tracing::info!("the pipeline was paused");
    running.control.pause();
    Told::of(&running)
}

/// Reads again.
#[utoipa::path(post, path = "/resume", tag = "run", responses((status = 200, body = Told)))]
pub(super) async fn resume(State(running): State<Running>) -> Json<Told> {
    tracing::info!("the pipeline was resumed");
    running.control.resume();
    Told::of(&running)
}

/// Commits what was read and ends the process with exit code 0, as SIGTERM does. It is under way when this answers.
#[utoipa::path(post, path = "/stop", tag = "run", responses((status = 202, body = Told)))]
pub(super) async fn stop(State(running): State<Running>) -> (StatusCode, Json<Told>) {
    tracing::info!("the pipeline was stopped; draining");
    running.control.drain();
    (StatusCode::ACCEPTED, Told::of(&running))
}

/// A checkpoint that stays until a person removes it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Savepoint {
    /// Where it lies, as `run --from-checkpoint` takes it.
    path: String,
    /// Bytes of its files.
    bytes: u64,
}

/// Commits at once and takes a checkpoint that is kept.
#[utoipa::path(post, path = "/savepoint", tag = "run", responses(
    (status = 200, body = Savepoint),
    (status = 500, body = Problem, description = "It was not taken; the pipeline goes on.")
))]
pub(super) async fn savepoint(State(running): State<Running>) -> Result<Json<Savepoint>, Problem> {
    let (done, taken) = oneshot::channel();
    running.control.savepoint(Box::new(move |result| {
        // A visitor that is gone hears nothing; the savepoint stays.
        let _ = done.send(result);
    }));
    match tokio::time::timeout(SAVEPOINT_PATIENCE, taken).await {
        Ok(Ok(Ok(taken))) => Ok(Json(Savepoint { path: taken.location, bytes: taken.bytes })),
        Ok(Ok(Err(error))) => Err(Problem::new(Kind::Failed, error.to_string())),
        Ok(Err(_)) => Err(Problem::new(Kind::Ended, "the run ended before the savepoint was taken")),
        Err(_) => Err(Problem::new(Kind::TooSlow, "the savepoint was not complete in ten minutes; it may become so")),
    }
}
