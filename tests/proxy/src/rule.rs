//! What is to happen to which message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::frame::{ApiKey, Direction, Message};
use crate::shared::{Shared, TimedOut};

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pass,
    Hold,
    Lose,
    Delay(Duration),
}

type Matcher = Arc<dyn Fn(&Message) -> bool + Send + Sync>;

/// One fault: which message it strikes, and what it does to it. Without a verb such as [`hold`](Self::hold) it only
/// watches, or does what `and_…` says and lets the message pass.
#[derive(Clone)]
#[must_use = "a rule does nothing until it is added to a proxy"]
pub struct Rule {
    direction: Direction,
    api_key: ApiKey,
    matcher: Option<Matcher>,
    first: u64,
    times: u64,
    pub(crate) action: Action,
    pub(crate) cut_client: bool,
    pub(crate) black_hole: bool,
}

impl Rule {
    /// The first request of this kind from now on.
    pub fn request(api_key: ApiKey) -> Self {
        Self::new(Direction::Request, api_key)
    }

    /// The first response of this kind from now on.
    pub fn response(api_key: ApiKey) -> Self {
        Self::new(Direction::Response, api_key)
    }

    fn new(direction: Direction, api_key: ApiKey) -> Self {
        Self {
            direction,
            api_key,
            matcher: None,
            first: 1,
            times: 1,
            action: Action::Pass,
            cut_client: false,
            black_hole: false,
        }
    }

    /// Counts only messages for which `matcher` is true.
    pub fn matching(self, matcher: impl Fn(&Message) -> bool + Send + Sync + 'static) -> Self {
        Self { matcher: Some(Arc::new(matcher)), ..self }
    }

    /// Strikes the n-th such message instead of the first; 1 is the first.
    pub fn nth(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// Strikes so many messages in a row instead of one.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    /// Keeps the message until [`RuleHandle::release`].
    pub fn hold(self) -> Self {
        Self { action: Action::Hold, ..self }
    }

    /// Swallows the message.
    pub fn lose(self) -> Self {
        Self { action: Action::Lose, ..self }
    }

    /// Lets the message pass after a time.
    pub fn delay(self, time: Duration) -> Self {
        Self { action: Action::Delay(time), ..self }
    }

    /// Closes the client's side of the connection when the message comes.
    pub fn and_cut_client(self) -> Self {
        Self { cut_client: true, ..self }
    }

    /// Lets everything vanish after the message, until [`Proxy::heal`](crate::Proxy::heal).
    pub fn and_black_hole(self) -> Self {
        Self { black_hole: true, ..self }
    }

    pub(crate) fn matches(&self, message: &Message) -> bool {
        self.direction == message.direction
            && self.api_key == message.api_key
            && self.matcher.as_ref().is_none_or(|matcher| matcher(message))
    }

    /// Whether the `seen`-th matching message is struck.
    pub(crate) fn strikes(&self, seen: u64) -> bool {
        seen >= self.first && seen - self.first < self.times
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}, {:?}", self.direction, self.api_key, self.action)
    }
}

/// A rule that was added to a proxy.
#[derive(Debug, Clone)]
pub struct RuleHandle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
}

impl RuleHandle {
    /// How many messages it has struck.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.shared.lock().rule(self.index).map_or(0, |rule| rule.hits)
    }

    /// Waits until it has struck once.
    ///
    /// # Errors
    /// If it has not after `timeout`.
    pub fn wait_hit(&self, timeout: Duration) -> Result<(), TimedOut> {
        self.shared.wait("a rule to strike", timeout, |state| {
            state.rule(self.index).is_some_and(|rule| rule.hits > 0).then_some(())
        })
    }

    /// Lets go of what it holds, and holds nothing any more.
    pub fn release(&self) {
        self.shared.change(|state| state.release(self.index));
    }
}
