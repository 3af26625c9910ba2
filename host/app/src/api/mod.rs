//! The door of a running pipeline: HTTP on loopback and, the same routes, on a Unix socket in the state directory.
//!
//! Everybody who can open the socket is the user who runs the pipeline, so it asks for nothing more; the command line comes this way. The TCP port can be reached by
//! everybody on this machine, pages in a browser included: `guard` decides there. It runs on a thread of its own and holds nothing that a worker waits for.

mod client;
mod guard;
mod problem;
mod routes;
mod serve;
mod token;

pub(crate) use client::{Asked, Body, ask};
pub(crate) use routes::Running;

use crate::config::ApiSpec;
use crate::error::{Failure, Outcome};
use guard::Guard;
use millstream_state::{StateDir, address_path, token_path};
use serve::{CONNECTIONS_MAX, Places};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long requests that are under way may take when the door is closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// An open door; it is closed when this goes.
pub(crate) struct Door {
    over: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// What tells others where it is.
    signs: Vec<PathBuf>,
}

impl Door {
    /// Opens it.
    pub(crate) fn open(directory: &StateDir, spec: &ApiSpec, running: Running) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        let (over, is_over) = watch::channel(false);
        let socket = directory.socket();
        let mut signs = vec![socket.clone()];
        let unix = unix(&socket)?;
        let router = routes::router(running);
        let mut tcp = None;
        if let Some(address) = spec.listen {
            let (listener, address) = bind(address)?;
            let guard = Guard::new(address, &spec.hosts, &spec.origins, &token::token(&token_path(directory.path()))?);
            let sign = address_path(directory.path());
            let text = serde_json::json!({ "url": format!("http://{address}"), "pid": std::process::id() }).to_string();
            token::private(&sign, &text).map_err(|cause| Failure::config(format!("{}: {cause}", sign.display())))?;
            signs.push(sign);
            tracing::info!(url = format!("http://{address}/api/v1"), "listening");
            tcp = Some((listener, routes::guarded(router.clone(), Arc::new(guard))));
        }
        let work = async move {
            let places: Places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
            let opened = serve::open(unix, tcp, router, &places, &is_over);
            if let Err(error) = opened {
                tracing::error!(%error, "the door does not open; the pipeline runs without it");
            }
            let mut is_over = is_over;
            let _ = is_over.wait_for(|over| *over).await;
            let all = places.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX));
            let _ = tokio::time::timeout(CLOSE_PATIENCE, all).await;
        };
        let thread = std::thread::Builder::new().name("door".to_owned()).spawn(move || runtime.block_on(work));
        Ok(Self { over, thread: Some(thread.map_err(Failure::failed)?), signs })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        for sign in &self.signs {
            let _ = std::fs::remove_file(sign);
        }
        let _ = self.over.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unix(path: &std::path::Path) -> Outcome<std::os::unix::net::UnixListener> {
    let failed = |cause: std::io::Error| {
        Failure::config(format!("socket {}: {cause}; a shorter `state.dir` may help", path.display()))
    };
    // The directory is ours alone: a socket that is there was left by a process that is gone.
    let _ = std::fs::remove_file(path);
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn bind(address: SocketAddr) -> Outcome<(std::net::TcpListener, SocketAddr)> {
    let failed = |cause: std::io::Error| {
        Failure::config(format!(
            "the API cannot listen on {address}: {cause}; `--listen 127.0.0.1:0` takes any port that is free, `--listen off` none"
        ))
    };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
