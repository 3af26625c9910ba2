use crate::pipeline::{PATIENCE, Pipeline, Settings, Version, state};
use millstream_engine::fakes::FakeOperator;
use millstream_engine::ports::OperatorFactory;
use millstream_engine::swap::{ShadowStatus, SwapRefused};
use std::sync::Arc;
use std::sync::mpsc::channel;

impl Pipeline {
    /// Begins a shadow and waits until it follows.
    fn shadow(&self, factory: Arc<dyn OperatorFactory>) -> Result<ShadowStatus, SwapRefused> {
        let (done, answer) = channel();
        self.control.shadow("op", factory, Box::new(move |answered| done.send(answered).unwrap()));
        answer.recv_timeout(PATIENCE).unwrap()
    }

    fn discard(&self) -> Result<ShadowStatus, SwapRefused> {
        let (done, answer) = channel();
        self.control.discard("op", Box::new(move |answered| done.send(answered).unwrap()));
        answer.recv_timeout(PATIENCE).unwrap()
    }

    /// Waits until what was shadowed is shown, and gives it.
    fn shadowed(&self, records: u64) -> ShadowStatus {
        self.wait("the shadow", |pipeline| {
            pipeline.status().shadow.is_some_and(|shadow| shadow.tally.records >= records)
        });
        self.status().shadow.unwrap()
    }
}

/// A version with states of these versions, each of which reads the other one, too.
fn counting(tag: &'static str, states: &[(&str, u32)]) -> Version {
    let states = states.iter().map(|(name, version)| state(name, *version, &[3 - version]));
    Version { states: states.collect(), ..Version::new(tag) }
}

/// A version that does as another one, but under a digest of its own.
fn alike(version: &Version) -> Arc<dyn OperatorFactory> {
    let (inner, descriptor) = (version.clone(), version.factory().descriptor().clone());
    let mut digest = version.digest();
    digest.0[31] = 1;
    Arc::new(FakeOperator::new(descriptor, move |call| inner.work(call)).of_module(digest))
}

#[test]
fn a_shadow_that_does_the_same_is_equal_and_changes_nothing() {
    let first = counting("a", &[("seen", 1)]);
    let pipeline = Pipeline::start(&first, &Settings { workers: 3, ..Settings::default() });
    pipeline.feed(100);
    pipeline.wait_until_committed();
    pipeline.shadow(alike(&first)).unwrap();
    for round in 1..=5 {
        pipeline.feed(100);
        pipeline.wait_until_committed();
        let shadow = pipeline.shadowed(round * 300);
        assert_eq!((shadow.tally.records, shadow.tally.equal), (round * 300, round * 300));
        assert!(shadow.tally.is_equal(), "{:?}", shadow.tally);
    }
    let ended = pipeline.discard().unwrap();
    assert_eq!((ended.over.as_deref(), ended.tally.records), (Some("it was discarded"), 1_500));
    assert!(matches!(pipeline.discard(), Err(SwapRefused::NoShadow { .. })));
    pipeline.feed(10);
    pipeline.wait_until_committed();
    let pipeline = pipeline.drain();
    let outputs = pipeline.everything();
    assert_eq!(outputs.len(), 1_830);
    assert!(outputs.iter().all(|output| output.ends_with('a')));
    assert!(pipeline.commits().iter().all(|commit| commit.operators[0].generation.0 == 1));
}

#[test]
fn the_first_difference_is_found_at_its_offset_with_both_values() {
    let first = counting("a", &[]);
    let pipeline = Pipeline::start(&first, &Settings::default());
    pipeline.feed(10);
    pipeline.wait_until_committed();
    // The same but for one record.
    let (inner, descriptor) = (first.clone(), first.factory().descriptor().clone());
    let odd = Version { tag: "b", ..first.clone() };
    let work = move |call: &mut millstream_engine::call::Call| {
        let is_odd = call.batch.values.iter().any(|value| value == Some(b"57".as_slice()));
        if is_odd { odd.work(call) } else { inner.work(call) }
    };
    let digest = millstream_model::ids::Digest([9; 32]);
    pipeline.shadow(Arc::new(FakeOperator::new(descriptor, work).of_module(digest))).unwrap();
    // One at a time, so that the odd one is alone in its batch.
    for number in 11..=100 {
        pipeline.feed(1);
        if (56..=59).contains(&number) {
            pipeline.wait_until_committed();
        }
    }
    let shadow = pipeline.shadowed(90);
    assert_eq!((shadow.tally.equal, shadow.tally.changed), (89, 1), "{:?}", shadow.tally);
    let found = shadow.tally.first.unwrap();
    assert_eq!((found.place.source.as_str(), found.place.partition, found.place.offset), ("numbers", 0, 57));
    assert_eq!((found.old.unwrap().value.as_deref(), found.new.unwrap().value.as_deref()), (Some("57a"), Some("57b")));
    assert_eq!(found.output, "out");
}

#[test]
fn what_a_shadow_fails_on_is_counted_and_too_much_of_it_ends_it() {
    let first = counting("a", &[]);
    let pipeline = Pipeline::start(&first, &Settings::default());
    pipeline.feed(10);
    pipeline.wait_until_committed();
    pipeline.shadow(alike(&first.clone().traps(|number| number % 100 == 50))).unwrap();
    pipeline.feed(90);
    let shadow = pipeline.shadowed(90);
    assert_eq!((shadow.tally.failed, shadow.tally.only_old), (1, 1), "{:?}", shadow.tally);
    let found = shadow.tally.first.unwrap();
    assert_eq!((found.place.offset, found.failure.as_deref()), (50, Some("trapped: unreachable")));
    pipeline.feed(3_000);
    pipeline
        .wait("the end of the shadow", |pipeline| pipeline.status().shadow.is_some_and(|shadow| shadow.over.is_some()));
    let over = pipeline.status().shadow.unwrap().over.unwrap();
    assert!(over.contains("more than 16 records"), "{over}");
    pipeline.wait_until_committed();
    assert_eq!(pipeline.drain().outputs().len(), 3_100);
}

#[test]
fn a_shadow_goes_on_with_state_of_its_own_and_of_lost_epochs_nothing_stays() {
    let first = counting("a", &[("seen", 1)]);
    let settings = Settings { workers: 2, ..Settings::default() };
    let pipeline = Pipeline::start(&first, &settings);
    pipeline.feed(50);
    pipeline.wait_until_committed();
    pipeline.shadow(alike(&counting("a", &[("seen", 2), ("more", 1)]))).unwrap();
    pipeline.feed(500);
    pipeline.wait_until_committed();
    let shadow = pipeline.shadowed(1_000);
    assert!(shadow.tally.is_equal(), "{:?}", shadow.tally);
    // A swap takes over from what counts, and ends the shadow.
    let answer = pipeline.deploy(&counting("b", &[("seen", 1)]));
    pipeline.wait_for_phase("trial");
    pipeline.feed(100);
    answer.wait().unwrap();
    pipeline.wait_until_committed();
    assert_eq!(pipeline.status().shadow.unwrap().over.as_deref(), Some("another version takes over"));
    // Whatever the shadow wrote, the store has the first version's values and no other.
    let cells = pipeline.disk.cells();
    let versions: Vec<u32> = cells
        .values()
        .filter_map(|value| millstream_model::cell::read_value(value))
        .map(|(version, _)| version)
        .collect();
    assert_eq!(versions, [1; 10]);
    let total: u64 = cells
        .values()
        .filter_map(|value| millstream_model::cell::read_value(value))
        .map(|(_, bytes)| u64::from_le_bytes(bytes.try_into().unwrap()))
        .sum();
    assert_eq!(total, 1_300);
}

#[test]
fn one_thing_at_a_time_and_what_does_not_fit_is_no_shadow_either() {
    let first = counting("a", &[("seen", 1)]);
    let pipeline = Pipeline::start(&first, &Settings::default());
    pipeline.feed(10);
    pipeline.wait_until_committed();
    let unfit = Version { outputs: vec!["elsewhere"], ..counting("b", &[("seen", 1)]) };
    assert!(matches!(pipeline.shadow(unfit.factory()), Err(SwapRefused::Plan { .. })));
    pipeline.shadow(counting("b", &[("seen", 1)]).factory()).unwrap();
    let busy = pipeline.shadow(counting("c", &[("seen", 1)]).factory()).unwrap_err();
    assert!(matches!(&busy, SwapRefused::Busy { phase: "shadow", .. }), "{busy}");
}
