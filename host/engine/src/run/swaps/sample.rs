use super::Swaps;
use crate::ports::OpenError;
use crate::run::control::Trying;
use crate::swap::plan::plan;
use crate::swap::{Surroundings, SwapRefused};
use crate::task::{TaskParts, Tried, try_migrations};
use millstream_model::commit::Catalog;
use millstream_model::ids::{Generation, OperatorIndex};
use std::sync::Arc;

/// Cells of each state and key group that are looked at.
const CELLS_MAX: u64 = 16;

impl Swaps {
    /// Has a module migrate some of what is stored, on a thread of its own. Where none can be had, the answer is dropped with what would have worked for it.
    pub(in crate::run) fn try_migrations(&self, trying: Trying, catalog: &Catalog) {
        let parts = self.parts_to_try(&trying, catalog);
        let Trying { operator, done, .. } = trying;
        let work = move || done(parts.and_then(|parts| tried(operator, &Arc::new(parts))));
        let _ = std::thread::Builder::new().name("try".to_owned()).spawn(work);
    }

    /// What tasks of the module would be made of, were it switched to.
    fn parts_to_try(&self, trying: &Trying, catalog: &Catalog) -> Result<TaskParts, SwapRefused> {
        let Trying { operator, factory, .. } = trying;
        let nodes = &self.committed.plan.operators;
        let Some((at, node)) = nodes.iter().enumerate().find(|(_, node)| node.id == *operator) else {
            let known = nodes.iter().map(|node| format!("`{}`", node.id)).collect();
            return Err(SwapRefused::NoOperator { operator: operator.clone(), known });
        };
        let (index, new) = (OperatorIndex(at as u16), factory.descriptor());
        let around = Surroundings::of(&self.committed.plan, index, &self.committed.older_versions);
        let swap = plan(node, new, &around);
        let swap = swap.map_err(|refusals| SwapRefused::Plan { operator: operator.clone(), refusals })?;
        // Numbers are given in a copy: a module that is only tried leaves none behind.
        let mut catalog = catalog.clone();
        let names: Vec<&str> = new.states.iter().map(|state| state.name.as_str()).collect();
        let entry = catalog.enter(operator, &names);
        let version = (factory.digest(), Generation(node.generation.0 + 1));
        let after = swap.apply(&self.committed.plan, index, new, version);
        let node = after.operators.get(at).unwrap_or(node);
        Ok(self.maker.parts((at, node), factory, entry, swap.older_versions))
    }
}

fn tried(operator: String, parts: &Arc<TaskParts>) -> Result<Vec<Tried>, SwapRefused> {
    let tried = try_migrations(parts, CELLS_MAX);
    tried.map_err(|error| OpenError { operator, reason: format!("its migrations could not be tried: {error}") }.into())
}
