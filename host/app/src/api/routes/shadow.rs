use super::Running;
use super::swap::{CheckQuery, ModuleName, SwapQuery, names, refused, stage, wait};
use crate::api::problem::{Kind, Problem};
use crate::versions::{ShadowView, Switched};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use millstream_engine::swap::{ShadowStatus, SwapRefused};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a shadow may take to begin: the epoch that is open has to be committed.
const BEGIN_PATIENCE: Duration = Duration::from_secs(120);

/// Has a module run beside an operator: it is given the same records from the next commit on, what it makes of them is compared, and nothing of it stays. `shadow` of the operator shows what came of it.
#[utoipa::path(post, path = "/operators/{operator}/shadow", tag = "shadow",
    params(("operator" = String, Path, description = "The operator's id in the pipeline file."), CheckQuery),
    request_body(content((Vec<u8> = "application/wasm"), (ModuleName = "application/json")), description = "The module, at most 64 MiB, or its name."),
    responses(
        (status = 200, body = ShadowView, description = "It follows."),
        (status = 404, body = Problem, description = "There is no such operator, or no such module."),
        (status = 409, body = Problem, description = "A swap or another shadow is under way, or the module runs already."),
        (status = 413, body = Problem, description = "The module is too large."),
        (status = 422, body = Problem, description = "The module is none, does not fit, or reaches for more than it may.")
    ))]
pub(super) async fn shadow(
    State(running): State<Running>,
    Path(operator): Path<String>,
    query: Result<Query<CheckQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ShadowView>, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Kind::BadRequest, error.body_text()))?;
    let staging = running.staging.clone();
    let (done, begun) = oneshot::channel();
    let asked = stage(&running, operator.clone(), names(query.allow.as_deref()), (&headers, body), move |staged| {
        staging.shadow(staged, answer(done))
    });
    asked.await.inspect_err(|problem| refused(&operator, problem))?;
    tracing::info!(operator, "a shadow was asked for");
    answered(begun).await.inspect_err(|problem| refused(&operator, problem))
}

/// Has what runs as the operator's shadow take over: an ordinary swap, with its trial.
#[utoipa::path(post, path = "/operators/{operator}/shadow/promote", tag = "shadow",
    params(("operator" = String, Path, description = "The operator's id in the pipeline file."), SwapQuery),
    responses(
        (status = 200, body = Switched, description = "It took over; durably."),
        (status = 404, body = Problem, description = "There is no such operator, or it has no shadow."),
        (status = 409, body = Problem, description = "A swap is under way."),
        (status = 422, body = Problem, description = "It failed its trial; what ran goes on.")
    ))]
pub(super) async fn promote(
    State(running): State<Running>,
    Path(operator): Path<String>,
    query: Result<Query<SwapQuery>, QueryRejection>,
) -> Result<Json<Switched>, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Kind::BadRequest, error.body_text()))?;
    running.check_ready()?;
    let rules = query.rules()?;
    let (done, decided) = oneshot::channel();
    let answer = Box::new(move |decision| {
        // A visitor that is gone finds it in the status.
        let _ = done.send(decision);
    });
    let asked = running.staging.promote(&operator, rules, answer).map_err(Problem::from);
    asked.inspect_err(|problem| refused(&operator, problem))?;
    tracing::info!(operator, "the shadow is to take over");
    wait(decided).await.inspect_err(|problem| refused(&operator, problem))
}

/// Ends the shadow of an operator, and answers with what it did.
#[utoipa::path(delete, path = "/operators/{operator}/shadow", tag = "shadow",
    params(("operator" = String, Path, description = "The operator's id in the pipeline file.")),
    responses(
        (status = 200, body = ShadowView, description = "It is gone."),
        (status = 404, body = Problem, description = "There is no such operator, or it has no shadow.")
    ))]
pub(super) async fn discard(
    State(running): State<Running>,
    Path(operator): Path<String>,
) -> Result<Json<ShadowView>, Problem> {
    running.check_ready()?;
    let (done, ended) = oneshot::channel();
    running.control.discard(&operator, answer(done));
    answered(ended).await.inspect_err(|problem| refused(&operator, problem))
}

type Answer = Result<ShadowStatus, SwapRefused>;

fn answer(done: oneshot::Sender<Answer>) -> millstream_engine::swap::ShadowAnswer {
    Box::new(move |answer| {
        // A visitor that is gone finds it in the status.
        let _ = done.send(answer);
    })
}

async fn answered(answer: oneshot::Receiver<Answer>) -> Result<Json<ShadowView>, Problem> {
    match tokio::time::timeout(BEGIN_PATIENCE, answer).await {
        Ok(Ok(Ok(status))) => Ok(Json(ShadowView::from(status))),
        Ok(Ok(Err(refused))) => Err(Problem::from(refused)),
        Ok(Err(_)) => Err(Problem::new(Kind::Ended, "the run ended before the shadow began")),
        Err(_) => Err(Problem::new(Kind::TooSlow, "the shadow has not begun after two minutes: see the status")),
    }
}
