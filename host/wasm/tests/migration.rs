//! Old values through the boundary: what comes of them, every way in which it can fail, and that the operator goes on afterwards.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use millstream_engine::ports::{CallError, OldValues};
use millstream_model::column::BytesColumn;
use support::{Driver, config, driver, module, record};

const JSON: &str = r#"{"reject": [13, 14], "trap": [666], "bomb": [7], "loop": [8]}"#;

fn visits() -> Driver {
    driver("visits-2", config(JSON))
}

fn migrate(visits: &mut Driver, counts: &[u64], time_limit_ms: u64) -> Result<Vec<Option<Vec<u8>>>, CallError> {
    let values: BytesColumn = counts
        .iter()
        .map(|count| Some(count.to_be_bytes()))
        .collect::<Vec<_>>()
        .iter()
        .map(|value| value.as_ref().map(<[u8; 8]>::as_slice))
        .collect();
    let new = visits.operator.migrate(OldValues { state: 0, from_version: 1, values: &values, time_limit_ms })?;
    Ok(new.iter().map(|value| value.map(<[u8]>::to_vec)).collect())
}

fn migrated(counts: &[u64]) -> Vec<Option<Vec<u8>>> {
    counts.iter().map(|count| Some([count.to_be_bytes(), [0; 8]].concat())).collect()
}

fn assert_works(visits: &mut Driver) {
    assert_eq!(migrate(visits, &[1, 2], 1_000).unwrap(), migrated(&[1, 2]));
    assert_eq!(visits.process(&[record("probe", "x")]).unwrap().outputs.len(), 1);
}

#[test]
fn a_module_says_what_it_migrates_and_exports_what_does() {
    let two = module("visits-2");
    assert!(two.exports().contains_key("millstream:operator/migration@0.1.0"), "{:?}", two.exports());
    let (described, _) = support::ENGINE.describe(&two, config(JSON)).unwrap();
    let state = described.states.first().unwrap();
    assert_eq!((state.version, state.migrates_versions.as_slice()), (2, [1].as_slice()));
    let one = module("visits-1");
    assert!(!one.exports().contains_key("millstream:operator/migration@0.1.0"), "{:?}", one.exports());
}

#[test]
fn values_are_rewritten_a_column_at_a_time() {
    let mut visits = visits();
    let counts: Vec<u64> = (100..4_196).collect();
    assert_eq!(migrate(&mut visits, &counts, 1_000).unwrap(), migrated(&counts));
    assert_eq!(migrate(&mut visits, &[], 1_000).unwrap(), []);
    assert_works(&mut visits);
}

#[test]
fn what_the_operator_rejects_is_told_by_its_rows() {
    let mut visits = visits();
    let error = migrate(&mut visits, &[1, 13, 2, 14], 1_000).unwrap_err();
    let expected = [(1, "13 is rejected on purpose".to_owned()), (3, "14 is rejected on purpose".to_owned())];
    assert_eq!(error, CallError::Reject(expected.to_vec()));
    assert_works(&mut visits);
}

#[test]
fn traps_loops_and_bombs_are_told_apart_and_cost_an_instance() {
    let mut visits = visits();
    let error = migrate(&mut visits, &[1, 666], 1_000).unwrap_err();
    assert!(!error.names_its_rows() && error.to_string().contains("666 traps on purpose"), "{error}");
    assert_works(&mut visits);
    let error = migrate(&mut visits, &[7], 1_000).unwrap_err();
    assert!(matches!(error, CallError::Limit { limit: "memory", .. }), "{error:?}");
    assert_works(&mut visits);
    let error = migrate(&mut visits, &[8], 30).unwrap_err();
    assert!(matches!(error, CallError::Timeout { limit_ms: 30, .. }), "{error:?}");
    assert_works(&mut visits);
}

#[test]
fn bytes_of_another_shape_are_rejected_and_unknown_versions_stop() {
    let mut visits = visits();
    let values: BytesColumn = [Some(b"short".as_slice())].into_iter().collect();
    let old = OldValues { state: 0, from_version: 1, values: &values, time_limit_ms: 1_000 };
    let Err(CallError::Reject(rows)) = visits.operator.migrate(old) else { panic!("it was migrated") };
    assert!(rows.first().unwrap().1.contains("a stored u64 has 5 bytes"), "{rows:?}");
    let Err(CallError::Stop(reason)) = visits.operator.migrate(OldValues { from_version: 5, ..old }) else {
        panic!("it was migrated")
    };
    assert!(reason.contains("passed over version 5"), "{reason}");
    assert_works(&mut visits);
}
