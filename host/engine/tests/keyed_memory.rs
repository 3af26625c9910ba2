//! What keyed state says of its memory is what the system says of the process. The only test of its binary, so that the memory is its own.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells what it measured")]

use millstream_engine::call::{Call, Mark};
use millstream_engine::keyed::{KeyedState, StateColumn};
use millstream_engine::ports::{CellRange, ChangeSet, Meta, StateBackend, StateError};
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{StateDescriptor, StateKind};
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;

/// A store that holds nothing.
struct Empty;

impl StateBackend for Empty {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        keys.iter().for_each(|_| values.push(None));
        Ok(())
    }

    fn range(&self, _: CellRange<'_>, _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        Ok(())
    }

    fn write(&self, _: &[ChangeSet], _: &[(Meta, Option<&[u8]>)], _: bool) -> Result<(), StateError> {
        Ok(())
    }

    fn meta(&self, _: Meta) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn clear(&self) -> Result<(), StateError> {
        Ok(())
    }
}

fn column(kind: StateKind, state: u8) -> StateColumn {
    let descriptor = StateDescriptor::new(format!("s{state}"), kind);
    StateColumn { descriptor, space: CellSpace { operator: 1, state } }
}

/// Memory of the process in bytes.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

const ROWS: usize = 1_000;

/// Puts a value, and for `entries` a map entry, for a thousand keys; then commits.
fn put_thousand(call: &mut Call, first: usize, key_len: usize, value: &[u8], entries: bool) {
    let mut batch = RecordBatch::default();
    for key in first..first + ROWS {
        batch.push(Some(format!("{key:0key_len$}").as_bytes()), None, 0, Origin::default());
    }
    call.begin(0, Arc::new(batch), Mark::default(), true);
    let values: BytesColumn = (0..ROWS).map(|_| Some(value)).collect();
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    let lent = ColumnRef { ends: values.ends(), bytes: values.bytes(), absent: values.absent() };
    call.put_values(0, &rows, lent).unwrap();
    for key_row in rows.into_iter().filter(|_| entries) {
        call.put_entry(1, key_row, b"an entry of the map", Some(value)).unwrap();
        call.put_entry(1, key_row, b"another entry", Some(value)).unwrap();
    }
    call.apply_state();
    let mut changes = ChangeSet::default();
    let frozen = call.state.freeze(&mut changes);
    call.state.applied(frozen);
}

fn is_near(said: usize, resident: usize, what: &str) {
    let ratio = said as f64 / resident as f64;
    println!("{what}: {said} bytes by its own account, {resident} resident, ratio {ratio:.3}");
    assert!((0.85..1.15).contains(&ratio), "{what}: {said} bytes by its own account, {resident} resident");
}

#[test]
fn memory_is_what_the_system_says_and_stays_within_a_budget() {
    let states = || vec![column(StateKind::Value, 0), column(StateKind::Map, 1)];
    let shapes: [(&str, usize, &[u8], bool, usize); 3] = [
        ("short keys and counters", 10, &[1; 8], false, 600),
        ("long keys and values", 60, &[1; 150], false, 200),
        ("maps", 10, &[1; 30], true, 100),
    ];
    // All are kept until the end: memory given back would be used again and not be seen.
    let mut kept = Vec::new();
    for (what, key_len, value, entries, thousands) in shapes {
        let before = resident_bytes();
        let mut call = Call { state: KeyedState::new(states(), Arc::new(Empty)), ..Call::default() };
        (0..thousands).for_each(|at| put_thousand(&mut call, at * ROWS, key_len, value, entries));
        assert_eq!(call.state.key_count(), thousands * ROWS);
        is_near(call.state.memory_bytes(), resident_bytes() - before, what);
        kept.push(call);
    }
    let before = resident_bytes();
    let budget = 32 << 20;
    let mut call = Call { state: KeyedState::new(states(), Arc::new(Empty)), ..Call::default() };
    for at in 0..1_000 {
        put_thousand(&mut call, at * ROWS, 10, &[1; 8], false);
        call.state.evict(budget);
        assert!(call.state.memory_bytes() <= budget);
    }
    is_near(call.state.memory_bytes(), resident_bytes() - before, "a budget of 32 MiB under a million keys");
}
