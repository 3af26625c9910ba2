use super::board::Board;
use crate::ports::{CheckpointDone, CheckpointError, OperatorFactory};
use crate::swap::{ShadowAnswer, SwapAnswer, SwapRefused, SwapRequest};
use crate::task::Tried;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The handle of a run for whoever started it: what to do next, and what is going on.
pub struct Control {
    drain: AtomicBool,
    paused: Arc<AtomicBool>,
    asked: Mutex<Asked>,
    board: Arc<Board>,
}

/// What was asked for and not taken up yet.
#[derive(Default)]
struct Asked {
    savepoints: Vec<CheckpointDone>,
    swaps: VecDeque<Asking>,
    tries: Vec<Trying>,
    /// The run is over: nobody takes anything up any more.
    is_over: bool,
}

/// Something about a version of an operator.
pub(super) enum Asking {
    /// To put another module in its place.
    Swap(SwapRequest),
    /// To go back to the version before.
    Rollback {
        /// The operator's id.
        operator: String,
        /// Hears how it went.
        done: SwapAnswer,
    },
    /// To run another module beside it.
    Shadow {
        /// The operator's id.
        operator: String,
        /// Makes instances of the module.
        factory: Arc<dyn OperatorFactory>,
        /// Hears whether it began.
        done: ShadowAnswer,
    },
    /// To end the shadow.
    Discard {
        /// The operator's id.
        operator: String,
        /// Hears what it did.
        done: ShadowAnswer,
    },
}

/// To have a module migrate some of what is stored, and to change nothing.
pub(super) struct Trying {
    /// The operator's id.
    pub(super) operator: String,
    /// Makes instances of the module.
    pub(super) factory: Arc<dyn OperatorFactory>,
    /// Hears how it went.
    pub(super) done: TriedAnswer,
}

/// Hears what became of some old values; called from any thread.
pub type TriedAnswer = Box<dyn FnOnce(Result<Vec<Tried>, SwapRefused>) + Send>;

impl Asking {
    /// Answers, unheard, with what keeps anybody from hearing it.
    pub(super) fn refuse(self, because: impl FnOnce(String) -> SwapRefused) {
        match self {
            Self::Swap(request) => (request.done)(Err(because(request.operator))),
            Self::Rollback { operator, done } => done(Err(because(operator))),
            Self::Shadow { operator, done, .. } | Self::Discard { operator, done } => done(Err(because(operator))),
        }
    }
}

impl Control {
    /// A handle for a run that has not begun.
    #[must_use]
    pub fn new(board: Board) -> Self {
        Self { drain: AtomicBool::new(false), paused: Arc::default(), asked: Mutex::default(), board: Arc::new(board) }
    }

    /// Asks the run to commit what it has read and to end.
    pub fn drain(&self) {
        self.drain.store(true, Ordering::Relaxed);
    }

    /// Whether the run was asked to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.load(Ordering::Relaxed)
    }

    /// Asks the run to read nothing more from its sources until [`Control::resume`]. What was read is processed and committed, and commits go on.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    /// Lets the run read again.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
    }

    /// Whether the run was asked to read nothing.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(super) fn paused(&self) -> &Arc<AtomicBool> {
        &self.paused
    }

    /// Asks for a checkpoint at the next commit, which comes at once; `done` hears how it went.
    pub fn savepoint(&self, done: CheckpointDone) {
        let mut asked = self.lock();
        if !asked.is_over {
            asked.savepoints.push(done);
            return;
        }
        drop(asked);
        done(Err(CheckpointError { location: "savepoint".to_owned(), reason: "the run is over".to_owned() }));
    }

    /// Asks for a module to take over a running operator. One swap at a time: another one is refused while it is under way.
    pub fn swap(&self, request: SwapRequest) {
        self.ask(Asking::Swap(request));
    }

    /// Asks for the version before to take over again, without a trial. It is the newest one that ran in this process before the one that runs, and
    /// has to be able to read what that wrote.
    pub fn rollback(&self, operator: &str, done: SwapAnswer) {
        self.ask(Asking::Rollback { operator: operator.to_owned(), done });
    }

    /// Asks for a module that might take over to migrate some of the values that the operator has stored: nothing changes, and the pipeline goes on meanwhile.
    pub fn try_migrations(&self, operator: &str, factory: Arc<dyn OperatorFactory>, done: TriedAnswer) {
        let operator = operator.to_owned();
        let mut asked = self.lock();
        if !asked.is_over {
            asked.tries.push(Trying { operator, factory, done });
            return;
        }
        drop(asked);
        done(Err(SwapRefused::Ended { operator, failure: None }));
    }

    /// Asks for a module to run beside an operator: it is given the same records from the next commit on, what it makes of them is compared, and nothing of it stays. The board shows what
    /// came of it. It ends with [`Control::discard`], with a swap, or when it takes too much memory.
    pub fn shadow(&self, operator: &str, factory: Arc<dyn OperatorFactory>, done: ShadowAnswer) {
        self.ask(Asking::Shadow { operator: operator.to_owned(), factory, done });
    }

    /// Ends the shadow of an operator.
    pub fn discard(&self, operator: &str, done: ShadowAnswer) {
        self.ask(Asking::Discard { operator: operator.to_owned(), done });
    }

    fn ask(&self, asking: Asking) {
        let mut asked = self.lock();
        if !asked.is_over {
            asked.swaps.push_back(asking);
            return;
        }
        drop(asked);
        asking.refuse(|operator| SwapRefused::Ended { operator, failure: None });
    }

    pub(super) fn take_savepoints(&self) -> Vec<CheckpointDone> {
        std::mem::take(&mut self.lock().savepoints)
    }

    pub(super) fn take_swaps(&self) -> VecDeque<Asking> {
        std::mem::take(&mut self.lock().swaps)
    }

    pub(super) fn take_tries(&self) -> Vec<Trying> {
        std::mem::take(&mut self.lock().tries)
    }

    /// Nobody will take up what is asked for from now on.
    pub(super) fn end(&self) {
        let mut asked = self.lock();
        asked.is_over = true;
        let swaps = std::mem::take(&mut asked.swaps);
        let tries = std::mem::take(&mut asked.tries);
        drop(asked);
        for Trying { operator, done, .. } in tries {
            done(Err(SwapRefused::Ended { operator, failure: None }));
        }
        for asking in swaps {
            asking.refuse(|operator| SwapRefused::Ended { operator, failure: None });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is going on.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Control");
        debug.field("drain", &self.drain).field("paused", &self.paused).field("board", &self.board);
        debug.finish_non_exhaustive()
    }
}
