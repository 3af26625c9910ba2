use super::windows::TAIL_BYTES;
use crate::call::CallRules;
use crate::keyed::{KeyedState, StateColumn};
use crate::ports::{OperatorFactory, StateBackend};
use crate::swap::plan::OlderVersions;
use crate::timers::{TimerColumns, Timers};
use millstream_model::plan::OperatorNode;
use std::sync::Arc;

/// What the tasks of one operator are made of, alike on every worker. A switch gives them others.
pub struct TaskParts {
    /// The operator as planned.
    pub node: OperatorNode,
    /// Makes its instances.
    pub factory: Arc<dyn OperatorFactory>,
    /// Limits and names of its calls.
    pub rules: Arc<CallRules>,
    /// Its states, in the order of the descriptor, and where their cells lie.
    pub columns: Vec<StateColumn>,
    /// Its timers, and where their cells lie.
    pub timers: TimerColumns,
    /// Versions that may have been written to its states before.
    pub older_versions: OlderVersions,
    /// Where its cells are.
    pub store: Arc<dyn StateBackend>,
}

impl TaskParts {
    /// The state of a task that begins: nothing of it is in memory.
    #[must_use]
    pub fn state(&self) -> KeyedState {
        let mut state = KeyedState::new(self.columns.clone(), Arc::clone(&self.store));
        if self.node.windows.is_some() {
            state.extend_keys(TAIL_BYTES);
        }
        state.set_older_versions(&self.older_versions);
        state
    }

    /// The timers of a task that begins.
    #[must_use]
    pub fn timers(&self) -> Timers {
        Timers::new(&self.timers, Arc::clone(&self.store))
    }
}
