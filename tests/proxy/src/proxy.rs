//! The proxy itself.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::connection;
use crate::frame::{ApiKey, Direction};
use crate::rule::{Rule, RuleHandle};
use crate::shared::{Shared, TimedOut};

/// A running proxy; it closes everything when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens at `listen` and connects every client to `upstream`.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub fn start(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(listen)?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared::new());
        let accepting = Arc::clone(&shared);
        let listener = std::thread::Builder::new()
            .name("proxy listener".to_owned())
            .spawn(move || accept(&socket, upstream, &accepting))?;
        Ok(Self { shared, address, listener: Some(listener) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a rule; it counts from now on.
    pub fn add(&self, rule: Rule) -> RuleHandle {
        let index = self.shared.change(|state| state.add(rule));
        RuleHandle { shared: Arc::clone(&self.shared), index }
    }

    /// Requests of this kind that came in, whatever happened to them.
    #[must_use]
    pub fn requests(&self, api_key: ApiKey) -> u64 {
        self.shared.lock().seen(Direction::Request, api_key)
    }

    /// Responses of this kind that came back, whatever happened to them.
    #[must_use]
    pub fn responses(&self, api_key: ApiKey) -> u64 {
        self.shared.lock().seen(Direction::Response, api_key)
    }

    /// Waits for so many more requests of this kind than there are now.
    ///
    /// # Errors
    /// If they have not come after `timeout`.
    pub fn wait_for_requests(&self, api_key: ApiKey, more: u64, timeout: Duration) -> Result<(), TimedOut> {
        let enough = self.requests(api_key) + more;
        self.shared.wait(&format!("{more} requests of {api_key}"), timeout, |state| {
            (state.seen(Direction::Request, api_key) >= enough).then_some(())
        })
    }

    /// Closes the client's side of every connection.
    pub fn cut_clients(&self) {
        self.shared.change(|state| state.cut_clients());
    }

    /// Lets everything vanish, in both directions, until [`heal`](Self::heal). Connections stay open and new ones are
    /// accepted.
    pub fn black_hole(&self) {
        self.shared.change(|state| state.black_hole = true);
    }

    /// Ends a black hole; connections that lost something are closed.
    pub fn heal(&self) {
        self.shared.change(crate::shared::State::heal);
    }

    /// Closes new connections at once, or no longer does.
    pub fn refuse(&self, refuse: bool) {
        self.shared.change(|state| state.refuse = refuse);
    }

    /// What passed and what was done to it, one line per message; for the output of a failing test.
    #[must_use]
    pub fn transcript(&self) -> String {
        self.shared.lock().transcript()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(crate::shared::State::stop);
        // Wakes the listener, which then sees that it is to stop.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

fn accept(socket: &TcpListener, upstream: SocketAddr, shared: &Arc<Shared>) {
    for client in socket.incoming() {
        let state = shared.lock();
        let (stopped, refuse) = (state.stopped, state.refuse);
        drop(state);
        if stopped {
            return;
        }
        let Ok(client) = client else { continue };
        if refuse {
            continue;
        }
        // A broker that is down looks like one to the client: accepted and closed.
        if let Ok(broker) = TcpStream::connect(upstream) {
            drop(connection::serve(shared, client, broker));
        }
    }
}
