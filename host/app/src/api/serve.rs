//! Takes connections: bounded in number, and in the time they may take to say what they want.

use axum::Router;
use axum::serve::Listener;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections at a time; others wait.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// How long the head of a request may take, and how long a connection may do nothing.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// One for each connection.
pub(super) type Places = Arc<Semaphore>;

/// Serves on both listeners until it is over.
pub(super) fn open(
    unix: std::os::unix::net::UnixListener,
    tcp: Option<(std::net::TcpListener, Router)>,
    router: Router,
    places: &Places,
    is_over: &watch::Receiver<bool>,
) -> std::io::Result<()> {
    let unix = tokio::net::UnixListener::from_std(unix)?;
    tokio::spawn(listen(unix, router, Arc::clone(places), is_over.clone()));
    if let Some((listener, router)) = tcp {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(listen(listener, router, Arc::clone(places), is_over.clone()));
    }
    Ok(())
}

async fn listen<L: Listener>(mut listener: L, router: Router, places: Places, mut is_over: watch::Receiver<bool>) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over(&mut is_over) => return,
        };
        tokio::spawn(converse(stream, router.clone(), place, is_over.clone()));
    }
}

async fn converse<S>(stream: S, router: Router, _place: OwnedSemaphorePermit, mut is_over: watch::Receiver<bool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = over(&mut is_over) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a visitor went away");
    }
}

async fn over(is_over: &mut watch::Receiver<bool>) {
    // Whoever would say it is gone: that is the end as well.
    let _ = is_over.wait_for(|over| *over).await;
}
