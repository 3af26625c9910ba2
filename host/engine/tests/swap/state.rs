use crate::pipeline::{Pipeline, Settings, Version, state};
use millstream_engine::swap::SwapRefused;
use millstream_model::cell::{read_key, read_value};
use millstream_model::descriptor::StateDescriptor;
use millstream_model::plan::ErrorPolicy;
use std::collections::BTreeMap;

fn with(tag: &'static str, states: Vec<StateDescriptor>) -> Version {
    Version { states, ..Version::new(tag) }
}

/// What is stored of each key: version, and number of records counted; of the state with that number in the catalog.
fn stored(pipeline: &Pipeline, number: u8) -> BTreeMap<String, (u32, u64)> {
    let mut stored = BTreeMap::new();
    for (key, value) in pipeline.disk.cells() {
        let (key, (version, bytes)) = (read_key(&key).unwrap(), read_value(&value).unwrap());
        if key.space.state == number {
            let count = u64::from_le_bytes(bytes.try_into().unwrap());
            stored.insert(String::from_utf8(key.user_key.to_vec()).unwrap(), (version, count));
        }
    }
    stored
}

#[test]
fn counts_go_on_over_versions_of_the_same_state_and_of_readable_ones() {
    let versions = [
        with("a", vec![state("seen", 1, &[2])]),
        with("b", vec![state("seen", 1, &[2])]),
        with("c", vec![state("seen", 2, &[1])]),
        with("d", vec![state("more", 1, &[]), state("seen", 2, &[1])]),
        with("e", vec![state("seen", 2, &[1]), state("other", 1, &[])]),
        with("f", vec![state("seen", 1, &[2])]),
    ];
    let [first, others @ ..] = &versions;
    let pipeline = Pipeline::start(first, &Settings { workers: 3, ..Settings::default() });
    pipeline.feed(100);
    pipeline.wait_until_committed();
    for (rounds, version) in (2..).zip(others) {
        let answer = pipeline.deploy(version);
        pipeline.wait_for_phase("trial");
        pipeline.feed(100);
        answer.wait().unwrap();
        pipeline.wait_until_committed();
        // Ten keys, each ten times in a hundred, in three partitions.
        let counts = stored(&pipeline, 0);
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|(_, count)| *count == rounds * 30), "{}: {counts:?}", version.tag);
    }
    assert!(stored(&pipeline, 0).values().all(|(version, _)| *version == 1));
    let newest = pipeline.commits().pop().unwrap();
    // Version 2 may lie about, as may what vanished: nobody has seen to it.
    assert_eq!(newest.older_versions["op"]["seen"], [2]);
    assert_eq!(newest.older_versions["op"]["more"], [1]);
    assert_eq!(newest.catalog.operators["op"].states.len(), 3);
}

#[test]
fn a_module_that_does_not_fit_is_refused_at_once_with_every_reason() {
    let pipeline = Pipeline::start(&with("a", vec![state("seen", 1, &[])]), &Settings::default());
    pipeline.feed(10);
    pipeline.wait_until_committed();
    let other = Version { outputs: vec!["elsewhere"], ..with("b", vec![state("seen", 2, &[])]) };
    let refused = pipeline.deploy(&other).wait().unwrap_err();
    let SwapRefused::Plan { refusals, .. } = &refused else { panic!("{refused}") };
    assert_eq!(refusals.len(), 2);
    let text = refused.to_string();
    assert!(
        text.contains("output `out` is connected") && text.contains("state `seen` holds values of version 1"),
        "{text}"
    );
    assert_eq!(pipeline.status().event.unwrap().reason, text);
}

#[test]
fn a_failed_trial_leaves_state_as_it_was_byte_for_byte() {
    for states in [vec![state("seen", 1, &[])], vec![state("seen", 2, &[1])]] {
        let pipeline = Pipeline::start(
            &with("a", vec![state("seen", 1, &[])]),
            &Settings { workers: 2, on_error: ErrorPolicy::Skip, ..Settings::default() },
        );
        pipeline.feed(100);
        pipeline.wait_until_committed();
        let before = pipeline.disk.cells();
        let answer = pipeline.deploy(&with("b", states).traps(|_| true));
        pipeline.wait_for_phase("trial");
        pipeline.feed(1);
        assert!(matches!(answer.wait().unwrap_err(), SwapRefused::Trial { .. }));
        pipeline.wait_until_committed();
        let after = stored(&pipeline, 0);
        // Number 100 has key 0, once in each partition.
        let expected: BTreeMap<String, (u32, u64)> =
            (0..10).map(|key| (key.to_string(), (1, if key == 0 { 22 } else { 20 }))).collect();
        assert_eq!(after, expected);
        let changed = pipeline.disk.cells().iter().filter(|(key, value)| before.get(*key) != Some(*value)).count();
        assert_eq!(changed, 1, "only what the version before counted");
    }
}
