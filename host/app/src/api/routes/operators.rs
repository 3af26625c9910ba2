use super::Running;
use crate::api::problem::{Kind, Problem};
use crate::progress::{OperatorStatus, Snapshot};
use crate::versions::GenerationView;
use axum::Json;
use axum::extract::{Path, State};
use std::collections::BTreeMap;

/// The operators, by id.
#[utoipa::path(get, path = "/operators", tag = "operators", responses((status = 200, body = BTreeMap<String, OperatorStatus>)))]
pub(super) async fn operators(State(running): State<Running>) -> Json<BTreeMap<String, OperatorStatus>> {
    Json(Snapshot::of(&running.plan, &running.control).operators)
}

/// One operator.
#[utoipa::path(get, path = "/operators/{operator}", tag = "operators", params(("operator" = String, Path, description = "Its id in the pipeline file.")), responses(
    (status = 200, body = OperatorStatus),
    (status = 404, body = Problem)
))]
pub(super) async fn operator(
    State(running): State<Running>,
    Path(operator): Path<String>,
) -> Result<Json<OperatorStatus>, Problem> {
    let found = Snapshot::of(&running.plan, &running.control).operators.remove(&operator);
    found.map(Json).ok_or_else(|| unknown(&running, &operator))
}

/// The versions of an operator that ran in this process, the newest last; the last 20.
#[utoipa::path(get, path = "/operators/{operator}/generations", tag = "operators", params(("operator" = String, Path, description = "Its id in the pipeline file.")), responses(
    (status = 200, body = Vec<GenerationView>),
    (status = 404, body = Problem)
))]
pub(super) async fn generations(
    State(running): State<Running>,
    Path(operator): Path<String>,
) -> Result<Json<Vec<GenerationView>>, Problem> {
    let found = running.control.board().swaps().into_iter().find(|status| status.operator == operator);
    let found = found.ok_or_else(|| unknown(&running, &operator))?;
    Ok(Json(found.history.into_iter().map(GenerationView::from).collect()))
}

fn unknown(running: &Running, operator: &str) -> Problem {
    let known: Vec<String> = running.plan.operators.iter().map(|node| format!("`{}`", node.id)).collect();
    Problem::new(Kind::NotFound, format!("there is no operator `{operator}`; the pipeline has {}", known.join(", ")))
}
