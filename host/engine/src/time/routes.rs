use millstream_model::plan::{Plan, Target};

/// An edge that marks travel: to which operator, and as which of its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Position of the operator in the plan.
    pub operator: u16,
    /// Which of the operator's edges.
    pub edge: u16,
}

/// The ways that marks go through a plan: the edges to operators that need them, or that feed one that does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    sources: Vec<Vec<Route>>,
    operators: Vec<Vec<Route>>,
    /// By operator: number of its edges.
    edges: Vec<u16>,
}

impl Routes {
    /// The ways through a plan; none if no operator needs marks.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let marked = plan.marked();
        let mut edges = vec![0; plan.operators.len()];
        let mut routes = |targets: Vec<Target>| {
            let mut routes: Vec<Route> = Vec::new();
            for target in targets {
                let Target::Operator { operator, .. } = target else { continue };
                let is_known = routes.iter().any(|route| route.operator == operator.0);
                if is_known || !marked.get(operator.at()).copied().unwrap_or(false) {
                    continue;
                }
                if let Some(edge) = edges.get_mut(operator.at()) {
                    routes.push(Route { operator: operator.0, edge: *edge });
                    *edge += 1;
                }
            }
            routes
        };
        let sources = plan.sources.iter().map(|node| routes(node.targets.clone())).collect();
        let operators = plan.operators.iter().map(|node| routes(node.outputs.concat())).collect();
        Self { sources, operators, edges }
    }

    /// Where a source's marks go.
    #[must_use]
    pub fn of_source(&self, at: usize) -> &[Route] {
        self.sources.get(at).map_or(&[], Vec::as_slice)
    }

    /// Where an operator's marks go.
    #[must_use]
    pub fn of_operator(&self, at: usize) -> &[Route] {
        self.operators.get(at).map_or(&[], Vec::as_slice)
    }

    /// On how many edges marks come to an operator.
    #[must_use]
    pub fn edges(&self, at: usize) -> usize {
        self.edges.get(at).copied().unwrap_or(0).into()
    }
}
