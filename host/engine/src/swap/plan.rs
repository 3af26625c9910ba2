//! Whether a new descriptor can take the place of a running one, and what the switch does. Pure.

mod states;
#[cfg(test)]
mod tests;

pub use states::{StatePlan, StateVerdict, older_at_start, unread};

use millstream_model::descriptor::Descriptor;
use millstream_model::ids::{Digest, Generation, OperatorIndex};
use millstream_model::plan::{OperatorNode, Plan, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Versions of stored values that may lie about beside the one that is written, by name of the state.
pub type OlderVersions = BTreeMap<String, Vec<u32>>;

/// What is around an operator, as far as a swap has to mind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Positions of the inputs that something feeds.
    pub fed_inputs: BTreeSet<u32>,
    /// See [`OlderVersions`]; states that the operator no longer has are in it too.
    pub older_versions: OlderVersions,
}

impl Surroundings {
    /// Those of an operator of a plan; `older_versions` are those of all operators, as a commit record has them.
    #[must_use]
    pub fn of(plan: &Plan, operator: OperatorIndex, older_versions: &BTreeMap<String, OlderVersions>) -> Self {
        let of_sources = plan.sources.iter().flat_map(|source| &source.targets);
        let of_operators = plan.operators.iter().flat_map(|node| node.outputs.iter().flatten());
        let fed = of_sources.chain(of_operators).filter_map(|target| match target {
            Target::Operator { operator: to, input } if *to == operator => Some(*input),
            _ => None,
        });
        let older = plan.operator(operator).and_then(|node| older_versions.get(&node.id));
        Self { fed_inputs: fed.collect(), older_versions: older.cloned().unwrap_or_default() }
    }
}

/// One reason why a module does not fit, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// What does not fit, like "state `seen`".
    pub what: String,
    /// Why not.
    pub reason: String,
    /// What to do instead.
    pub advice: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.what, self.reason, self.advice)
    }
}

/// A swap that is possible: what it does.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SwapPlan {
    /// What becomes of each state: those of the new descriptor in its order, then those that vanish.
    pub states: Vec<StatePlan>,
    /// The new position of each input, by the one it has; `None`: it vanishes, and nothing feeds it.
    pub inputs: Vec<Option<u32>>,
    /// The position each output had, by its new one; `None`: it is new, and leads nowhere.
    pub outputs: Vec<Option<u32>>,
    /// Whether values in memory can stay there: the states are the same, in the same order.
    pub keeps_cache: bool,
    /// Versions that may lie about after the switch.
    pub older_versions: OlderVersions,
    /// Why there is no way back after the trial; empty: there is one.
    pub no_return: Vec<Refusal>,
    /// What else a person should know before.
    pub notes: Vec<String>,
}

/// Decides whether `new` can take the place of what `current` runs.
///
/// # Errors
/// Every reason why it cannot.
pub fn plan(current: &OperatorNode, new: &Descriptor, around: &Surroundings) -> Result<SwapPlan, Vec<Refusal>> {
    let mut plan = forward(current, new, around)?;
    let after = OperatorNode { descriptor: new.clone(), ..plan.rewire(current) };
    let around_after = Surroundings {
        fed_inputs: around.fed_inputs.iter().filter_map(|input| *plan.inputs.get(*input as usize)?).collect(),
        older_versions: plan.older_versions.clone(),
    };
    if let Err(refusals) = forward(&after, &current.descriptor, &around_after) {
        plan.no_return = refusals;
        plan.notes.push("there is no return after the trial".to_owned());
    }
    Ok(plan)
}

fn forward(current: &OperatorNode, new: &Descriptor, around: &Surroundings) -> Result<SwapPlan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    if new.is_keyed() && !current.keyed {
        refusals.push(Refusal {
            what: "the module".to_owned(),
            reason: "has state, and records do not reach the operator by key".to_owned(),
            advice: "say `key_by: key` for the operator in the pipeline file and restart with the new module"
                .to_owned(),
        });
    }
    match_timers(&current.descriptor, new, &mut refusals);
    let inputs = match_inputs(&current.descriptor, new, around, &mut refusals);
    let outputs = match_outputs(current, new, &mut refusals);
    let (states, older_versions) = states::judge(&current.descriptor, new, &around.older_versions, &mut refusals);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let keeps_cache = states::keep_cache(&current.descriptor, new, &around.older_versions);
    let notes = states.iter().filter_map(StatePlan::note).collect();
    Ok(SwapPlan { states, inputs, outputs, keeps_cache, older_versions, no_return: Vec::new(), notes })
}

fn match_inputs(
    old: &Descriptor,
    new: &Descriptor,
    around: &Surroundings,
    refusals: &mut Vec<Refusal>,
) -> Vec<Option<u32>> {
    let mut places = Vec::new();
    for (at, input) in (0u32..).zip(&old.inputs) {
        let place = (0u32..).zip(&new.inputs).find(|(_, other)| other.name == input.name).map(|(place, _)| place);
        if place.is_none() && around.fed_inputs.contains(&at) {
            refusals.push(Refusal {
                what: format!("input `{}`", input.name),
                reason: "is fed by the pipeline, and the module does not have it".to_owned(),
                advice: format!(
                    "keep it, or disconnect it in the pipeline file and restart; the module has {}",
                    names(new.inputs.iter().map(|input| &input.name))
                ),
            });
        }
        places.push(place);
    }
    places
}

/// Timers that the new version does not declare would never fire; whether any is pending is not known here.
fn match_timers(old: &Descriptor, new: &Descriptor, refusals: &mut Vec<Refusal>) {
    for timer in old.timers.iter().filter(|timer| !new.timers.contains(timer)) {
        let reason = match new.timers.iter().find(|other| other.name == timer.name) {
            Some(other) => format!("goes by `{}`, and by `{}` in the module", timer.clock.name(), other.clock.name()),
            None => "may be pending, and the module does not declare it".to_owned(),
        };
        refusals.push(Refusal {
            what: format!("timer `{}`", timer.name),
            reason,
            advice: "go on declaring it as it is, and handle what is left of it; a restart with the new module is possible once none is pending"
                .to_owned(),
        });
    }
}

fn match_outputs(current: &OperatorNode, new: &Descriptor, refusals: &mut Vec<Refusal>) -> Vec<Option<u32>> {
    let old = &current.descriptor.outputs;
    for (name, targets) in old.iter().zip(&current.outputs) {
        if !targets.is_empty() && !new.outputs.contains(name) {
            refusals.push(Refusal {
                what: format!("output `{name}`"),
                reason: "is connected, and the module does not have it".to_owned(),
                advice: format!(
                    "keep it, or disconnect it in the pipeline file and restart; the module has {}",
                    names(new.outputs.iter())
                ),
            });
        }
    }
    let place = |name| (0u32..).zip(old).find(|(_, other)| *other == name).map(|(place, _)| place);
    new.outputs.iter().map(place).collect()
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl SwapPlan {
    /// Whether the version before could take over again once this one has written.
    #[must_use]
    pub fn can_return(&self) -> bool {
        self.no_return.is_empty()
    }

    /// The operator's node with its outputs where the new module has them.
    fn rewire(&self, current: &OperatorNode) -> OperatorNode {
        let targets = |from: &Option<u32>| from.and_then(|from| current.outputs.get(from as usize)).cloned();
        let outputs = self.outputs.iter().map(|from| targets(from).unwrap_or_default()).collect();
        OperatorNode { outputs, ..current.clone() }
    }

    /// The pipeline after the switch.
    #[must_use]
    pub fn apply(
        &self,
        plan: &Plan,
        operator: OperatorIndex,
        new: &Descriptor,
        (digest, generation): (Digest, Generation),
    ) -> Plan {
        let mut after = plan.clone();
        let Some(node) = after.operators.get_mut(operator.at()) else { return after };
        *node = OperatorNode { descriptor: new.clone(), digest, generation, ..self.rewire(node) };
        let of_sources = after.sources.iter_mut().flat_map(|source| &mut source.targets);
        let of_operators = after.operators.iter_mut().flat_map(|node| node.outputs.iter_mut().flatten());
        for target in of_sources.chain(of_operators) {
            if let Target::Operator { operator: to, input } = target
                && *to == operator
                && let Some(place) = self.inputs.get(*input as usize).copied().flatten()
            {
                *input = place;
            }
        }
        after
    }
}
