use super::board::Board;
use crate::ports::CheckpointDone;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The handle of a run for whoever started it: what to do next, and what is going on.
pub struct Control {
    drain: AtomicBool,
    savepoints: Mutex<Vec<CheckpointDone>>,
    board: Arc<Board>,
}

impl Control {
    /// A handle for a run that has not begun.
    #[must_use]
    pub fn new(board: Board) -> Self {
        Self { drain: AtomicBool::new(false), savepoints: Mutex::default(), board: Arc::new(board) }
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

    /// Asks for a checkpoint at the next commit, which comes at once; `done` hears how it went.
    pub fn savepoint(&self, done: CheckpointDone) {
        self.savepoints.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    }

    pub(super) fn take_savepoints(&self) -> Vec<CheckpointDone> {
        std::mem::take(&mut *self.savepoints.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is going on.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("drain", &self.drain).field("board", &self.board).finish_non_exhaustive()
    }
}
