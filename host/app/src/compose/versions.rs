//! Which version of each operator a start runs, and which is to take over from it.

use super::operators::{Made, Unfit, Wanted, Workshop};
use super::past::Past;
use crate::capabilities;
use crate::config::{OperatorSpec, PipelineFile, Resolved};
use crate::error::{Failure, Outcome};
use crate::graph::{self, Described};
use crate::modules::Modules;
use millstream_engine::swap::plan::{OlderVersions, Refusal, Surroundings, older_at_start, plan as judge};
use millstream_engine::swap::restart::{self, AtStart, Found};
use millstream_model::commit::CommitRecord;
use millstream_model::descriptor::{Descriptor, StateDescriptor, StateKind};
use millstream_model::ids::{Digest, Generation, OperatorIndex};
use millstream_model::plan::{OperatorNode, Plan};
use millstream_wasm::ModuleSource;
use std::collections::BTreeMap;

/// What a start runs.
pub(crate) struct Lineup {
    pub(crate) plan: Plan,
    /// In the order of the plan.
    pub(crate) running: Vec<Made>,
    /// What the pipeline file names instead, to be tried one after the other.
    pub(crate) deploys: Vec<Deploy>,
    /// What the pipeline file names, by operator id.
    pub(crate) file_digests: BTreeMap<String, Digest>,
    /// What ran in the commit that this was chosen by.
    pub(crate) planned_after: BTreeMap<String, (Digest, Generation)>,
    /// Number of the changelog topic.
    pub(crate) changelog: u32,
}

impl Lineup {
    /// Keeps every module that a commit of this run may name.
    pub(crate) fn keep(&self, modules: &Modules) -> Outcome<()> {
        let all = || self.running.iter().chain(self.deploys.iter().map(|deploy| &deploy.made));
        for made in all() {
            modules.keep(made.digest(), made.source.contents())?;
        }
        modules.tidy_up(&all().map(Made::digest).collect::<Vec<_>>());
        Ok(())
    }
}

/// A module that is to take over.
#[derive(Clone)]
pub(crate) struct Deploy {
    pub(crate) operator: String,
    pub(crate) made: Made,
}

/// What is chosen from.
pub(crate) struct Choice<'a> {
    pub(crate) file: &'a PipelineFile,
    pub(crate) resolved: &'a Resolved,
    pub(crate) workshop: &'a Workshop,
    pub(crate) modules: &'a Modules,
    pub(crate) past: &'a Past,
}

/// One operator's module in the file, and the one that is committed where that is another.
struct Candidate<'a> {
    spec: &'a OperatorSpec,
    file: Made,
    start: AtStart,
    committed: Option<Result<Made, Unfit>>,
    /// Whether the file's is to show in a trial that it can take over.
    is_tried: bool,
}

impl Choice<'_> {
    /// Chooses. The committed version of an operator runs until the file's has shown in a trial that it can; where the committed one does not fit the pipeline file any
    /// more, or the file connects what only its own module has, the file's takes over between two runs.
    pub(crate) fn choose(&self, wanted: Wanted) -> Outcome<Lineup> {
        let Wanted { order, made, .. } = wanted;
        let specs = order.iter().filter_map(|at| self.resolved.operators.get(*at));
        let mut candidates =
            specs.zip(made).map(|(spec, file)| self.candidate(spec, file)).collect::<Outcome<Vec<_>>>()?;
        let mut plan = self.plan(&order, &candidates);
        if plan.is_err() {
            candidates.iter_mut().for_each(|one| one.is_tried = false);
            plan = self.plan(&order, &candidates);
        }
        let plan = plan.map_err(|failure| self.explain(failure, &candidates))?;
        for (at, one) in candidates.iter_mut().enumerate() {
            self.check(&plan, at, one)?;
        }
        let plan = self.plan(&order, &candidates)?;
        let file_digests = candidates.iter().map(|one| (one.spec.id.clone(), one.file.digest())).collect();
        let (mut running, mut deploys) = (Vec::new(), Vec::new());
        for one in candidates {
            match (one.start, one.committed) {
                (AtStart::Committed(..), Some(Ok(committed))) => running.push(committed),
                (AtStart::Deploy(..), Some(Ok(committed))) if one.is_tried => {
                    deploys.push(Deploy { operator: one.spec.id.clone(), made: one.file });
                    running.push(committed);
                }
                _ => running.push(one.file),
            }
        }
        Ok(Lineup {
            plan,
            running,
            deploys,
            file_digests,
            planned_after: restart::versions(self.past.commit.as_ref()),
            changelog: self.past.changelog(),
        })
    }

    fn plan(&self, order: &[usize], candidates: &[Candidate<'_>]) -> Outcome<Plan> {
        let described: Vec<Described> = candidates.iter().map(Candidate::starts_as).collect();
        graph::plan(self.resolved, order, &described).map_err(|problem| Failure::config(self.file.show(&problem)))
    }

    fn candidate<'a>(&self, spec: &'a OperatorSpec, file: Made) -> Outcome<Candidate<'a>> {
        let (open, commit) = (self.past.open.as_ref(), self.past.commit.as_ref());
        let start = restart::decide(&Found::of(&spec.id, file.digest(), open, commit));
        let committed = match start {
            AtStart::File(_) => None,
            AtStart::Committed(digest, generation) | AtStart::Deploy(digest, generation) => {
                let module = self.modules.committed(&spec.id, digest, generation)?;
                Some(self.workshop.make(spec, ModuleSource::bytes(digest.to_string(), module)))
            }
        };
        if let (AtStart::Committed(digest, generation), Some(Err(unfit))) = (start, &committed) {
            return Err(Failure::config(format!(
                "operator `{}` runs {digest} (generation {generation}), which was swapped in after the one in the pipeline file, and it does not open as the file has the operator now: {}",
                spec.id,
                unfit.show(self.file)
            )));
        }
        let is_tried = matches!((start, &committed), (AtStart::Deploy(..), Some(Ok(_))));
        Ok(Candidate { spec, file, start, committed, is_tried })
    }

    /// Why the graph does not fit versions that are not the file's.
    fn explain(&self, failure: Failure, candidates: &[Candidate<'_>]) -> Failure {
        let swapped = candidates.iter().filter_map(|one| match one.start {
            AtStart::Committed(digest, generation) => {
                Some(format!("`{}` runs {digest} (generation {generation})", one.spec.id))
            }
            _ => None,
        });
        let swapped: Vec<String> = swapped.collect();
        Failure::config(format!(
            "{}\nthe pipeline file fits the modules it names, but others were swapped in since: {}; name them in the file, or swap back before the restart",
            failure.text,
            swapped.join(", ")
        ))
    }

    /// Refuses what no trial would let pass, before anything is changed.
    fn check(&self, plan: &Plan, at: usize, one: &mut Candidate<'_>) -> Outcome<()> {
        let (AtStart::Deploy(_, generation), Some(commit)) = (one.start, &self.past.commit) else { return Ok(()) };
        let refuse = |reason: String| {
            Failure::config(format!(
                "operator `{}`: the module in the pipeline file ({}) cannot take over from generation {generation}: {reason}\nnothing was changed",
                one.spec.id,
                one.file.digest()
            ))
        };
        let index = OperatorIndex(u16::try_from(at).unwrap_or(u16::MAX));
        let Some(node) = plan.operator(index) else { return Ok(()) };
        let new = one.file.factory.descriptor();
        let older = older_at_start(commit, plan);
        let mut verdict = judge(node, new, &Surroundings::of(plan, index, &older)).map(drop);
        if !one.is_tried || verdict.is_err() {
            // The file connects its own module's ports: between two runs only states have to fit.
            let older = commit.older_versions.get(&one.spec.id).cloned().unwrap_or_default();
            let between = judge_states(node, (&states_of(commit, &one.spec.id, new), new), older);
            if one.is_tried && between.is_ok() {
                one.is_tried = false;
                verdict = Ok(());
            } else if !one.is_tried {
                verdict = between;
            }
        }
        if let Err(refusals) = verdict {
            return Err(refuse(refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
        }
        if let Some(Ok(committed)) = &one.committed {
            let growth = capabilities::growth(&committed.imports(), &one.file.imports(), &one.spec.allow);
            if let Some(text) = capabilities::refusal(&growth) {
                let needed = capabilities::needed(&growth).join(", ");
                let advice = format!("if it may, say `allow: [{needed}]` for the operator in the pipeline file");
                return Err(refuse(format!("{text}: {advice}")));
            }
        }
        if !one.is_tried {
            let reason = match &one.committed {
                Some(Err(unfit)) => format!("the one before does not open as the file has it: {}", unfit.text()),
                _ => "the one before has not the ports that the file connects".to_owned(),
            };
            tracing::warn!(operator = one.spec.id, "a new module takes over without a trial, since {reason}");
        }
        Ok(())
    }
}

/// Whether a module can take over states between two runs, with whatever ports the file connects.
fn judge_states(
    node: &OperatorNode,
    (before, new): (&[StateDescriptor], &Descriptor),
    older_versions: OlderVersions,
) -> Result<(), Vec<Refusal>> {
    let descriptor = Descriptor { states: before.to_vec(), ..new.clone() };
    let node = OperatorNode { descriptor, outputs: vec![Vec::new(); new.outputs.len()], ..node.clone() };
    judge(&node, new, &Surroundings { older_versions, ..Surroundings::default() }).map(drop)
}

/// The states of the version that ran, as far as its last commit tells.
fn states_of(commit: &CommitRecord, operator: &str, new: &Descriptor) -> Vec<StateDescriptor> {
    let ran = commit.operators.iter().find(|ran| ran.id == operator);
    let versions = ran.into_iter().flat_map(|ran| &ran.state_versions);
    let kind = |name: &str| new.states.iter().find(|state| state.name == name).map(|state| state.kind);
    let state = |(name, version): (&String, &u32)| StateDescriptor {
        name: name.clone(),
        kind: kind(name).unwrap_or(StateKind::Value),
        version: *version,
        reads_versions: Vec::new(),
        migrates_versions: Vec::new(),
    };
    versions.map(state).collect()
}

impl Candidate<'_> {
    /// What runs first; a deploy that is not tried runs at once.
    fn starts_as(&self) -> Described {
        match (self.start, &self.committed) {
            (AtStart::File(generation), _) => self.file.described(generation),
            (AtStart::Committed(_, generation), Some(Ok(committed))) => committed.described(generation),
            (AtStart::Deploy(_, generation), Some(Ok(committed))) if self.is_tried => committed.described(generation),
            (AtStart::Committed(_, generation) | AtStart::Deploy(_, generation), _) => {
                self.file.described(Generation(generation.0 + 1))
            }
        }
    }
}
