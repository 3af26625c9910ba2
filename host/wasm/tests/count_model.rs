//! `count`, as a module in the sandbox, against a model: whatever the records and the cuts.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use support::{Input, config, driver};

fn records() -> impl Strategy<Value = Vec<Input>> {
    let key = prop_oneof![prop::collection::vec(0u8..4, 0..3), prop::collection::vec(any::<u8>(), 0..40)];
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..64));
    let one = (key, value, any::<i64>());
    let record =
        one.prop_map(|(key, value, timestamp_ms)| Input { key: Some(key), value, timestamp_ms, headers: Vec::new() });
    prop::collection::vec(record, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_equal_the_model_under_random_cuts(
        records in records(),
        cuts in prop::collection::vec((1usize..64, any::<bool>()), 1..40),
        name in prop::sample::select(vec!["count", "count-simple"]),
    ) {
        let mut count = driver(name, config(""));
        let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let (mut rest, mut cuts) = (records.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let &(rows, restart) = cuts.next().unwrap();
            let (batch, after) = rest.split_at(rows.min(rest.len()));
            rest = after;
            if restart {
                count.restart();
            }
            let effects = count.process(batch).unwrap();
            prop_assert!(effects.rejections.is_empty());
            prop_assert_eq!(effects.outputs.len(), batch.len());
            for (record, output) in batch.iter().zip(&effects.outputs) {
                let seen = model.entry(record.key.clone().unwrap()).or_default();
                *seen += 1;
                prop_assert_eq!(&output.key, &record.key);
                let text = seen.to_string();
                prop_assert_eq!(output.value.as_deref(), Some(text.as_bytes()));
                prop_assert_eq!(output.timestamp_ms, record.timestamp_ms);
            }
        }
    }
}
