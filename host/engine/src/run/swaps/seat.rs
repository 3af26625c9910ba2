use crate::swap::{Probation, Refusal, Tally};
use crate::task::TaskParts;
use std::sync::Arc;

/// What is known of the version of an operator that runs, and of the one before.
#[derive(Default)]
pub(super) struct Seat {
    /// What it did in committed epochs of this process.
    pub(super) tally: Tally,
    pub(super) previous: Option<Previous>,
    pub(super) probation: Option<Probation>,
}

/// The version before, kept warm.
pub(super) struct Previous {
    pub(super) parts: Arc<TaskParts>,
    /// Why it cannot come back, if it cannot.
    pub(super) no_return: Vec<Refusal>,
}

impl Seat {
    /// Counts what was committed, and begins to count anew.
    pub(super) fn count(&mut self, pending: &mut Tally) {
        let done = std::mem::take(pending);
        self.tally.add(&done);
        if let Some(probation) = &mut self.probation {
            probation.add(&done);
        }
    }

    pub(super) fn can_return(&self) -> bool {
        self.previous.as_ref().is_some_and(|previous| previous.no_return.is_empty())
    }
}
