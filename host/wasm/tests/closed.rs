//! The closed world: what an operator must not see it does not see, and what it sees is the same everywhere.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{Driver, config, driver, record};

fn probe() -> Driver {
    driver("probe", config("{}"))
}

fn found(probe: &mut Driver, what: &str) -> String {
    let effects = probe.process(&[record("k", what)]).unwrap();
    effects.texts().pop().unwrap().1
}

#[test]
fn there_is_no_environment_no_file_no_network_and_no_thread() {
    let mut probe = probe();
    assert_eq!(found(&mut probe, "environment"), "[] []");
    assert_eq!(found(&mut probe, "files"), "no no no no no");
    assert_eq!(found(&mut probe, "network"), "no");
    assert_eq!(found(&mut probe, "threads"), "no");
}

#[test]
fn the_clock_is_that_of_the_mark_and_a_sleep_is_over_at_once() {
    let mut probe = probe();
    probe.mark.now_ms = 1_234_567;
    assert_eq!(found(&mut probe, "wall"), "1234567");
    assert_eq!(found(&mut probe, "sleep"), "3600 s, wall clock 0");
    assert_eq!(found(&mut probe, "wall"), "1234567");
}

#[test]
fn every_instance_sees_the_same_randomness_and_orders_its_maps_alike() {
    let look = |probe: &mut Driver| ["random", "order", "random", "order"].map(|what| found(probe, what));
    let mut one = probe();
    let seen = look(&mut one);
    assert_ne!(seen.first(), seen.get(2), "randomness goes on within an instance");
    assert_eq!(look(&mut probe()), seen);
    one.restart();
    assert_eq!(look(&mut one), seen);
}

#[test]
fn nans_have_one_form_whatever_went_in() {
    let canonical = "7ff8000000000000";
    assert_eq!(found(&mut probe(), "nan"), format!("{canonical} {canonical} {canonical} 7fc00000"));
}
