//! Which versions of an operator's values may lie in the store.
//!
//! A value carries the version of the state that wrote it (`millstream_model::cell`). A switch to a module that writes another version rewrites nothing at once, so
//! beside the version that is written older ones may lie about. Every commit says which (`CommitRecord::older_versions`): whatever runs next must be able to
//! read all of them. They become fewer only by a sweep that has gone through the whole state.

use millstream_model::commit::CommitRecord;
use millstream_model::descriptor::{Descriptor, StateDescriptor};
use std::collections::{BTreeMap, BTreeSet};

/// Versions of stored values beside the one that is written: by operator id, by name of the state; ascending, none empty.
pub type OlderVersions = BTreeMap<String, BTreeMap<String, Vec<u32>>>;

/// How an operator takes the values of one of its states that are in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// All of them are of the version it writes, or there are none.
    Same,
    /// It reads all of them as they are, these older versions among them.
    AsTheyAre(Vec<u32>),
    /// It reads all of them, after rewriting those of these versions.
    Migrating(Vec<u32>),
    /// It cannot read those of these versions.
    Unreadable(Vec<u32>),
}

/// How a state is read of which values of `stored` versions may lie about.
#[must_use]
pub fn reading(state: &StateDescriptor, stored: &[u32]) -> Reading {
    let others = || stored.iter().copied().filter(|&version| version != state.version);
    let unreadable: Vec<u32> = others()
        .filter(|version| !state.reads_versions.contains(version) && !state.migrates_versions.contains(version))
        .collect();
    if !unreadable.is_empty() {
        return Reading::Unreadable(unreadable);
    }
    let migrating = to_migrate(state, stored);
    if !migrating.is_empty() {
        return Reading::Migrating(migrating);
    }
    let as_they_are: Vec<u32> = others().collect();
    if as_they_are.is_empty() { Reading::Same } else { Reading::AsTheyAre(as_they_are) }
}

/// Those of the `stored` versions that the operator migrates. While there are any, a sweep of the state is not finished.
#[must_use]
pub fn to_migrate(state: &StateDescriptor, stored: &[u32]) -> Vec<u32> {
    stored
        .iter()
        .copied()
        .filter(|version| *version != state.version && state.migrates_versions.contains(version))
        .collect()
}

/// All versions of a state's values that may be in the store, when `written` is the one that was written last.
#[must_use]
pub fn stored(older: &OlderVersions, operator: &str, state: &str, written: Option<u32>) -> Vec<u32> {
    let older = older.get(operator).and_then(|states| states.get(state)).into_iter().flatten().copied();
    older.chain(written).collect::<BTreeSet<u32>>().into_iter().collect()
}

/// After a switch of an operator: what `written` wrote (versions by name of the state) lies about as well, but for what the `new` one writes itself. States that
/// the new one does not have keep all of theirs: whoever takes such a state back must read them.
pub fn after_switch(older: &mut OlderVersions, operator: &str, written: &BTreeMap<String, u32>, new: &Descriptor) {
    let mut states = older.remove(operator).unwrap_or_default();
    for (state, &version) in written {
        let versions = states.entry(state.clone()).or_default();
        versions.push(version);
    }
    for (state, versions) in &mut states {
        let now = new.states.iter().find(|other| other.name == *state).map(|state| state.version);
        versions.retain(|&version| Some(version) != now);
        versions.sort_unstable();
        versions.dedup();
    }
    states.retain(|_, versions| !versions.is_empty());
    if !states.is_empty() {
        older.insert(operator.to_owned(), states);
    }
}

/// After a sweep: no value of this version of a state is left.
pub fn after_sweep(older: &mut OlderVersions, operator: &str, state: &str, version: u32) {
    let Some(states) = older.get_mut(operator) else { return };
    if let Some(versions) = states.get_mut(state) {
        versions.retain(|&other| other != version);
    }
    states.retain(|_, versions| !versions.is_empty());
    if states.is_empty() {
        older.remove(operator);
    }
}

/// At a start behind a commit: which values the operators, described by `now`, find that are not of the version they write. An operator that has left the
/// pipeline keeps what it wrote, as if it had been switched to one without states.
#[must_use]
pub fn at_start<'a>(newest: Option<&CommitRecord>, now: impl Fn(&str) -> Option<&'a Descriptor>) -> OlderVersions {
    let Some(newest) = newest else { return OlderVersions::new() };
    let mut older = newest.older_versions.clone();
    let gone = Descriptor::default();
    for committed in &newest.operators {
        after_switch(&mut older, &committed.id, &committed.state_versions, now(&committed.id).unwrap_or(&gone));
    }
    older
}

/// States of an operator with values that it cannot read: name and versions.
#[must_use]
pub fn unreadable(older: &OlderVersions, operator: &str, descriptor: &Descriptor) -> Vec<(String, Vec<u32>)> {
    let states = descriptor.states.iter();
    states
        .filter_map(|state| match reading(state, &stored(older, operator, &state.name, None)) {
            Reading::Unreadable(versions) => Some((state.name.clone(), versions)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_model::descriptor::StateKind;
    use proptest::prelude::*;

    fn state(name: &str, version: u32, reads: &[u32], migrates: &[u32]) -> StateDescriptor {
        StateDescriptor {
            version,
            reads_versions: reads.to_vec(),
            migrates_versions: migrates.to_vec(),
            ..StateDescriptor::new(name, StateKind::Value)
        }
    }

    fn operator(states: &[StateDescriptor]) -> Descriptor {
        Descriptor { states: states.to_vec(), ..Descriptor::default() }
    }

    fn written(of: &Descriptor) -> BTreeMap<String, u32> {
        of.states.iter().map(|state| (state.name.clone(), state.version)).collect()
    }

    #[test]
    fn a_state_is_read_as_the_worst_of_its_versions_allows() {
        let of = |stored: &[u32]| reading(&state("seen", 4, &[3], &[1, 2]), stored);
        assert_eq!(of(&[]), Reading::Same);
        assert_eq!(of(&[4]), Reading::Same);
        assert_eq!(of(&[3, 4]), Reading::AsTheyAre(vec![3]));
        assert_eq!(of(&[1, 3, 4]), Reading::Migrating(vec![1]));
        assert_eq!(of(&[1, 3, 7]), Reading::Unreadable(vec![7]));
    }

    #[test]
    fn a_switch_leaves_the_old_version_lying_about_and_a_sweep_takes_it_away() {
        let mut older = OlderVersions::new();
        let (one, two) = (operator(&[state("seen", 1, &[], &[])]), operator(&[state("seen", 2, &[], &[1])]));
        after_switch(&mut older, "count", &written(&one), &one);
        assert_eq!(older, OlderVersions::new());
        after_switch(&mut older, "count", &written(&one), &two);
        assert_eq!(stored(&older, "count", "seen", Some(2)), [1, 2]);
        assert_eq!(stored(&older, "other", "seen", None), []);
        after_sweep(&mut older, "count", "seen", 7);
        assert_eq!(stored(&older, "count", "seen", None), [1]);
        after_sweep(&mut older, "count", "seen", 1);
        assert_eq!(older, OlderVersions::new());
    }

    #[test]
    fn a_return_has_to_read_what_was_written_meanwhile() {
        let mut older = OlderVersions::new();
        let one = operator(&[state("seen", 1, &[], &[])]);
        let two = operator(&[state("seen", 2, &[], &[1])]);
        after_switch(&mut older, "count", &written(&one), &two);
        after_switch(&mut older, "count", &written(&two), &one);
        assert_eq!(stored(&older, "count", "seen", None), [2]);
        assert_eq!(unreadable(&older, "count", &one), [("seen".to_owned(), vec![2])]);
        assert_eq!(unreadable(&older, "count", &operator(&[state("seen", 1, &[2], &[])])), []);
    }

    #[test]
    fn a_state_that_vanishes_keeps_its_versions_until_it_is_taken_back() {
        let mut older = OlderVersions::new();
        let with = |version| operator(&[state("seen", version, &[], &[]), state("kept", 1, &[], &[])]);
        let without = operator(&[state("kept", 1, &[], &[])]);
        after_switch(&mut older, "count", &written(&with(1)), &with(2));
        after_switch(&mut older, "count", &written(&with(2)), &without);
        after_switch(&mut older, "count", &written(&without), &without);
        assert_eq!(stored(&older, "count", "seen", None), [1, 2]);
        assert_eq!(unreadable(&older, "count", &with(2)), [("seen".to_owned(), vec![1])]);
        after_switch(&mut older, "count", &written(&without), &with(2));
        assert_eq!(stored(&older, "count", "seen", None), [1]);
    }

    proptest! {
        /// Whatever runs after whatever: each value written and not swept is of a version that is known.
        #[test]
        fn no_version_in_the_store_is_ever_forgotten(steps in prop::collection::vec((prop::option::of(1u32..4), any::<bool>()), 1..20)) {
            let mut older = OlderVersions::new();
            let (mut now, mut in_store) = (operator(&[]), BTreeSet::new());
            for (version, writes) in steps {
                let next = operator(&version.map(|version| state("seen", version, &[], &[])).into_iter().collect::<Vec<_>>());
                after_switch(&mut older, "count", &written(&now), &next);
                now = next;
                if writes {
                    in_store.extend(version);
                }
                let known = stored(&older, "count", "seen", version);
                prop_assert!(in_store.iter().all(|version| known.contains(version)), "{:?} of {:?}", known, in_store);
                let versions = older.get("count").and_then(|states| states.get("seen"));
                prop_assert!(versions.is_none_or(|versions| versions.is_sorted() && !versions.is_empty()));
            }
            let gone: Vec<u32> = stored(&older, "count", "seen", None);
            gone.iter().for_each(|&version| after_sweep(&mut older, "count", "seen", version));
            prop_assert!(older.is_empty());
        }
    }

    #[test]
    fn a_start_takes_what_the_commit_says_and_what_its_operators_wrote() {
        use millstream_model::commit::OperatorCommit;
        let committed = |id: &str, version| OperatorCommit {
            id: id.to_owned(),
            generation: Default::default(),
            digest: Default::default(),
            watermark_ms: None,
            state_versions: [("seen".to_owned(), version)].into(),
        };
        let newest = CommitRecord {
            operators: vec![committed("count", 2), committed("gone", 5)],
            older_versions: [("count".to_owned(), [("seen".to_owned(), vec![1])].into())].into(),
            ..CommitRecord::default()
        };
        let at_start = |newest: Option<&CommitRecord>, version| {
            let count = operator(&[state("seen", version, &[], &[])]);
            at_start(newest, |id| (id == "count").then_some(&count))
        };
        assert_eq!(at_start(None, 1), OlderVersions::new());
        let older = at_start(Some(&newest), 2);
        assert_eq!((stored(&older, "count", "seen", None), stored(&older, "gone", "seen", None)), (vec![1], vec![5]));
        let older = at_start(Some(&newest), 3);
        assert_eq!(older.get("count").unwrap().get("seen").unwrap(), &[1, 2]);
    }
}
