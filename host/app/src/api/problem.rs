//! What goes wrong at the door, as RFC 9457 has it.

use crate::staging::Refused;
use crate::versions::{Failed, Misfit};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream_engine::swap::SwapRefused;
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of problems.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// What goes wrong: one name, one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BadRequest,
    Unauthorized,
    ForeignOrigin,
    NotFound,
    MethodNotAllowed,
    Busy,
    AlreadyRuns,
    NoReturn,
    TooLarge,
    MediaType,
    Misdirected,
    Unfit,
    DoesNotFit,
    Capabilities,
    TrialFailed,
    Failed,
    NotReady,
    Ended,
    TooSlow,
}

impl Kind {
    /// Name, title and status.
    fn facts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::BadRequest => ("bad-request", "The request makes no sense", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("unauthorized", "The token is missing or wrong", StatusCode::UNAUTHORIZED),
            Self::ForeignOrigin => ("foreign-origin", "The origin is not allowed", StatusCode::FORBIDDEN),
            Self::NotFound => ("not-found", "There is no such thing", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => {
                ("method-not-allowed", "That cannot be done with it", StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::Busy => ("busy", "Another swap is under way", StatusCode::CONFLICT),
            Self::AlreadyRuns => ("already-runs", "The module runs already", StatusCode::CONFLICT),
            Self::NoReturn => ("no-return", "There is no way back", StatusCode::CONFLICT),
            Self::TooLarge => ("too-large", "The body is too large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::MediaType => ("media-type", "The media type is not known", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::Misdirected => ("host-not-allowed", "The host is not allowed", StatusCode::MISDIRECTED_REQUEST),
            Self::Unfit => ("unfit-module", "The module is no operator for this", StatusCode::UNPROCESSABLE_ENTITY),
            Self::DoesNotFit => ("does-not-fit", "The module does not fit what runs", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Capabilities => {
                ("capabilities", "The module reaches for more than it may", StatusCode::UNPROCESSABLE_ENTITY)
            }
            Self::TrialFailed => ("trial-failed", "The new version failed its trial", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Failed => ("failed", "Something failed", StatusCode::INTERNAL_SERVER_ERROR),
            Self::NotReady => ("not-ready", "The pipeline is not processing yet", StatusCode::SERVICE_UNAVAILABLE),
            Self::Ended => ("ended", "The run has ended", StatusCode::SERVICE_UNAVAILABLE),
            Self::TooSlow => ("too-slow", "It took too long", StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

/// A problem.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:millstream:problem:…`: what kind of problem it is; never changes its meaning.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The same for people.
    pub(crate) title: &'static str,
    /// The status of the response.
    pub(crate) status: u16,
    /// What, why, and what to do.
    pub(crate) detail: String,
    /// Each thing about a module that does not fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) misfits: Vec<Misfit>,
    /// What a version failed its trial on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failed>,
    /// Interfaces that have to be allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) needed: Vec<String>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (name, title, status) = kind.facts();
        Self {
            kind: format!("urn:millstream:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            misfits: Vec::new(),
            failure: None,
            needed: Vec::new(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 11.6.1.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<SwapRefused> for Problem {
    fn from(refused: SwapRefused) -> Self {
        let detail = refused.to_string();
        match &refused {
            SwapRefused::NoOperator { .. } | SwapRefused::NoShadow { .. } => Self::new(Kind::NotFound, detail),
            SwapRefused::Busy { .. } => Self::new(Kind::Busy, detail),
            SwapRefused::Plan { refusals, .. } => {
                Self { misfits: refusals.iter().map(Misfit::from).collect(), ..Self::new(Kind::DoesNotFit, detail) }
            }
            SwapRefused::Rules(_) => Self::new(Kind::BadRequest, detail),
            SwapRefused::Open(_) => Self::new(Kind::Unfit, detail),
            SwapRefused::NoReturn { .. } => Self::new(Kind::NoReturn, detail),
            SwapRefused::Trial { failure, .. } => {
                Self { failure: Some(Failed::from(failure)), ..Self::new(Kind::TrialFailed, detail) }
            }
            SwapRefused::Ended { failure, .. } => {
                Self { failure: failure.as_ref().map(Failed::from), ..Self::new(Kind::Ended, detail) }
            }
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Unfit(_) => Self::new(Kind::Unfit, detail),
            Refused::NoModule(_) => Self::new(Kind::NotFound, detail),
            Refused::Runs { .. } => Self::new(Kind::AlreadyRuns, detail),
            Refused::Capabilities { needed, .. } => Self { needed, ..Self::new(Kind::Capabilities, detail) },
            Refused::Failed(_) => Self::new(Kind::Failed, detail),
            Refused::Engine(refused) => Self::from(refused),
        }
    }
}
