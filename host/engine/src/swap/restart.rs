//! Which module an operator starts with, when the pipeline file names one and the newest commit another. Pure.
//!
//! A pipeline file says what is wanted, a commit what ran. They differ after a swap that nobody wrote into the file, and after a change of the file that nobody
//! has tried yet. What tells the two apart is whether the operator was switched since the file first named its module.

use millstream_model::commit::{CommitRecord, OpenRecord, OperatorCommit};
use millstream_model::ids::{Digest, Generation};
use millstream_model::plan::Plan;
use std::collections::BTreeMap;

/// What a start of an operator is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The module that the pipeline file names now.
    pub file: Digest,
    /// The module it named at the last start, and the generation that was committed when it first did; `None` if it had no such operator.
    pub named: Option<(Digest, Generation)>,
    /// What ran in the newest commit; `None` before the first.
    pub committed: Option<(Generation, Digest)>,
}

/// What an operator starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The module of the pipeline file, as this generation: nothing else has run, or it is the one that is committed.
    File(Generation),
    /// The committed module: it took over from the one in the file while the pipeline ran.
    Committed(Generation, Digest),
    /// The committed module; that of the file is to take over from it, as in any other swap.
    Deploy(Generation, Digest),
}

impl Facts {
    /// What an operator is to be decided by.
    #[must_use]
    pub fn of(operator: &str, file: Digest, open: Option<&OpenRecord>, commit: Option<&CommitRecord>) -> Self {
        let named = open.and_then(|open| {
            let since = open.named_since.get(operator).copied().unwrap_or_default();
            open.digests.get(operator).map(|digest| (*digest, since))
        });
        let committed = commit.and_then(|commit| committed(&commit.operators, operator));
        Self { file, named, committed }
    }
}

/// Decides what an operator starts with.
#[must_use]
pub fn decide(facts: &Facts) -> Start {
    let Some((generation, digest)) = facts.committed else { return Start::File(Generation(1)) };
    if digest == facts.file {
        return Start::File(generation);
    }
    match facts.named {
        // It was switched since the file came to name this module: the switch is the younger word.
        Some((named, since)) if named == facts.file && generation > since => Start::Committed(generation, digest),
        // Another module than at the last start, or one that was never tried to its end.
        _ => Start::Deploy(generation, digest),
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
            ran.map(|(generation, _)| generation).unwrap_or_default()
        }
    };
    digests.iter().map(|(operator, digest)| (operator.clone(), since(operator, digest))).collect()
}

/// The first operator that a plan has otherwise than the newest commit: another process switched it after the plan was made and before the pipeline was
/// taken from it.
#[must_use]
pub fn overtaken(plan: &Plan, newest: Option<&CommitRecord>) -> Option<String> {
    let newest = newest?;
    let differs =
        |id: &str, ours: (Generation, Digest)| committed(&newest.operators, id).is_some_and(|theirs| theirs != ours);
    let nodes = plan.operators.iter();
    nodes.filter(|node| differs(&node.id, (node.generation, node.digest))).map(|node| node.id.clone()).next()
}

fn committed(operators: &[OperatorCommit], id: &str) -> Option<(Generation, Digest)> {
    let operator = operators.iter().find(|operator| operator.id == id)?;
    Some((operator.generation, operator.digest))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        fn start(&mut self, file: Digest) -> Start {
            let start = decide(&Facts::of("op", file, self.open.as_ref(), self.commit.as_ref()));
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
        assert_eq!(life.start(A), Start::File(Generation(1)));
        assert_eq!(life.start(B), Start::File(Generation(1)));
        life.commit(1, B);
        assert_eq!(life.start(B), Start::File(Generation(1)));
    }

    #[test]
    fn what_was_swapped_in_while_the_pipeline_ran_stays() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        life.commit(2, B);
        assert_eq!(life.start(A), Start::Committed(Generation(2), B));
        assert_eq!(life.start(A), Start::Committed(Generation(2), B));
        // The file caught up.
        assert_eq!(life.start(B), Start::File(Generation(2)));
    }

    #[test]
    fn a_module_that_changed_in_the_file_is_deployed_until_it_was_tried() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        assert_eq!(life.start(B), Start::Deploy(Generation(1), A));
        // It crashed, or was refused, before the switch was committed.
        assert_eq!(life.start(B), Start::Deploy(Generation(1), A));
        life.commit(2, B);
        assert_eq!(life.start(B), Start::File(Generation(2)));
    }

    #[test]
    fn a_return_or_a_swap_after_a_deploy_is_the_younger_word() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        life.start(B);
        life.commit(2, B);
        life.commit(3, A);
        assert_eq!(life.start(B), Start::Committed(Generation(3), A));
        life.commit(4, C);
        assert_eq!(life.start(B), Start::Committed(Generation(4), C));
        // Naming the older one again is a change, too.
        assert_eq!(life.start(A), Start::Deploy(Generation(4), C));
    }

    #[test]
    fn a_file_that_goes_back_to_what_runs_changes_nothing() {
        let mut life = Life::default();
        life.start(A);
        life.commit(1, A);
        assert_eq!(life.start(B), Start::Deploy(Generation(1), A));
        assert_eq!(life.start(A), Start::File(Generation(1)));
        assert_eq!(life.start(B), Start::Deploy(Generation(1), A));
    }

    #[test]
    fn an_operator_that_the_last_start_did_not_have_is_as_its_last_commit() {
        let facts = Facts { file: A, named: None, committed: Some((Generation(3), A)) };
        assert_eq!(decide(&facts), Start::File(Generation(3)));
        let facts = Facts { file: B, ..facts };
        assert_eq!(decide(&facts), Start::Deploy(Generation(3), A));
    }

    #[test]
    fn records_from_before_there_were_swaps_count_as_settled() {
        let named = Some((A, Generation(0)));
        assert_eq!(decide(&Facts { file: A, named, committed: Some((Generation(1), A)) }), Start::File(Generation(1)));
    }
}
