//! Who may come in: Host, Origin and token, in this order, before anything of a request is looked at.
//!
//! The door is on loopback, so whoever knocks is on this machine. That includes every page in a browser on it: a page can send requests to any address, and, with a name
//! that its author lets point to this machine (DNS rebinding), read the answers. It cannot choose the `Host` and `Origin` that the browser sends, so these are checked
//! first. Other users of the machine are kept out by the token, which is in a file that only the owner of the process can read.

use super::problem::{Kind, Problem};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Refusals logged a second; more are counted only.
const LOGGED_PER_SECOND: u32 = 10;

/// Paths that need no token: they tell nothing but whether the process lives.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// What is let in.
pub(crate) struct Guard {
    /// Names of hosts, lowercase, as `Host` has them.
    hosts: Vec<String>,
    /// Origins of pages.
    origins: Vec<String>,
    /// sha256 of the token: comparing hashes tells nothing of it by the time it takes.
    token: [u8; 32],
    refusals: Refusals,
}

impl Guard {
    /// For a door at an address. `hosts` and `origins` are those beyond its own.
    pub(crate) fn new(address: SocketAddr, hosts: &[String], origins: &[String], token: &str) -> Self {
        let port = address.port();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned(), host_of(address)];
        let mut own: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            own.extend(names);
        }
        let mut allowed: Vec<String> = own.iter().map(|host| format!("http://{host}")).collect();
        allowed.extend(origins.iter().map(|origin| origin.to_ascii_lowercase()));
        own.extend(hosts.iter().map(|host| host.to_ascii_lowercase()));
        Self { hosts: own, origins: allowed, token: Sha256::digest(token).into(), refusals: Refusals::default() }
    }

    /// Whether a request may come in.
    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        self.judge_host(uri, headers)?;
        self.judge_origin(headers)?;
        if OPEN.contains(&uri.path()) && matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        self.judge_token(headers)
    }

    fn judge_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let mut named = headers.get_all(header::HOST).iter();
        let (host, more) = (named.next(), named.next());
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_allowed = |host: &str| self.hosts.contains(&host.to_ascii_lowercase());
        // A target in absolute form counts instead of `Host` (RFC 9112, 3.2.2), so both must do.
        let is_target_allowed = uri.authority().is_none_or(|authority| is_allowed(authority.as_str()));
        if more.is_none() && is_allowed(host) && is_target_allowed {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Misdirected,
            "this door answers to the names of this machine only: `api.hosts` in the pipeline file adds others",
        ))
    }

    fn judge_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let foreign = || {
            Problem::new(
                Kind::ForeignOrigin,
                "pages of other origins may not ask: `api.origins` in the pipeline file adds some",
            )
        };
        let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
        if origins.peek().is_some() {
            let is_allowed = |origin: &str| self.origins.contains(&origin.to_ascii_lowercase());
            let all = origins.all(|origin| origin.to_str().is_ok_and(is_allowed));
            return if all { Ok(()) } else { Err(foreign()) };
        }
        // Browsers say where a request comes from even where they send no `Origin` (Fetch Metadata).
        match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(foreign()),
        }
    }

    fn judge_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let is_right = given.is_some_and(|given| <[u8; 32]>::from(Sha256::digest(given)) == self.token);
        if is_right {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Unauthorized,
            "send `Authorization: Bearer …` with what is in the file `token` of the state directory",
        ))
    }
}

/// The address as `Host` has it.
fn host_of(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

/// Lets a request in, or refuses it and says so in the log.
pub(crate) async fn watch(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.judge(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            guard.refusals.log(request.method(), request.uri().path(), &problem);
            problem.into_response()
        }
    }
}

/// Says in the log who was refused, within bounds: a page that knocks a thousand times a second fills no disk.
#[derive(Default)]
struct Refusals {
    second: Mutex<Option<(Instant, u32)>>,
    unlogged: AtomicU64,
}

impl Refusals {
    fn log(&self, method: &Method, path: &str, problem: &Problem) {
        if !self.may_log() {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unlogged = self.unlogged.swap(0, Ordering::Relaxed);
        tracing::warn!(%method, path, status = problem.status, reason = problem.title, unlogged, "a request was refused at the door");
    }

    fn may_log(&self) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, logged) = second.get_or_insert_with(|| (Instant::now(), 0));
        if begun.elapsed().as_secs() >= 1 {
            (*begun, *logged) = (Instant::now(), 0);
        }
        *logged += 1;
        *logged <= LOGGED_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn guard() -> Guard {
        let (hosts, origins) = (["streams.example:443".to_owned()], ["https://streams.example".to_owned()]);
        Guard::new("127.0.0.1:8421".parse().unwrap(), &hosts, &origins, TOKEN)
    }

    /// The status of a refusal, 200 for a request that is let in.
    fn judged(method: Method, target: &str, headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        guard().judge(&method, &target.parse().unwrap(), &map).map_or_else(|problem| problem.status, |()| 200)
    }

    fn with_token(headers: &[(&str, &str)]) -> u16 {
        let token = format!("Bearer {TOKEN}");
        let mut all = vec![("authorization", token.as_str())];
        all.extend(headers);
        judged(Method::POST, "/api/v1/stop", &all)
    }

    #[test]
    fn the_host_comes_first_whatever_else_is_right() {
        for host in ["localhost:8421", "LocalHost:8421", "127.0.0.1:8421", "[::1]:8421", "streams.example:443"] {
            assert_eq!(with_token(&[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "evil.example:8421", "localhost", "localhost:80", "localhost:8421.evil.example", ""]
        {
            assert_eq!(with_token(&[("host", host)]), 421, "{host}");
        }
        assert_eq!(with_token(&[]), 421);
        assert_eq!(with_token(&[("host", "localhost:8421"), ("host", "evil.example")]), 421);
        assert_eq!(judged(Method::GET, "/livez", &[("host", "evil.example")]), 421);
        let foreign = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(with_token(&foreign), 421);
        let absolute = [("host", "localhost:8421")];
        assert_eq!(judged(Method::GET, "http://evil.example/livez", &absolute), 421);
        assert_eq!(judged(Method::GET, "http://localhost:8421/livez", &absolute), 200);
    }

    #[test]
    fn pages_of_other_origins_are_refused_with_the_right_token_too() {
        let host = ("host", "localhost:8421");
        for origin in ["http://localhost:8421", "http://127.0.0.1:8421", "https://streams.example"] {
            assert_eq!(with_token(&[host, ("origin", origin)]), 200, "{origin}");
        }
        for origin in ["http://evil.example", "http://localhost:9999", "https://localhost:8421", "null", ""] {
            assert_eq!(with_token(&[host, ("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(with_token(&[host, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(with_token(&[host, ("sec-fetch-site", "same-site")]), 403);
        assert_eq!(with_token(&[host, ("sec-fetch-site", "same-origin")]), 200);
        let two = [host, ("origin", "http://localhost:8421"), ("origin", "http://evil.example")];
        assert_eq!(with_token(&two), 403);
    }

    #[test]
    fn reading_needs_the_token_as_changing_does_and_only_probes_do_not() {
        let host = ("host", "localhost:8421");
        for (method, path) in [(Method::GET, "/api/v1/status"), (Method::POST, "/api/v1/stop"), (Method::GET, "/none")]
        {
            assert_eq!(judged(method, path, &[host]), 401, "{path}");
        }
        for path in OPEN {
            assert_eq!(judged(Method::GET, path, &[host]), 200);
            assert_eq!(judged(Method::POST, path, &[host]), 401);
        }
        for wrong in ["Bearer wrong", "Bearer", "Basic abc", TOKEN, "Bearer  "] {
            assert_eq!(judged(Method::GET, "/api/v1/status", &[host, ("authorization", wrong)]), 401, "{wrong}");
        }
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_logged() {
        let refusals = Refusals::default();
        let logged = (0..1_000).filter(|_| refusals.may_log()).count();
        assert!((1..=2 * LOGGED_PER_SECOND as usize).contains(&logged), "{logged}");
    }
}
