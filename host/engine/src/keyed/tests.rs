#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod against_model;
mod behaviour;
mod model;
mod store;

use super::{KeyedState, StateColumn};
use crate::call::{Call, CallRules, Fault, Mark};
use crate::ports::ChangeSet;
use millstream_model::cell::{self, CellSpace};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{StateDescriptor, StateKind};
use millstream_model::record::{Origin, RecordBatch};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::FakeStore;

/// Two value states and two map states, so that nothing can get by with one of each.
const COUNT: u32 = 0;
const ITEMS: u32 = 1;
const LAST: u32 = 2;
const TAGS: u32 = 3;
const KINDS: [StateKind; 4] = [StateKind::Value, StateKind::Map, StateKind::Value, StateKind::Map];
const VERSION: u32 = 300;
const READABLE_VERSION: u32 = 7;

fn columns() -> Vec<StateColumn> {
    let column = |(at, &kind): (usize, &StateKind)| StateColumn {
        descriptor: StateDescriptor {
            name: format!("state-{at}"),
            kind,
            version: VERSION,
            reads_versions: vec![READABLE_VERSION],
            migrates_versions: Vec::new(),
        },
        space: CellSpace { operator: 9, state: at as u8 + 20 },
    };
    KINDS.iter().enumerate().map(column).collect()
}

/// A keyed operator's call over a fake store, driven by hand.
struct Rig {
    call: Call,
    store: Arc<FakeStore>,
}

impl Rig {
    fn new() -> Self {
        let store = Arc::new(FakeStore::default());
        let state = KeyedState::new(columns(), Arc::clone(&store) as _);
        let rules = Arc::new(CallRules { ports: vec!["out".to_owned()], ..CallRules::default() });
        Self { call: Call { state, rules, ..Call::default() }, store }
    }

    fn begin(&mut self, keys: &[&[u8]]) {
        let mut batch = RecordBatch::default();
        keys.iter().for_each(|key| batch.push(Some(key), None, 0, Origin::default()));
        self.call.begin(0, Arc::new(batch), Mark::default(), true);
    }

    fn values(&mut self, state: u32) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let mut values = BytesColumn::default();
        self.call.values(state, &mut values)?;
        Ok(values.iter().map(|value| value.map(<[u8]>::to_vec)).collect())
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

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

/// A cell by the position of its state, its user key and its cell key.
type Cell = (u32, Vec<u8>, Vec<u8>);

/// Takes a change set apart; a cell that comes twice fails the test.
fn cells_of(changes: &ChangeSet) -> BTreeMap<Cell, Option<Vec<u8>>> {
    assert_eq!(changes.keys.len(), changes.values.len());
    let mut cells = BTreeMap::new();
    for (key, value) in changes.keys.iter().zip(changes.values.iter()) {
        let value = value.map(|stored| {
            let (version, bytes) = cell::read_value(stored).unwrap();
            assert_eq!(version, VERSION);
            bytes.to_vec()
        });
        assert_eq!(cells.insert(cell_of(key.unwrap()), value), None, "a cell twice in one change set");
    }
    cells
}

fn cell_of(key: &[u8]) -> Cell {
    let key = cell::read_key(key).unwrap();
    assert_eq!(key.group, millstream_model::key_group(key.user_key));
    assert_eq!(key.space.operator, 9);
    (u32::from(key.space.state) - 20, key.user_key.to_vec(), key.cell_key.to_vec())
}
