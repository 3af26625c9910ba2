//! What can be asked.

mod operators;
mod run;
mod shadow;
mod swap;

use super::guard::{self, Guard};
use super::problem::{Kind, Problem};
use crate::staging::Staging;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::response::Response;
use axum::{Router, middleware, routing};
use millstream_engine::run::Control;
use millstream_engine::run::board::RunPhase;
use millstream_model::plan::Plan;
use std::sync::Arc;
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bytes of a body that is no module.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The pipeline that is asked.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) plan: Arc<Plan>,
    pub(crate) control: Arc<Control>,
    pub(crate) staging: Arc<Staging>,
    /// One module is made ready at a time, so that what is uploaded is bounded.
    pub(crate) turn: Arc<Semaphore>,
}

impl Running {
    pub(crate) fn new(plan: Arc<Plan>, control: Arc<Control>, staging: Arc<Staging>) -> Self {
        Self { plan, control, staging, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Whether it is processing, or could be.
    fn check_ready(&self) -> Result<(), Problem> {
        match self.control.board().status().phase {
            RunPhase::Running | RunPhase::Resolving => Ok(()),
            RunPhase::Starting => {
                Err(Problem::new(Kind::NotReady, "the pipeline is being taken over and its state restored: ask again"))
            }
            RunPhase::Draining | RunPhase::Ended => Err(Problem::new(Kind::Ended, "the pipeline is ending")),
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millstream",
        description = "The door of one running pipeline. Every request needs `Authorization: Bearer` with what is in the file `token` of its state directory, but for the probes. \
                       Problems are RFC 9457. Names and meanings below `/api/v1` stay; fields may be added.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem))
)]
struct Document;

/// Every route; on the Unix socket as they are.
pub(super) fn router(running: Running) -> Router {
    let api = OpenApiRouter::new()
        .routes(routes!(run::status))
        .routes(routes!(run::pause))
        .routes(routes!(run::resume))
        .routes(routes!(run::stop))
        .routes(routes!(run::savepoint))
        .routes(routes!(operators::operators))
        .routes(routes!(operators::operator))
        .routes(routes!(operators::generations))
        .routes(routes!(swap::swap))
        .routes(routes!(swap::check))
        .routes(routes!(swap::rollback))
        .routes(routes!(shadow::shadow, shadow::discard))
        .routes(routes!(shadow::promote));
    let probes =
        OpenApiRouter::with_openapi(Document::openapi()).routes(routes!(run::livez)).routes(routes!(run::readyz));
    let (router, document) = probes.nest("/api/v1", api).split_for_parts();
    let document = serde_json::to_string(&document).unwrap_or_default();
    let json = [(header::CONTENT_TYPE, "application/json")];
    router
        .route("/api/v1/openapi.json", routing::get(move || async move { (json, document) }))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(running)
}

/// The same for whoever comes over the network.
pub(super) fn guarded(router: Router, guard: Arc<Guard>) -> Router {
    router.layer(middleware::from_fn_with_state(guard, guard::watch)).layer(middleware::map_response(in_armour))
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is nothing at {}; /api/v1/openapi.json tells what there is", uri.path()),
    )
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{method} does not go with {}; see /api/v1/openapi.json", uri.path()))
}

/// No answer is run, framed or kept by a browser, whatever is in it.
async fn in_armour(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
