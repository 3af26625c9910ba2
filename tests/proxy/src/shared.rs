//! What all connections of a proxy share.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::{ApiKey, Direction, Message};
use crate::rule::{Action, Rule};

/// Lines of the transcript that are kept.
const TRANSCRIPT_LINES: usize = 20_000;

/// What was waited for did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    what: String,
    timeout: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:?} in vain for {}", self.timeout, self.what)
    }
}

impl std::error::Error for TimedOut {}

/// One lock for everything: decisions are rare and short, and their order is what tests rely on.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
pub(crate) struct State {
    started: Instant,
    rules: Vec<ActiveRule>,
    seen: BTreeMap<(Direction, ApiKey), u64>,
    connections: BTreeMap<u64, Ends>,
    next_connection: u64,
    transcript: VecDeque<String>,
    pub(crate) black_hole: bool,
    pub(crate) refuse: bool,
    pub(crate) stopped: bool,
}

#[derive(Debug)]
pub(crate) struct ActiveRule {
    rule: Rule,
    seen: u64,
    pub(crate) hits: u64,
    released: bool,
}

/// The two sockets of a connection.
#[derive(Debug)]
struct Ends {
    client: TcpStream,
    upstream: TcpStream,
    /// Something on it vanished, so nobody can use it any more.
    lossy: bool,
}

/// What the rules say about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) action: Action,
    pub(crate) rule: Option<usize>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        let state = State {
            started: Instant::now(),
            rules: Vec::new(),
            seen: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            transcript: VecDeque::new(),
            black_hole: false,
            refuse: false,
            stopped: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes everybody who waits for a change.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    pub(crate) fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut probe: impl FnMut(&State) -> Option<T>,
    ) -> Result<T, TimedOut> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(value) = probe(&state) {
                return Ok(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = what.to_owned();
                return Err(TimedOut { what, timeout });
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    pub(crate) fn rule(&self, index: usize) -> Option<&ActiveRule> {
        self.rules.get(index)
    }

    pub(crate) fn add(&mut self, rule: Rule) -> usize {
        self.rules.push(ActiveRule { rule, seen: 0, hits: 0, released: false });
        self.rules.len() - 1
    }

    pub(crate) fn release(&mut self, index: usize) {
        if let Some(rule) = self.rules.get_mut(index) {
            rule.released = true;
        }
    }

    pub(crate) fn released(&self, index: Option<usize>) -> bool {
        self.stopped || index.and_then(|index| self.rule(index)).is_none_or(|rule| rule.released)
    }

    pub(crate) fn seen(&self, direction: Direction, api_key: ApiKey) -> u64 {
        self.seen.get(&(direction, api_key)).copied().unwrap_or(0)
    }

    /// Registers a connection; none if the proxy takes none.
    pub(crate) fn connect(&mut self, client: TcpStream, upstream: TcpStream) -> Option<u64> {
        if self.stopped || self.refuse {
            return None;
        }
        self.next_connection += 1;
        let ends = Ends { client, upstream, lossy: false };
        self.connections.insert(self.next_connection, ends);
        Some(self.next_connection)
    }

    pub(crate) fn disconnect(&mut self, connection: u64) {
        if let Some(ends) = self.connections.remove(&connection) {
            ends.close();
        }
    }

    /// Counts a message and decides about it. The first rule that strikes wins; all matching ones count.
    pub(crate) fn judge(&mut self, connection: u64, message: &Message) -> Verdict {
        *self.seen.entry((message.direction, message.api_key)).or_default() += 1;
        let mut verdict = Verdict { action: Action::Pass, rule: None };
        if self.black_hole {
            verdict.action = Action::Lose;
            if let Some(ends) = self.connections.get_mut(&connection) {
                ends.lossy = true;
            }
        }
        let (mut cut, mut black_hole) = (false, false);
        for (index, active) in self.rules.iter_mut().enumerate() {
            if !active.rule.matches(message) {
                continue;
            }
            active.seen += 1;
            if verdict.rule.is_none() && !self.black_hole && active.rule.strikes(active.seen) {
                active.hits += 1;
                verdict.action = active.rule.action;
                verdict.rule = Some(index);
                (cut, black_hole) = (active.rule.cut_client, active.rule.black_hole);
            }
        }
        self.note(connection, message, verdict);
        self.black_hole |= black_hole;
        if let Some(ends) = self.connections.get_mut(&connection) {
            ends.lossy |= black_hole;
            if cut {
                ends.cut_client();
            }
        }
        verdict
    }

    pub(crate) fn cut_clients(&self) {
        self.connections.values().for_each(Ends::cut_client);
    }

    /// Ends the black hole, and the connections that lost something in it.
    pub(crate) fn heal(&mut self) {
        self.black_hole = false;
        self.connections.values().filter(|ends| ends.lossy).for_each(Ends::close);
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.connections.values().for_each(Ends::close);
    }

    pub(crate) fn transcript(&self) -> String {
        self.transcript.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn note(&mut self, connection: u64, message: &Message, verdict: Verdict) {
        if self.transcript.len() >= TRANSCRIPT_LINES {
            self.transcript.pop_front();
        }
        let Message { direction, api_key, correlation_id, client_id, bytes, .. } = message;
        let time = self.started.elapsed().as_secs_f64();
        let arrow = if *direction == Direction::Request { "->" } else { "<-" };
        let length = bytes.len();
        let action = verdict.action;
        self.transcript.push_back(format!(
            "{time:.4} connection {connection} ({client_id}) {arrow} {api_key} #{correlation_id}, {length} bytes: {action:?}"
        ));
    }
}

impl Ends {
    /// The client sees the connection break; the broker does not.
    fn cut_client(&self) {
        drop(self.client.shutdown(Shutdown::Both));
    }

    fn close(&self) {
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.upstream.shutdown(Shutdown::Both));
    }
}
