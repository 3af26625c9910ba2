//! Which version of an operator a start runs, when the pipeline file names one module and the newest commit another. Pure.
//!
//! A pipeline file says what is wanted, a commit what ran. They differ after a swap that nobody wrote into the file, and after a change of the file that nobody
//! has tried yet. What tells the two apart is whether the operator was switched since the file first named its module.

use super::plan::OlderVersions;
use millstream_model::commit::{CommitRecord, OpenRecord, OperatorCommit};
use millstream_model::ids::{Digest, Generation};
use millstream_model::plan::Plan;
use std::collections::BTreeMap;

/// The number of the first version of an operator.
pub const FIRST: Generation = Generation(1);

/// What is known of an operator's module at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The module that the pipeline file names.
    pub file: Digest,
    /// The module that it named when the pipeline was started last, and the generation that was committed when it first did.
    pub named: Option<(Digest, Generation)>,
    /// The module and generation in the newest commit.
    pub committed: Option<(Digest, Generation)>,
}

/// What a start runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtStart {
    /// The file's module: there is no commit yet, or the operator is new in the pipeline, or it is the committed one.
    File(Generation),
    /// The committed module, from the module store: a swap while running took the place of the one that the file still names.
    Committed(Digest, Generation),
    /// The committed module, and the file's is staged as a swap at once: a person changed the file, and the new module was not tried to the end yet.
    Deploy(Digest, Generation),
}

impl Found {
    /// What log or store say of an operator.
    #[must_use]
    pub fn of(operator: &str, file: Digest, open: Option<&OpenRecord>, commit: Option<&CommitRecord>) -> Self {
        let named = open.and_then(|open| {
            let since = open.named_since.get(operator).copied().unwrap_or_default();
            open.digests.get(operator).map(|digest| (*digest, since))
        });
        Self { file, named, committed: commit.and_then(|commit| committed(&commit.operators, operator)) }
    }
}

/// Decides what to run.
#[must_use]
pub fn decide(found: &Found) -> AtStart {
    match (found.committed, found.named) {
        (None, _) => AtStart::File(FIRST),
        (Some((digest, generation)), _) if digest == found.file => AtStart::File(generation),
        // It was switched since the file came to name this module: the switch is the younger word.
        (Some((digest, generation)), Some((named, since))) if named == found.file && generation > since => {
            AtStart::Committed(digest, generation)
        }
        (Some((digest, generation)), _) => AtStart::Deploy(digest, generation),
    }
}

/// For each operator, the generation that was committed when the pipeline file first named its module: carried on for as long as it names the same.
#[must_use]
pub fn named_since(
    digests: &BTreeMap<String, Digest>,
    before: Option<&OpenRecord>,
    commit: Option<&CommitRecord>,
) -> BTreeMap<String, Generation> {
    let since = |operator: &String, digest: &Digest| match before {
        Some(before) if before.digests.get(operator) == Some(digest) => {
            before.named_since.get(operator).copied().unwrap_or_default()
        }
        _ => {
            let ran = commit.and_then(|commit| committed(&commit.operators, operator));
            ran.map(|(_, generation)| generation).unwrap_or_default()
        }
    };
    digests.iter().map(|(operator, digest)| (operator.clone(), since(operator, digest))).collect()
}

/// The versions of operators in a commit, by id: what a plan is made by, and what must not have changed when the pipeline is taken.
#[must_use]
pub fn versions(commit: Option<&CommitRecord>) -> BTreeMap<String, (Digest, Generation)> {
    let operators = commit.map(|commit| commit.operators.as_slice()).unwrap_or_default();
    operators.iter().map(|operator| (operator.id.clone(), (operator.digest, operator.generation))).collect()
}

/// Versions of values that may lie about when a plan starts behind a commit: those the commit names, and those that were written up to it and are not any more.
#[must_use]
pub fn older_versions(plan: &Plan, commit: Option<&CommitRecord>) -> BTreeMap<String, OlderVersions> {
    let Some(commit) = commit else { return BTreeMap::new() };
    let mut older = commit.older_versions.clone();
    for node in &plan.operators {
        let Some(before) = commit.operators.iter().find(|operator| operator.id == node.id) else { continue };
        for (state, written) in &before.state_versions {
            let now = node.descriptor.states.iter().find(|descriptor| descriptor.name == *state);
            let about = older.entry(node.id.clone()).or_default().entry(state.clone()).or_default();
            if now.is_none_or(|now| now.version != *written) && !about.contains(written) {
                about.push(*written);
                about.sort_unstable();
            }
            if let Some(now) = now {
                about.retain(|version| *version != now.version);
            }
        }
    }
    for states in older.values_mut() {
        states.retain(|_, about| !about.is_empty());
    }
    older.retain(|_, states| !states.is_empty());
    older
}

fn committed(operators: &[OperatorCommit], id: &str) -> Option<(Digest, Generation)> {
    let operator = operators.iter().find(|operator| operator.id == id)?;
    Some((operator.digest, operator.generation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_model::descriptor::{Descriptor, StateDescriptor, StateKind};
    use millstream_model::plan::OperatorNode;

    const A: Digest = Digest([1; 32]);
    const B: Digest = Digest([2; 32]);
    const C: Digest = Digest([3; 32]);

    /// A pipeline that is started and switched, as far as restarts are decided by it.
    #[derive(Default)]
    struct Life {
        open: Option<OpenRecord>,
        commit: Option<CommitRecord>,
    }

    impl Life {
        fn start(&mut self, file: Digest) -> AtStart {
            let start = decide(&Found::of("op", file, self.open.as_ref(), self.commit.as_ref()));
            let digests = BTreeMap::from([("op".to_owned(), file)]);
            let named_since = named_since(&digests, self.open.as_ref(), self.commit.as_ref());
            let open = self.open.take().unwrap_or_default();
            self.open = Some(OpenRecord { digests, named_since, ..open });
            start
        }

        fn commit(&mut self, generation: u64, digest: Digest) {
            let operator = OperatorCommit {
                id: "op".to_owned(),
                generation: Generation(generation),
                digest,
                watermark_ms: None,
                state_versions: BTreeMap::new(),
            };
            self.commit = Some(CommitRecord { operators: vec![operator], ..CommitRecord::default() });
        }
    }

    #[test]
    fn before_the_first_commit_the_file_decides() {
        let mut life = Life::default();
        assert_eq!(life.start(A), AtStart::File(FIRST));
        assert_eq!(life.start(B), AtStart::File(FIRST));
        life.commit(1, B);
        assert_eq!(life.start(B), AtStart::File(FIRST));
    }

    #[test]
    fn what_was_swapped_in_while_the_pipeline_ran_stays() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        life.commit(2, B);
        assert_eq!(life.start(A), AtStart::Committed(B, Generation(2)));
        assert_eq!(life.start(A), AtStart::Committed(B, Generation(2)));
        // The file caught up.
        assert_eq!(life.start(B), AtStart::File(Generation(2)));
    }

    #[test]
    fn a_module_that_changed_in_the_file_is_deployed_until_it_was_tried() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        assert_eq!(life.start(B), AtStart::Deploy(A, Generation(1)));
        // It crashed, or was refused, before the switch was committed.
        assert_eq!(life.start(B), AtStart::Deploy(A, Generation(1)));
        life.commit(2, B);
        assert_eq!(life.start(B), AtStart::File(Generation(2)));
    }

    #[test]
    fn a_return_or_a_swap_after_a_deploy_is_the_younger_word() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        life.start(B);
        life.commit(2, B);
        life.commit(3, A);
        assert_eq!(life.start(B), AtStart::Committed(A, Generation(3)));
        life.commit(4, C);
        assert_eq!(life.start(B), AtStart::Committed(C, Generation(4)));
        // Naming the older one again is a change, too.
        assert_eq!(life.start(A), AtStart::Deploy(C, Generation(4)));
    }

    #[test]
    fn a_file_that_goes_back_to_what_runs_changes_nothing() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        assert_eq!(life.start(B), AtStart::Deploy(A, Generation(1)));
        assert_eq!(life.start(A), AtStart::File(FIRST));
        assert_eq!(life.start(B), AtStart::Deploy(A, Generation(1)));
    }

    #[test]
    fn an_operator_that_the_last_start_did_not_have_is_as_its_last_commit() {
        let found = Found { file: A, named: None, committed: Some((A, Generation(3))) };
        assert_eq!(decide(&found), AtStart::File(Generation(3)));
        let found = Found { file: B, ..found };
        assert_eq!(decide(&found), AtStart::Deploy(A, Generation(3)));
    }

    #[test]
    fn records_from_before_there_were_swaps_count_as_settled() {
        let named = Some((A, Generation(0)));
        assert_eq!(decide(&Found { file: A, named, committed: Some((A, Generation(1))) }), AtStart::File(FIRST));
    }

    fn state(name: &str, version: u32) -> StateDescriptor {
        StateDescriptor { version, ..StateDescriptor::new(name, StateKind::Value) }
    }

    fn plan(states: &[(&str, u32)]) -> Plan {
        let states = states.iter().map(|(name, version)| state(name, *version)).collect();
        let node = OperatorNode {
            id: "op".to_owned(),
            config: String::new(),
            name: String::new(),
            digest: A,
            generation: FIRST,
            descriptor: Descriptor { states, ..Descriptor::default() },
            keyed: true,
            stage: 0,
            outputs: Vec::new(),
            limits: Default::default(),
            on_error: Default::default(),
            retries: 0,
            null_key: Default::default(),
            output_time: None,
            windows: None,
            late: Vec::new(),
        };
        Plan {
            id: "p".to_owned(),
            sources: Vec::new(),
            operators: vec![node],
            sinks: Vec::new(),
            dead_letters: None,
            workers: 1,
            batch: Default::default(),
            commit: Default::default(),
            checkpoint_interval_ms: None,
            state_memory_bytes: 0,
        }
    }

    #[test]
    fn what_was_written_and_is_not_any_more_may_lie_about() {
        let mut life = Life::default();
        life.commit(1, A);
        let mut commit = life.commit.unwrap_or_default();
        for operator in &mut commit.operators {
            operator.state_versions = BTreeMap::from([("s".to_owned(), 2), ("gone".to_owned(), 1)]);
        }
        commit.older_versions =
            BTreeMap::from([("op".to_owned(), BTreeMap::from([("s".to_owned(), vec![1]), ("t".to_owned(), vec![7])]))]);
        let older =
            |states: &[(&str, u32)]| older_versions(&plan(states), Some(&commit)).remove("op").unwrap_or_default();
        let expected = |s: &[u32], gone: &[u32]| {
            let mut expected = BTreeMap::from([("t".to_owned(), vec![7])]);
            for (name, versions) in [("s", s), ("gone", gone)] {
                if !versions.is_empty() {
                    expected.insert(name.to_owned(), versions.to_vec());
                }
            }
            expected
        };
        assert_eq!(older(&[("s", 2), ("gone", 1)]), expected(&[1], &[]));
        assert_eq!(older(&[("s", 3), ("gone", 1)]), expected(&[1, 2], &[]));
        assert_eq!(older(&[("s", 1)]), expected(&[2], &[1]));
        assert!(older_versions(&plan(&[("s", 2)]), None).is_empty());
    }
}
