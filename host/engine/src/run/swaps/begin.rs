use super::{Step, Swaps, UnderWay};
use crate::commit::Committer;
use crate::ports::OperatorFactory;
use crate::run::control::Asking;
use crate::run::prepare::Preparation;
use crate::swap::EventKind;
use crate::swap::plan::{Refusal, plan};
use crate::swap::{ProbationRules, Standing, Surroundings, SwapAnswer, SwapKind, SwapPlan, SwapRefused, TrialRules};
use crate::worker::Lineup;
use millstream_model::ids::{Generation, OperatorIndex};
use std::sync::Arc;

/// What is to take over, and how.
struct Wanted {
    operator: usize,
    factory: Arc<dyn OperatorFactory>,
    rules: TrialRules,
    probation: ProbationRules,
    kind: SwapKind,
    because: String,
}

impl Swaps {
    /// Begins what was asked for, or tells why not.
    pub(in crate::run) fn ask(&mut self, asking: Asking, committer: &mut Committer) {
        match self.want(&asking) {
            Ok(mut wanted) => {
                let done = match asking {
                    Asking::Swap(request) => {
                        (wanted.rules, wanted.probation) = (request.rules, request.probation);
                        request.done
                    }
                    Asking::Rollback { done, .. } => done,
                };
                self.begin(wanted, Some(done), committer);
            }
            Err(refused) => asking.refuse(|_| refused),
        }
    }

    fn want(&self, asking: &Asking) -> Result<Wanted, SwapRefused> {
        let id = asking.operator();
        let nodes = &self.committed.plan.operators;
        let Some(operator) = nodes.iter().position(|node| node.id == id) else {
            let known = nodes.iter().map(|node| format!("`{}`", node.id)).collect();
            return Err(SwapRefused::NoOperator { operator: id.to_owned(), known });
        };
        if let Some(under_way) = &self.under_way {
            let busy = nodes.get(under_way.operator).map(|node| node.id.clone()).unwrap_or_default();
            return Err(SwapRefused::Busy { operator: busy, phase: under_way.phase().name() });
        }
        match asking {
            Asking::Swap(request) => {
                request.rules.check().map_err(SwapRefused::Rules)?;
                Ok(Wanted {
                    operator,
                    factory: Arc::clone(&request.factory),
                    rules: TrialRules::default(),
                    probation: ProbationRules::default(),
                    kind: request.kind,
                    because: String::new(),
                })
            }
            Asking::Rollback { .. } => self.want_return(operator, String::new()),
        }
    }

    /// The version before, if it is there and can read what was written since.
    fn want_return(&self, operator: usize, because: String) -> Result<Wanted, SwapRefused> {
        let id = self.committed.plan.operators.get(operator).map(|node| node.id.clone()).unwrap_or_default();
        let refused = |reason: String| SwapRefused::NoReturn { operator: id.clone(), reason };
        let Some(previous) = self.seats.get(operator).and_then(|seat| seat.previous.as_ref()) else {
            let reason = "no version ran before it in this process, or it came back itself; name the module to go back to in a `swap`";
            return Err(refused(reason.to_owned()));
        };
        if !previous.no_return.is_empty() {
            let reasons: Vec<String> = previous.no_return.iter().map(ToString::to_string).collect();
            return Err(refused(reasons.join("; ")));
        }
        Ok(Wanted {
            operator,
            factory: Arc::clone(&previous.parts.factory),
            rules: TrialRules::default(),
            probation: ProbationRules::default(),
            kind: SwapKind::Return,
            because,
        })
    }

    fn begin(&mut self, wanted: Wanted, done: Option<SwapAnswer>, committer: &mut Committer) {
        let (plan, next) = match self.propose(&wanted, committer) {
            Ok(proposed) => proposed,
            Err(refused) => {
                self.tell(wanted.operator, EventKind::Refused, wanted.factory.digest(), refused.to_string());
                if let Some(done) = done {
                    done(Err(refused));
                }
                return;
            }
        };
        let id = next.plan.operators.get(wanted.operator).map(|node| node.id.as_str()).unwrap_or_default();
        let preparation = Preparation::begin(id, &wanted.factory, self.workers);
        let Wanted { operator, rules, probation, kind, because, .. } = wanted;
        self.under_way = Some(UnderWay {
            operator,
            kind,
            rules,
            probation,
            plan,
            next,
            because,
            done,
            excused: 0,
            trial_records: 0,
            step: Step::Preparing(preparation),
        });
        self.show();
    }

    /// What the switch does, and what runs after it.
    fn propose(&self, wanted: &Wanted, committer: &mut Committer) -> Result<(SwapPlan, Arc<Lineup>), SwapRefused> {
        let (at, before) = (wanted.operator, &self.committed);
        let index = OperatorIndex(at as u16);
        let Some(node) = before.plan.operators.get(at) else {
            return Err(SwapRefused::NoOperator { operator: String::new(), known: Vec::new() });
        };
        let described = node.windows.map(|windows| windows.describe(wanted.factory.descriptor().clone()));
        let new = described.as_ref().unwrap_or_else(|| wanted.factory.descriptor());
        let refused = |refusals| SwapRefused::Plan { operator: node.id.clone(), refusals };
        let around = Surroundings::of(&before.plan, index, &before.older_versions);
        let swap = plan(node, new, &around).map_err(refused)?;
        let cells = new.cells_names();
        let names: Vec<&str> = cells.iter().map(String::as_str).collect();
        let entry = if names.is_empty() { None } else { committer.enter_states(&node.id, &names) };
        if entry.is_none() && !names.is_empty() {
            return Err(refused(vec![Refusal {
                what: "the module".to_owned(),
                reason: "has states for which no numbers are left".to_owned(),
                advice: "this lineage has named 256 of them for the operator; `millstream reset` begins a new one"
                    .to_owned(),
            }]));
        }
        let version = (wanted.factory.digest(), Generation(node.generation.0 + 1));
        let plan = swap.apply(&before.plan, index, new, version);
        let mut older_versions = before.older_versions.clone();
        older_versions.insert(node.id.clone(), swap.older_versions.clone());
        let mut operators = before.operators.clone();
        if let (Some(seat), Some(node)) = (operators.get_mut(at), plan.operators.get(at)) {
            let parts = self.maker.parts((at, node), &wanted.factory, entry.as_ref(), swap.older_versions.clone());
            *seat = Arc::new(parts);
        }
        Ok((swap, Arc::new(Lineup { plan: Arc::new(plan), operators, older_versions })))
    }

    /// Ends probations that are over. One that failed brings the version before back.
    pub(super) fn end_probations(&mut self, committer: &mut Committer) {
        let now_ms = self.now_ms();
        for operator in 0..self.seats.len() {
            let Some(seat) = self.seats.get_mut(operator) else { continue };
            let Some(standing) = seat.probation.as_ref().map(|probation| probation.standing(now_ms)) else { continue };
            if standing == Standing::Open {
                continue;
            }
            seat.probation = None;
            let digest = self.committed.plan.operators.get(operator).map(|node| node.digest).unwrap_or_default();
            match standing {
                Standing::Failed(reason) => match self.want_return(operator, reason.clone()) {
                    Ok(wanted) => {
                        self.begin(wanted, None, committer);
                        self.show();
                        return;
                    }
                    Err(refused) => self.tell(operator, EventKind::Stuck, digest, format!("{reason}; {refused}")),
                },
                _ => self.tell(operator, EventKind::Settled, digest, String::new()),
            }
            self.show();
        }
    }
}
