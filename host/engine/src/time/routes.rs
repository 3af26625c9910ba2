use millstream_model::descriptor::InputKind;
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
    /// By operator, by edge: how what comes by it reaches the operator.
    edges: Vec<Vec<InputKind>>,
}

impl Routes {
    /// The ways through a plan; none if no operator needs marks.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let marked = plan.marked();
        let mut edges: Vec<Vec<InputKind>> = vec![Vec::new(); plan.operators.len()];
        let mut routes = |targets: Vec<Target>| {
            let mut routes: Vec<(Route, InputKind)> = Vec::new();
            for target in targets {
                let Target::Operator { operator, input } = target else { continue };
                let kind = plan.operator(operator).map_or(InputKind::Records, |node| node.descriptor.input_kind(input));
                let is_known = routes.iter().any(|(route, other)| route.operator == operator.0 && *other == kind);
                if is_known || !marked.get(operator.at()).copied().unwrap_or(false) {
                    continue;
                }
                if let Some(edges) = edges.get_mut(operator.at()) {
                    routes.push((Route { operator: operator.0, edge: edges.len() as u16 }, kind));
                    edges.push(kind);
                }
            }
            routes.into_iter().map(|(route, _)| route).collect()
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

    /// The edges on which marks come to an operator, by the kind of input.
    #[must_use]
    pub fn edges(&self, at: usize) -> &[InputKind] {
        self.edges.get(at).map_or(&[], Vec::as_slice)
    }

    /// Whether what comes by an edge reaches the operator on every worker, by way of the first.
    #[must_use]
    pub fn is_broadcast(&self, route: Route) -> bool {
        self.edges(route.operator.into()).get(usize::from(route.edge)) == Some(&InputKind::Broadcast)
    }
}
