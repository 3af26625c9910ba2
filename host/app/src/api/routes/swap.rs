use super::Running;
use crate::api::problem::{Kind, Problem};
use crate::capabilities::Capability;
use crate::staging::{Offered, Proposal, Refused, Rules, Sample, Staged};
use crate::versions::{PlanView, Switched};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use millstream_engine::swap::{ProbationRules, SwapDone, SwapRefused, TrialRules};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

/// Bytes of a module.
const MODULE_BYTES_MAX: usize = 64 << 20;

/// How long a module may take to arrive.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(60);

/// How long a swap may take to be decided.
const SWAP_PATIENCE: Duration = Duration::from_secs(600);

/// What may be said of a module that is looked at.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CheckQuery {
    /// Interfaces that it may import beyond those of the version before it, separated by commas.
    pub(super) allow: Option<String>,
}

/// What may be demanded of a new version.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SwapQuery {
    /// Interfaces that it may import beyond those of the version before it, separated by commas.
    allow: Option<String>,
    /// Records after which its trial is judged; 1000.
    trial_records: Option<u64>,
    /// Milliseconds after which its trial is judged; 5000, and never more than a third of the transaction timeout.
    trial_time_ms: Option<u64>,
    /// The share of records that it may reject in its trial, from 0 to 1; not judged without it.
    max_reject_ratio: Option<f64>,
    /// How many records it emits in its trial for each it is given, as multiples of what the version before does, like `0.5..2`; not judged without it.
    output_ratio: Option<String>,
    /// Records below which no ratio is judged; 100.
    min_sample: Option<u64>,
    /// Records of its probation after the trial; 0: none.
    probation_records: Option<u64>,
    /// Milliseconds of its probation.
    probation_time_ms: Option<u64>,
    /// Records it may be at fault for in its probation, beyond those the version before would have been.
    max_failures: Option<u64>,
}

/// A module by its name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ModuleName {
    /// `name@version` of the plugin store, or the sha256 of one of those or of one that ran in this pipeline.
    module: String,
}

/// What a swap would do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Report {
    /// The operator's id.
    operator: String,
    /// sha256 of the module.
    digest: String,
    /// Its length.
    bytes: usize,
    /// What it imports beyond the version that runs.
    capabilities: Vec<Capability>,
    /// What becomes of state, and what a person should know before.
    plan: PlanView,
    /// Values of older versions that were tried; none of them was changed.
    samples: Vec<Sample>,
}

/// Has a module take over a running operator, and answers when that is committed or refused. Whoever does not wait finds the answer as the operator's last event.
#[utoipa::path(post, path = "/operators/{operator}/swap", tag = "swap",
    params(("operator" = String, Path, description = "The operator's id in the pipeline file."), SwapQuery),
    request_body(content((Vec<u8> = "application/wasm"), (ModuleName = "application/json")), description = "The module, at most 64 MiB, or its name."),
    responses(
        (status = 200, body = Switched, description = "It took over; durably."),
        (status = 400, body = Problem, description = "A rule makes no sense."),
        (status = 404, body = Problem, description = "There is no such operator, or no such module."),
        (status = 409, body = Problem, description = "Another swap is under way, or the module runs already."),
        (status = 413, body = Problem, description = "The module is too large."),
        (status = 422, body = Problem, description = "The module is none, does not fit, reaches for more than it may, or failed its trial; what ran goes on as if nothing had been asked."),
        (status = 503, body = Problem, description = "The pipeline is starting or ending.")
    ))]
pub(super) async fn swap(
    State(running): State<Running>,
    Path(operator): Path<String>,
    query: Result<Query<SwapQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Switched>, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Kind::BadRequest, error.body_text()))?;
    let rules = query.rules()?;
    let allow = names(query.allow.as_deref());
    let staging = running.staging.clone();
    let (done, decided) = oneshot::channel::<Result<SwapDone, SwapRefused>>();
    let asked = stage(&running, operator.clone(), allow, (&headers, body), move |staged| {
        let digest = staged.made.digest();
        let asked = staging.swap(
            staged,
            rules,
            Box::new(move |decision| {
                // A visitor that is gone finds it in the status.
                let _ = done.send(decision);
            }),
        );
        asked.map(|()| digest)
    });
    let digest = asked.await.inspect_err(|problem| refused(&operator, problem))?;
    tracing::info!(operator, %digest, "a swap was asked for");
    wait(decided).await.inspect_err(|problem| refused(&operator, problem))
}

/// Looks at a module as a swap would, tries its migration on some stored values, and changes nothing.
#[utoipa::path(post, path = "/operators/{operator}/swap/check", tag = "swap",
    params(("operator" = String, Path, description = "The operator's id in the pipeline file."), CheckQuery),
    request_body(content((Vec<u8> = "application/wasm"), (ModuleName = "application/json")), description = "The module, at most 64 MiB, or its name."),
    responses(
        (status = 200, body = Report, description = "It could be tried."),
        (status = 404, body = Problem, description = "There is no such operator, or no such module."),
        (status = 409, body = Problem, description = "The module runs already."),
        (status = 413, body = Problem, description = "The module is too large."),
        (status = 422, body = Problem, description = "The module is none, or does not fit.")
    ))]
pub(super) async fn check(
    State(running): State<Running>,
    Path(operator): Path<String>,
    query: Result<Query<CheckQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Report>, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Kind::BadRequest, error.body_text()))?;
    let staging = running.staging.clone();
    let report = stage(&running, operator.clone(), names(query.allow.as_deref()), (&headers, body), move |staged| {
        let samples = staging.sample(&staged)?;
        Ok(Report {
            digest: staged.made.digest().to_string(),
            bytes: staged.made.source.contents().len(),
            plan: PlanView::from(&staged.plan),
            capabilities: staged.growth,
            operator: staged.operator,
            samples,
        })
    });
    report.await.map(Json).inspect_err(|problem| refused(&operator, problem))
}

/// Has the version before take over again, without a trial, under the next number.
#[utoipa::path(post, path = "/operators/{operator}/rollback", tag = "swap",
    params(("operator" = String, Path, description = "The operator's id in the pipeline file.")),
    responses(
        (status = 200, body = Switched, description = "It took over; durably."),
        (status = 404, body = Problem, description = "There is no such operator."),
        (status = 409, body = Problem, description = "There is no way back, or another swap is under way."),
        (status = 503, body = Problem, description = "The pipeline is starting or ending.")
    ))]
pub(super) async fn rollback(
    State(running): State<Running>,
    Path(operator): Path<String>,
) -> Result<Json<Switched>, Problem> {
    running.check_ready()?;
    tracing::info!(operator, "a rollback was asked for");
    let (done, decided) = oneshot::channel();
    running.control.rollback(
        &operator,
        Box::new(move |decision| {
            let _ = done.send(decision);
        }),
    );
    wait(decided).await.inspect_err(|problem| refused(&operator, problem))
}

pub(super) fn refused(operator: &str, problem: &Problem) {
    tracing::warn!(operator, status = problem.status, "a swap was refused: {}", problem.detail);
}

pub(super) fn names(list: Option<&str>) -> Vec<String> {
    let names = list.unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl SwapQuery {
    pub(super) fn rules(&self) -> Result<Rules, Problem> {
        let (trial, probation) = (TrialRules::default(), ProbationRules::default());
        Ok(Rules {
            trial: TrialRules {
                records: self.trial_records.unwrap_or(trial.records),
                time_ms: self.trial_time_ms.unwrap_or(trial.time_ms),
                reject_ratio_max: self.max_reject_ratio,
                output_ratio: self.output_ratio.as_deref().map(range).transpose()?,
                sample_min: self.min_sample.unwrap_or(trial.sample_min),
            },
            probation: ProbationRules {
                records: self.probation_records.unwrap_or(probation.records),
                time_ms: self.probation_time_ms.unwrap_or(probation.time_ms),
                failures_max: self.max_failures.unwrap_or(probation.failures_max),
            },
        })
    }
}

/// Reads `0.5..2`.
fn range(text: &str) -> Result<(f64, f64), Problem> {
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    ends.ok_or_else(|| {
        Problem::new(Kind::BadRequest, format!("`output_ratio` is `{text}`; it is a range of multiples, like 0.5..2"))
    })
}

/// Takes the module in, makes it ready off the data path, and does with it what is to be done there.
pub(super) async fn stage<T: Send + 'static>(
    running: &Running,
    operator: String,
    allow: Vec<String>,
    (headers, body): (&HeaderMap, Body),
    then: impl FnOnce(Staged) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Problem> {
    running.check_ready()?;
    // Before anything is read: what waits is bounded.
    let turn = running.turn.clone().try_acquire_owned();
    let turn = turn.map_err(|_| Problem::new(Kind::Busy, "another module is being made ready: ask again"))?;
    let module = offered(headers, body).await?;
    let staging = running.staging.clone();
    let (done, result) = oneshot::channel();
    running.staging.background().spawn(move || {
        let proposal = Proposal { operator, module, allow };
        let made = staging.stage(proposal).and_then(then);
        // Before the answer: whoever has it may ask again at once.
        drop(turn);
        let _ = done.send(made);
    });
    let result = result.await.map_err(|_| Problem::new(Kind::Failed, "the module could not be made ready"))?;
    result.map_err(Problem::from)
}

async fn offered(headers: &HeaderMap, body: Body) -> Result<Offered, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match media_type.split(';').next().unwrap_or_default().trim() {
        "application/wasm" | "application/octet-stream" => {
            Ok(Offered::Bytes("the module".to_owned(), bytes(body, MODULE_BYTES_MAX).await?))
        }
        "application/json" => {
            let bytes = bytes(body, super::BODY_BYTES_MAX).await?;
            let name: ModuleName = serde_json::from_slice(&bytes)
                .map_err(|error| Problem::new(Kind::BadRequest, format!("the body: {error}")))?;
            Ok(Offered::Named(name.module))
        }
        other => Err(Problem::new(
            Kind::MediaType,
            format!(
                "`Content-Type` is `{other}`: send a module as `application/wasm`, or its name as `application/json`"
            ),
        )),
    }
}

async fn bytes(body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let read = tokio::time::timeout(UPLOAD_PATIENCE, axum::body::to_bytes(body, bytes_max)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        // The only error beside a visitor that is gone.
        Ok(Err(_)) => {
            Err(Problem::new(Kind::TooLarge, format!("the body is larger than {bytes_max} bytes, or was cut off")))
        }
        Err(_) => Err(Problem::new(Kind::BadRequest, "the body did not arrive within a minute")),
    }
}

pub(super) async fn wait(decided: oneshot::Receiver<Result<SwapDone, SwapRefused>>) -> Result<Json<Switched>, Problem> {
    match tokio::time::timeout(SWAP_PATIENCE, decided).await {
        Ok(Ok(Ok(done))) => Ok(Json(Switched::from(done))),
        Ok(Ok(Err(refused))) => Err(Problem::from(refused)),
        Ok(Err(_)) => Err(Problem::new(Kind::Ended, "the run ended before the swap was decided")),
        Err(_) => Err(Problem::new(Kind::TooSlow, "the swap is not decided after ten minutes: see the status")),
    }
}
