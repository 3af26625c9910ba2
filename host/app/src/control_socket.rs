//! The door of a running pipeline for `status` and `savepoint`: a Unix socket in its directory, one JSON object per line each way.

use crate::error::{Failure, Outcome};
use crate::progress::Snapshot;
use millstream_engine::run::Control;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long a savepoint may take.
const SAVEPOINT_PATIENCE: Duration = Duration::from_secs(600);

/// How long a visitor may take to ask.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// What a visitor may ask for, in bytes.
const REQUEST_BYTES_MAX: u64 = 4_096;

/// Listens until the process ends.
pub(crate) fn serve(path: &Path, plan: Arc<millstream_model::plan::Plan>, control: &Arc<Control>) -> Outcome<()> {
    let failed = |cause: std::io::Error| {
        Failure::config(format!("socket {}: {cause}; a shorter `state.dir` may help", path.display()))
    };
    // The directory is ours alone: a socket that is there was left by a process that is gone.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let control = Arc::clone(control);
    let listen = move || {
        for stream in listener.incoming().flatten() {
            let (plan, control) = (Arc::clone(&plan), Arc::clone(&control));
            let visit = move || {
                if let Err(error) = answer(&stream, &plan, &control) {
                    tracing::debug!(%error, "a visitor of the socket went away");
                }
            };
            if let Err(error) = std::thread::Builder::new().name("visitor".to_owned()).spawn(visit) {
                tracing::warn!(%error, "a visitor of the socket could not be served");
            }
        }
    };
    std::thread::Builder::new().name("socket".to_owned()).spawn(listen).map_err(failed)?;
    Ok(())
}

fn answer(mut stream: &UnixStream, plan: &millstream_model::plan::Plan, control: &Control) -> std::io::Result<()> {
    stream.set_read_timeout(Some(ASK_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(std::io::Read::take(stream, REQUEST_BYTES_MAX)).read_line(&mut line)?;
    let request: Value = serde_json::from_str(&line).unwrap_or_default();
    let reply = match request.get("verb").and_then(Value::as_str) {
        Some("status") => serde_json::to_value(Snapshot::of(plan, control)).unwrap_or_default(),
        Some("savepoint") => savepoint(control),
        _ => json!({ "error": "ask for {\"verb\":\"status\"} or {\"verb\":\"savepoint\"}" }),
    };
    writeln!(stream, "{reply}")
}

fn savepoint(control: &Control) -> Value {
    let (done, taken) = channel();
    control.savepoint(Box::new(move |result| {
        // A visitor that is gone hears nothing; the savepoint stays.
        let _ = done.send(result);
    }));
    match taken.recv_timeout(SAVEPOINT_PATIENCE) {
        Ok(Ok(taken)) => json!({ "path": taken.location, "bytes": taken.bytes }),
        Ok(Err(error)) => json!({ "error": error.to_string() }),
        Err(_) => json!({ "error": "the savepoint was not complete in ten minutes; it may become so" }),
    }
}

/// Asks a running pipeline.
pub(crate) fn ask(path: &Path, verb: &str) -> Outcome<Value> {
    let failed = |cause: std::io::Error| {
        Failure::failed(format!(
            "no pipeline answers at {}: {cause}; is it running, with this `state.dir`?",
            path.display()
        ))
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    writeln!(stream, "{}", json!({ "verb": verb })).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    let reply: Value =
        serde_json::from_str(&line).map_err(|error| Failure::failed(format!("the answer is no JSON: {error}")))?;
    match reply.get("error").and_then(Value::as_str) {
        Some(error) => Err(Failure::failed(error)),
        None => Ok(reply),
    }
}
