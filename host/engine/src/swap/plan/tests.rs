#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use millstream_model::commit::{CommitRecord, OperatorCommit};
use millstream_model::descriptor::{InputDescriptor, InputKind, StateDescriptor, StateKind};
use millstream_model::ids::SinkIndex;
use millstream_model::limits::OperatorLimits;
use millstream_model::plan::SourceNode;

fn state(name: &str, version: u32, reads: &[u32], migrates: &[u32]) -> StateDescriptor {
    let (reads_versions, migrates_versions) = (reads.to_vec(), migrates.to_vec());
    StateDescriptor { version, reads_versions, migrates_versions, ..StateDescriptor::new(name, StateKind::Value) }
}

fn with_states(states: Vec<StateDescriptor>) -> Descriptor {
    Descriptor { inputs: inputs(&["in"]), outputs: vec!["out".to_owned()], states, ..Descriptor::default() }
}

fn with_ports(ins: &[&str], outs: &[&str]) -> Descriptor {
    let outputs = outs.iter().map(|name| (*name).to_owned()).collect();
    Descriptor { inputs: inputs(ins), outputs, ..Descriptor::default() }
}

fn inputs(names: &[&str]) -> Vec<InputDescriptor> {
    names.iter().map(|name| InputDescriptor { name: (*name).to_owned(), kind: InputKind::Records }).collect()
}

fn sink(number: u16) -> Vec<Target> {
    vec![Target::Sink(SinkIndex(number))]
}

fn node(descriptor: Descriptor, outputs: Vec<Vec<Target>>) -> OperatorNode {
    OperatorNode {
        id: "count".to_owned(),
        config: "{}".to_owned(),
        name: "count".to_owned(),
        digest: Digest::default(),
        generation: Generation(3),
        descriptor,
        keyed: true,
        stage: 1,
        outputs,
        limits: OperatorLimits::default(),
        on_error: Default::default(),
        retries: 0,
        null_key: Default::default(),
        output_time: None,
        windows: None,
        late: Vec::new(),
    }
}

fn around(fed: &[u32], older: &[(&str, &[u32])]) -> Surroundings {
    let older_versions = older.iter().map(|(name, versions)| ((*name).to_owned(), versions.to_vec())).collect();
    Surroundings { fed_inputs: fed.iter().copied().collect(), older_versions }
}

/// The swap from one list of states to another, with these older versions about.
fn swap(
    old: Vec<StateDescriptor>,
    new: Vec<StateDescriptor>,
    older: &[(&str, &[u32])],
) -> Result<SwapPlan, Vec<Refusal>> {
    plan(&node(with_states(old), vec![sink(0)]), &with_states(new), &around(&[0], older))
}

fn verdicts(plan: &SwapPlan) -> Vec<(&str, StateVerdict)> {
    plan.states.iter().map(|state| (state.name.as_str(), state.verdict.clone())).collect()
}

fn reason(refused: Result<SwapPlan, Vec<Refusal>>) -> String {
    let refusals = refused.unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals.first().unwrap().to_string()
}

fn older(plan: &SwapPlan) -> Vec<(&str, &[u32])> {
    plan.older_versions.iter().map(|(name, versions)| (name.as_str(), versions.as_slice())).collect()
}

#[test]
fn the_same_states_keep_what_is_in_memory_and_can_go_back() {
    let states = || vec![state("seen", 1, &[], &[]), state("last", 4, &[], &[])];
    let plan = swap(states(), states(), &[]).unwrap();
    assert_eq!(verdicts(&plan), [("seen", StateVerdict::Same), ("last", StateVerdict::Same)]);
    assert!(plan.keeps_cache && plan.can_return() && plan.notes.is_empty(), "{plan:?}");
    assert_eq!(older(&plan), []);
}

#[test]
fn states_in_another_order_are_the_same_and_leave_memory() {
    let (seen, last) = (state("seen", 1, &[], &[]), state("last", 4, &[], &[]));
    let plan = swap(vec![seen.clone(), last.clone()], vec![last, seen], &[]).unwrap();
    assert_eq!(verdicts(&plan), [("last", StateVerdict::Same), ("seen", StateVerdict::Same)]);
    assert!(!plan.keeps_cache && plan.can_return());
}

#[test]
fn a_version_that_is_read_lies_about_from_now_on() {
    let plan = swap(vec![state("seen", 1, &[], &[])], vec![state("seen", 2, &[1], &[])], &[]).unwrap();
    assert_eq!(verdicts(&plan), [("seen", StateVerdict::Readable { from: vec![1] })]);
    assert_eq!(older(&plan), [("seen", [1].as_slice())]);
    assert!(!plan.keeps_cache);
    assert!(!plan.can_return(), "version 1 does not read version 2");
    assert!(plan.no_return.first().unwrap().reason.contains("version 2"), "{plan:?}");
}

#[test]
fn code_that_reads_what_the_new_one_writes_may_come_back() {
    let (old, new) = (state("seen", 1, &[2], &[]), state("seen", 2, &[1], &[]));
    let plan = swap(vec![old.clone()], vec![new.clone()], &[]).unwrap();
    assert!(plan.can_return());
    // Back again: what was written meanwhile stays about.
    let back = swap(vec![new], vec![old], &[("seen", &[1])]).unwrap();
    assert_eq!(older(&back), [("seen", [2].as_slice())]);
    assert!(back.can_return());
}

#[test]
fn versions_that_nobody_reads_are_refused_wherever_they_come_from() {
    let refused = swap(vec![state("seen", 1, &[], &[])], vec![state("seen", 2, &[], &[])], &[]);
    let text = reason(refused);
    assert!(text.starts_with("state `seen` holds values of version 1") && text.contains("another name"), "{text}");
    // The version before the one before is still about.
    let refused = swap(vec![state("seen", 2, &[1], &[])], vec![state("seen", 3, &[2], &[])], &[("seen", &[1])]);
    assert!(reason(refused).contains("version 1"));
    assert!(swap(vec![state("seen", 2, &[1], &[])], vec![state("seen", 3, &[2, 1], &[])], &[("seen", &[1])]).is_ok());
}

#[test]
fn a_migration_is_told_before_and_allows_no_third_version_until_it_is_done() {
    let (one, two) = (state("seen", 1, &[], &[]), state("seen", 2, &[], &[1]));
    let plan = swap(vec![one.clone()], vec![two.clone()], &[]).unwrap();
    assert_eq!(verdicts(&plan), [("seen", StateVerdict::Migrates { from: vec![1] })]);
    assert_eq!(older(&plan), [("seen", [1].as_slice())]);
    assert!(plan.notes.iter().any(|note| note.contains("migrated")) && !plan.can_return());
    let three = || vec![state("seen", 3, &[], &[1, 2])];
    assert!(reason(swap(vec![two.clone()], three(), &[("seen", &[1])])).contains("still being migrated"));
    assert!(swap(vec![two.clone()], three(), &[]).is_ok(), "the sweep is done");
    // Another module of the same version may take over meanwhile if it migrates as well.
    assert!(swap(vec![two.clone()], vec![two], &[("seen", &[1])]).is_ok());
    assert!(swap(vec![state("seen", 2, &[], &[1])], vec![state("seen", 2, &[], &[])], &[("seen", &[1])]).is_err());
}

#[test]
fn a_value_that_was_read_as_it_is_does_not_stay_in_memory_for_code_that_migrates_it() {
    let reads = || vec![state("seen", 2, &[1], &[])];
    let migrates = || vec![state("seen", 2, &[], &[1])];
    assert!(!swap(reads(), migrates(), &[("seen", &[1])]).unwrap().keeps_cache);
    assert!(swap(migrates(), reads(), &[("seen", &[1])]).unwrap().keeps_cache);
    assert!(swap(reads(), reads(), &[("seen", &[1])]).unwrap().keeps_cache);
    assert!(swap(reads(), migrates(), &[]).unwrap().keeps_cache, "nothing of version 1 is about any more");
}

#[test]
fn a_state_that_vanishes_stays_where_it_is_and_is_found_again() {
    let (seen, last) = (state("seen", 1, &[], &[]), state("last", 1, &[], &[]));
    let gone = swap(vec![seen.clone(), last.clone()], vec![seen.clone()], &[]).unwrap();
    assert_eq!(verdicts(&gone), [("seen", StateVerdict::Same), ("last", StateVerdict::Vanished)]);
    assert_eq!(older(&gone), [("last", [1].as_slice())]);
    assert!(gone.can_return() && gone.notes.iter().any(|note| note.contains("cells stay")));
    let back = swap(vec![seen.clone()], vec![seen.clone(), last], &[("last", &[1])]).unwrap();
    assert_eq!(verdicts(&back), [("seen", StateVerdict::Same), ("last", StateVerdict::Same)]);
    assert_eq!(older(&back), []);
    let refused = swap(vec![seen.clone()], vec![seen, state("last", 2, &[], &[])], &[("last", &[1])]);
    assert!(reason(refused).contains("state `last` holds values of version 1"));
}

#[test]
fn a_new_state_begins_empty_and_going_back_leaves_it() {
    let seen = state("seen", 1, &[], &[]);
    let plan = swap(vec![seen.clone()], vec![seen, state("last", 7, &[], &[])], &[]).unwrap();
    assert_eq!(verdicts(&plan), [("seen", StateVerdict::Same), ("last", StateVerdict::New)]);
    assert!(plan.can_return() && !plan.keeps_cache);
}

#[test]
fn another_kind_under_the_same_name_is_refused() {
    let map = StateDescriptor { kind: StateKind::Map, ..state("seen", 1, &[], &[]) };
    assert!(reason(swap(vec![state("seen", 1, &[], &[])], vec![map], &[])).contains("kind Map"));
}

#[test]
fn state_needs_records_by_key() {
    let unkeyed = OperatorNode { keyed: false, ..node(with_states(Vec::new()), vec![sink(0)]) };
    let refused = plan(&unkeyed, &with_states(vec![state("seen", 1, &[], &[])]), &around(&[0], &[]));
    assert!(reason(refused).contains("`key_by: key`"));
}

#[test]
fn ports_are_matched_by_name() {
    let current =
        node(with_ports(&["left", "right", "spare"], &["good", "bad", "odd"]), vec![sink(0), sink(1), vec![]]);
    let new = with_ports(&["right", "extra", "left"], &["fresh", "bad", "good"]);
    let found = plan(&current, &new, &around(&[0, 1], &[])).unwrap();
    assert_eq!(found.inputs, [Some(2), Some(0), None]);
    assert_eq!(found.outputs, [None, Some(1), Some(0)]);
    assert!(found.can_return());
}

#[test]
fn ports_in_use_may_not_vanish() {
    let current = node(with_ports(&["left", "right"], &["good", "bad"]), vec![sink(0), sink(1)]);
    let refused = plan(&current, &with_ports(&["left", "right"], &["good"]), &around(&[0, 1], &[]));
    assert!(reason(refused).starts_with("output `bad` is connected"));
    let refused = plan(&current, &with_ports(&["left"], &["good", "bad"]), &around(&[0, 1], &[]));
    assert!(reason(refused).starts_with("input `right` is fed"));
    assert!(plan(&current, &with_ports(&["left"], &["good", "bad"]), &around(&[0], &[])).is_ok());
    let all = plan(&current, &with_ports(&[], &[]), &around(&[0, 1], &[])).unwrap_err();
    assert_eq!(all.len(), 4, "every reason is told: {all:?}");
}

#[test]
fn the_pipeline_after_the_switch_feeds_and_reads_the_same_names() {
    let to = |input| Target::Operator { operator: OperatorIndex(1), input };
    let front = OperatorNode { id: "front".to_owned(), ..node(with_ports(&["in"], &["a"]), vec![vec![to(1)]]) };
    let current = node(with_ports(&["left", "right"], &["good", "bad"]), vec![sink(0), sink(1)]);
    let pipeline = Plan {
        id: "test".to_owned(),
        sources: vec![SourceNode { id: "lines".to_owned(), targets: vec![to(0)], time: Default::default() }],
        operators: vec![front, current.clone()],
        sinks: Vec::new(),
        dead_letters: None,
        workers: 1,
        batch: Default::default(),
        commit: Default::default(),
        checkpoint_interval_ms: None,
        state_memory_bytes: 0,
    };
    let around = Surroundings::of(&pipeline, OperatorIndex(1), &BTreeMap::new());
    assert_eq!(around.fed_inputs, BTreeSet::from([0, 1]));
    let new = with_ports(&["right", "left"], &["bad", "more", "good"]);
    let found = plan(&current, &new, &around).unwrap();
    let after = found.apply(&pipeline, OperatorIndex(1), &new, (Digest([7; 32]), Generation(4)));
    let node = after.operators.get(1).unwrap();
    assert_eq!((node.digest, node.generation, &node.descriptor), (Digest([7; 32]), Generation(4), &new));
    assert_eq!(node.outputs, [sink(1), vec![], sink(0)]);
    assert_eq!(after.sources.first().unwrap().targets, [to(1)]);
    assert_eq!(after.operators.first().unwrap().outputs, [vec![to(0)]]);
    assert_eq!((&after.id, after.operators.len()), (&pipeline.id, 2));
}

#[test]
fn a_start_knows_what_was_written_before_it() {
    let node = node(with_states(vec![state("seen", 2, &[1], &[])]), vec![sink(0)]);
    let pipeline = Plan {
        id: "test".to_owned(),
        sources: Vec::new(),
        operators: vec![node],
        sinks: Vec::new(),
        dead_letters: None,
        workers: 1,
        batch: Default::default(),
        commit: Default::default(),
        checkpoint_interval_ms: None,
        state_memory_bytes: 0,
    };
    let versions = |of: &[(&str, u32)]| of.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect();
    let committed = |id: &str, states: &[(&str, u32)]| OperatorCommit {
        id: id.to_owned(),
        generation: Generation(1),
        digest: Digest::default(),
        watermark_ms: None,
        state_versions: versions(states),
    };
    let older = BTreeMap::from([("count".to_owned(), OlderVersions::from([("seen".to_owned(), vec![2])]))]);
    let record = |operators| CommitRecord { operators, older_versions: older.clone(), ..CommitRecord::default() };
    // Written by version 2, as now: what the commit says of version 2 is not older any more.
    assert_eq!(older_at_start(&record(vec![committed("count", &[("seen", 2)])]), &pipeline), BTreeMap::new());
    // Written by version 1; and by a state, and an operator, that are gone.
    let before = record(vec![committed("count", &[("seen", 1), ("last", 4)]), committed("gone", &[("x", 3)])]);
    let expected = [
        ("count".to_owned(), OlderVersions::from([("last".to_owned(), vec![4]), ("seen".to_owned(), vec![1])])),
        ("gone".to_owned(), OlderVersions::from([("x".to_owned(), vec![3])])),
    ];
    assert_eq!(older_at_start(&before, &pipeline), BTreeMap::from(expected));
}
