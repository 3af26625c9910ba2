//! Asks a running pipeline, over the socket in its state directory.

use crate::error::{Failure, Outcome, exit};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;

/// A body to send.
pub(crate) enum Body {
    /// Nothing.
    None,
    /// A module.
    Module(Vec<u8>),
    /// The name of one.
    Json(Value),
}

/// What is asked.
pub(crate) struct Asked<'a> {
    pub(crate) method: Method,
    /// Below `/api/v1`, with the query.
    pub(crate) path: &'a str,
    pub(crate) body: Body,
}

impl Asked<'_> {
    pub(crate) fn get(path: &str) -> Asked<'_> {
        Asked { method: Method::GET, path, body: Body::None }
    }

    pub(crate) fn delete(path: &str) -> Asked<'_> {
        Asked { method: Method::DELETE, path, body: Body::None }
    }

    pub(crate) fn post(path: &str, body: Body) -> Asked<'_> {
        Asked { method: Method::POST, path, body }
    }
}

/// Asks, and waits for the answer.
pub(crate) fn ask(socket: &Path, asked: Asked<'_>) -> Outcome<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let (status, bytes) = runtime.block_on(send(socket, asked))?;
    let answer = serde_json::from_slice::<Value>(&bytes);
    if status.is_success() {
        return answer.map_err(|error| Failure::failed(format!("the answer is no JSON: {error}")));
    }
    let text = |pointer: &str| {
        let found = answer.as_ref().ok().and_then(|answer| answer.pointer(pointer)).and_then(Value::as_str);
        found.map(str::to_owned)
    };
    let detail = text("/detail").unwrap_or_else(|| format!("the pipeline answered with {status}"));
    let code = code(text("/type").unwrap_or_default().trim_start_matches("urn:millstream:problem:"));
    Err(Failure { code, text: detail })
}

/// The exit code for a problem: whether something cannot work, or did not.
fn code(problem: &str) -> u8 {
    match problem {
        "bad-request" | "not-found" | "too-large" | "unfit-module" | "does-not-fit" | "capabilities" => exit::CONFIG,
        _ => exit::FAILED,
    }
}

async fn send(socket: &Path, asked: Asked<'_>) -> Outcome<(StatusCode, Bytes)> {
    let silent = |cause: std::io::Error| {
        Failure::failed(format!(
            "no pipeline answers at {}: {cause}; is it running, with this `state.dir`?",
            socket.display()
        ))
    };
    let lost = |cause: hyper::Error| Failure::failed(format!("the pipeline did not answer: {cause}"));
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(silent)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    let (media_type, body) = match asked.body {
        Body::None => (None, Vec::new()),
        Body::Module(module) => (Some("application/wasm"), module),
        Body::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
    };
    let mut request =
        Request::builder().method(asked.method).uri(format!("/api/v1{}", asked.path)).header(header::HOST, "localhost");
    if let Some(media_type) = media_type {
        request = request.header(header::CONTENT_TYPE, media_type);
    }
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| Failure::config(format!("`{}` cannot be asked for: {error}", asked.path)))?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(lost)?;
    Ok((status, body.to_bytes()))
}
