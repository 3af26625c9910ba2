use super::Swaps;
use crate::ports::OpenError;
use crate::ports::OperatorFactory;
use crate::run::control::Trying;
use crate::swap::plan::plan;
use crate::swap::{Surroundings, SwapPlan, SwapRefused};
use crate::task::{TaskParts, Tried, try_migrations};
use millstream_model::commit::Catalog;
use millstream_model::ids::{Generation, OperatorIndex};
use std::sync::Arc;

/// Cells of each state and key group that are looked at.
const CELLS_MAX: u64 = 16;

/// A version that could take over.
pub(super) struct Proposed {
    /// Position of the operator in the plan.
    pub(super) at: usize,
    pub(super) swap: SwapPlan,
    pub(super) parts: TaskParts,
}

impl Swaps {
    /// Has a module migrate some of what is stored, on a thread of its own. Where none can be had, the answer is dropped with what would have worked for it.
    pub(in crate::run) fn try_migrations(&self, trying: Trying, catalog: &Catalog) {
        let Trying { operator, factory, done } = trying;
        let proposed = self.propose_parts(&operator, &factory, catalog);
        let work = move || done(proposed.and_then(|proposed| tried(operator, &Arc::new(proposed.parts))));
        let _ = std::thread::Builder::new().name("try".to_owned()).spawn(work);
    }

    /// What tasks of the module would be made of, were it switched to. Changes nothing.
    pub(super) fn propose_parts(
        &self,
        operator: &str,
        factory: &Arc<dyn OperatorFactory>,
        catalog: &Catalog,
    ) -> Result<Proposed, SwapRefused> {
        let nodes = &self.committed.plan.operators;
        let Some((at, node)) = nodes.iter().enumerate().find(|(_, node)| node.id == operator) else {
            let known = nodes.iter().map(|node| format!("`{}`", node.id)).collect();
            return Err(SwapRefused::NoOperator { operator: operator.to_owned(), known });
        };
        let (index, new) = (OperatorIndex(at as u16), factory.descriptor());
        let around = Surroundings::of(&self.committed.plan, index, &self.committed.older_versions);
        let swap = plan(node, new, &around);
        let swap = swap.map_err(|refusals| SwapRefused::Plan { operator: operator.to_owned(), refusals })?;
        // Numbers are given in a copy: a module that is only tried leaves none behind.
        let mut catalog = catalog.clone();
        let names: Vec<&str> = new.states.iter().map(|state| state.name.as_str()).collect();
        let entry = catalog.enter(operator, &names);
        let version = (factory.digest(), Generation(node.generation.0 + 1));
        let after = swap.apply(&self.committed.plan, index, new, version);
        let node = after.operators.get(at).unwrap_or(node);
        let parts = self.maker.parts((at, node), factory, entry, swap.older_versions.clone());
        Ok(Proposed { at, swap, parts })
    }
}

fn tried(operator: String, parts: &Arc<TaskParts>) -> Result<Vec<Tried>, SwapRefused> {
    let tried = try_migrations(parts, CELLS_MAX);
    tried.map_err(|error| OpenError { operator, reason: format!("its migrations could not be tried: {error}") }.into())
}
