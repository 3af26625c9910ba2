#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod against_model;
mod behaviour;
mod broadcast;
mod lists;
mod maps;
mod model;
mod steps;
mod store;
mod times;

use super::{KeyedState, StateColumn};
use crate::call::{Call, CallRules, Fault, Mark};
use crate::ports::ChangeSet;
use millstream_model::cell::{self, CellSpace};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{InputKind, StateDescriptor, StateKind, Ttl, TtlClock, TtlRefresh};
use millstream_model::record::{Origin, RecordBatch};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::FakeStore;

/// Two states of most kinds, so that nothing can get by with one of each.
const COUNT: u32 = 0;
const ITEMS: u32 = 1;
const LAST: u32 = 2;
const TAGS: u32 = 3;
const LOG: u32 = 4;
/// Lives for 10 ms of event time since it was written.
const SEEN: u32 = 5;
/// Lives for 20 ms of processing time since it was written or read.
const RECENT: u32 = 6;
/// Lives for 15 ms of event time since it was written or read.
const TRAIL: u32 = 7;
/// Lives for 10 ms of processing time since it was written or read.
const LEASE: u32 = 8;
const RULES: u32 = 9;
const KINDS: [StateKind; 10] = [
    StateKind::Value,
    StateKind::Map,
    StateKind::Value,
    StateKind::Map,
    StateKind::List,
    StateKind::Value,
    StateKind::Map,
    StateKind::List,
    StateKind::Value,
    StateKind::Broadcast,
];
const VERSION: u32 = 300;
const READABLE_VERSION: u32 = 7;

/// The input whose records belong to no key.
const BROADCAST: u32 = 1;

fn kind_of(state: u32) -> StateKind {
    KINDS[state as usize]
}

fn ttl_of(state: u32) -> Option<Ttl> {
    let (duration_ms, clock, refresh) = match state {
        SEEN => (10, TtlClock::Event, TtlRefresh::OnWrite),
        RECENT => (20, TtlClock::Processing, TtlRefresh::OnAccess),
        TRAIL => (15, TtlClock::Event, TtlRefresh::OnAccess),
        LEASE => (10, TtlClock::Processing, TtlRefresh::OnAccess),
        _ => return None,
    };
    Some(Ttl { duration_ms, clock, refresh })
}

fn columns() -> Vec<StateColumn> {
    let column = |(at, &kind): (usize, &StateKind)| StateColumn {
        descriptor: StateDescriptor {
            version: VERSION,
            reads_versions: vec![READABLE_VERSION],
            ttl: ttl_of(at as u32),
            ..StateDescriptor::new(format!("state-{at}"), kind)
        },
        space: CellSpace { operator: 9, state: at as u8 + 20 },
    };
    KINDS.iter().enumerate().map(column).collect()
}

/// A keyed operator's call over a fake store, driven by hand.
struct Rig {
    call: Call,
    store: Arc<FakeStore>,
    mark: Mark,
}

impl Rig {
    /// With the states that live for good, and nothing shared.
    fn new() -> Self {
        Self::over(Arc::default(), ..SEEN)
    }

    /// With all states.
    fn whole() -> Self {
        Self::over(Arc::default(), ..KINDS.len() as u32)
    }

    /// A new process over a store.
    fn over(store: Arc<FakeStore>, states: std::ops::RangeTo<u32>) -> Self {
        let columns = columns().into_iter().take(states.end as usize).collect();
        let state = KeyedState::new(columns, Arc::clone(&store) as _);
        let rules = CallRules {
            ports: vec!["out".to_owned()],
            input_kinds: vec![InputKind::Records, InputKind::Broadcast],
            ..CallRules::default()
        };
        Self { call: Call { state, rules: Arc::new(rules), ..Call::default() }, store, mark: Mark::default() }
    }

    fn begin(&mut self, keys: &[&[u8]]) {
        self.begin_at(0, keys);
    }

    fn begin_at(&mut self, input: u32, keys: &[&[u8]]) {
        let mut batch = RecordBatch::default();
        keys.iter().for_each(|key| batch.push(Some(key), None, 0, Origin::default()));
        self.call.begin(input, Arc::new(batch), self.mark, true);
    }

    /// From now on the watermark and the clock stand here.
    fn at(&mut self, watermark_ms: Option<i64>, now_ms: i64) -> &mut Self {
        self.mark = Mark { watermark_ms, now_ms };
        self
    }

    fn values(&mut self, state: u32) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let mut values = BytesColumn::default();
        self.call.values(state, &mut values)?;
        Ok(owned(&values))
    }

    fn put(&mut self, state: u32, key_row: u32, value: Option<&[u8]>) {
        let values: BytesColumn = [value].into_iter().collect();
        self.call.put_values(state, &[key_row], lend(&values)).unwrap();
    }

    /// One call that sets the value of one key.
    fn set(&mut self, state: u32, key: &[u8], value: Option<&[u8]>) {
        self.begin(&[key]);
        self.put(state, 0, value);
        self.call.apply_state();
    }

    /// One call that reads the value of one key.
    fn get(&mut self, state: u32, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.begin(&[key]);
        Ok(self.values(state)?.remove(0))
    }

    /// One call that sets entries of one key.
    fn set_entries(&mut self, state: u32, key: &[u8], entries: &[(&[u8], Option<&[u8]>)]) {
        self.begin(&[key]);
        for (map_key, value) in entries {
            self.call.put_entry(state, 0, map_key, *value).unwrap();
        }
        self.call.apply_state();
    }

    fn append(&mut self, state: u32, key_rows: &[u32], elements: &[&[u8]]) {
        let elements: BytesColumn = elements.iter().map(|&element| Some(element)).collect();
        self.call.append_elements(state, key_rows, lend(&elements)).unwrap();
    }

    /// The list of a key row, in pages of so many bytes.
    fn elements(&mut self, state: u32, key_row: u32, bytes_max: u32) -> Result<Vec<Vec<u8>>, Fault> {
        let mut elements = Vec::new();
        loop {
            let mut page = BytesColumn::default();
            let more = self.call.elements((state, key_row), elements.len() as u64, bytes_max, &mut page)?;
            elements.extend(owned(&page).into_iter().flatten());
            if !more {
                return Ok(elements);
            }
        }
    }

    fn freeze(&mut self) -> (u32, ChangeSet) {
        let mut changes = ChangeSet::default();
        let frozen = self.call.state.freeze(&mut changes);
        (frozen, changes)
    }

    /// Freezes, writes the changes to the store and says so.
    fn commit(&mut self) -> ChangeSet {
        let (frozen, changes) = self.freeze();
        self.store.apply(&changes);
        self.call.state.applied(frozen);
        changes
    }
}

fn owned(column: &BytesColumn) -> Vec<Option<Vec<u8>>> {
    column.iter().map(|value| value.map(<[u8]>::to_vec)).collect()
}

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

/// A cell by the position of its state, its user key and its cell key.
type Cell = (u32, Vec<u8>, Vec<u8>);

/// Takes a change set apart, facts left out; a cell that comes twice fails the test.
fn cells_of(changes: &ChangeSet) -> BTreeMap<Cell, Option<Vec<u8>>> {
    assert_eq!(changes.keys.len(), changes.values.len());
    let mut keys: Vec<_> = changes.keys.iter().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), changes.len(), "a cell twice in one change set");
    let cells = changes.keys.iter().zip(changes.values.iter());
    let cells = cells.filter(|(key, _)| !cell::is_fact_key(key.unwrap()));
    let value_of = |stored: &[u8]| {
        let value = cell::read_value(stored).unwrap();
        assert_eq!(value.version, VERSION);
        value.bytes.to_vec()
    };
    cells.map(|(key, value)| (cell_of(key.unwrap()), value.map(value_of))).collect()
}

fn cell_of(key: &[u8]) -> Cell {
    let key = cell::read_key(key).unwrap();
    let state = u32::from(key.space.state) - 20;
    if kind_of(state) != StateKind::Broadcast {
        assert_eq!(key.group, millstream_model::key_group(key.user_key));
    }
    assert_eq!(key.space.operator, 9);
    (state, key.user_key.to_vec(), key.cell_key.to_vec())
}
