#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod against_model;
mod migration;

use super::{Attempt, Task, TaskParts};
use crate::call::{Call, CallRules, EntryRange, Mark};
use crate::fakes::{FakeDisk, FakeOperator, FakeState, Life};
use crate::keyed::StateColumn;
use crate::ports::{CallError, ChangeSet, OldValues, OperatorFactory, StateBackend};
use crate::swap::plan::OlderVersions;
use millstream_model::cell::{self, CellSpace, CellValue};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{Descriptor, StateDescriptor, StateKind};
use millstream_model::key_group::key_group;
use millstream_model::limits::OperatorLimits;
use millstream_model::plan::OperatorNode;
use millstream_model::record::{Origin, RecordBatch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A value state that migrates version 1 and reads version 2, and a map that migrates both.
const COUNT: u32 = 0;
const ITEMS: u32 = 1;
const VERSION: u32 = 3;
const MEMORY: usize = 1 << 20;
const ALL: EntryRange<'_> = EntryRange { prefix: &[], after: None, count_max: usize::MAX };

fn descriptor() -> Descriptor {
    let state = |name: &str, kind, reads: &[u32], migrates: &[u32]| StateDescriptor {
        version: VERSION,
        reads_versions: reads.to_vec(),
        migrates_versions: migrates.to_vec(),
        ..StateDescriptor::new(name, kind)
    };
    let states = vec![state("count", StateKind::Value, &[2], &[1]), state("items", StateKind::Map, &[], &[1, 2])];
    Descriptor { states, ..Descriptor::default() }
}

fn both_older() -> OlderVersions {
    ["count", "items"].map(|state| (state.to_owned(), vec![1, 2])).into()
}

fn node(limits: OperatorLimits) -> OperatorNode {
    OperatorNode {
        id: "op".to_owned(),
        config: "{}".to_owned(),
        name: "op".to_owned(),
        digest: Default::default(),
        generation: Default::default(),
        descriptor: descriptor(),
        keyed: true,
        stage: 1,
        outputs: Vec::new(),
        limits,
        on_error: Default::default(),
        retries: 2,
        null_key: Default::default(),
        output_time: None,
        windows: None,
        late: Vec::new(),
    }
}

/// A cell by the position of its state, its user key and its cell key.
type Cell = (u32, Vec<u8>, Vec<u8>);

fn cell_key((state, key, map_key): &Cell) -> Vec<u8> {
    let mut bytes = Vec::new();
    let space = CellSpace { operator: 7, state: *state as u8 };
    cell::write_key(&mut bytes, space, key_group(key), key, map_key);
    bytes
}

/// What lies in a store: by cell, version and bytes.
type Cells = BTreeMap<Cell, (u32, Vec<u8>)>;

fn cells_of(disk: &FakeDisk) -> Cells {
    let cells = disk.cells();
    let cell = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let (key, CellValue { version, bytes, .. }) = (cell::read_key(key).unwrap(), cell::read_value(value).unwrap());
        let cell = (u32::from(key.space.state), key.user_key.to_vec(), key.cell_key.to_vec());
        (cell, (version, bytes.to_vec()))
    };
    cells.iter().map(cell).collect()
}

/// How a test's `migrate` failed a call, and how often it was called with how many values.
#[derive(Default)]
struct Notes {
    calls: Vec<(u32, u32, usize)>,
    /// What `process` read: by cell.
    read: BTreeMap<Cell, Option<Vec<u8>>>,
    /// What it is to write.
    writes: Vec<(Cell, Option<Vec<u8>>)>,
    fails: bool,
    retries: usize,
}

/// Bytes of a version are `v<version>:<text>`; what becomes of some texts is said by them.
fn migrate(notes: &Mutex<Notes>, old: OldValues<'_>) -> Result<BytesColumn, CallError> {
    let mut notes = notes.lock().unwrap();
    notes.calls.push((old.state, old.from_version, old.values.len()));
    if notes.retries > 0 {
        notes.retries -= 1;
        return Err(CallError::Retry("not now".to_owned()));
    }
    let begins = format!("v{}:", old.from_version);
    let mut new = BytesColumn::default();
    let mut rejected = Vec::new();
    for (row, value) in (0..).zip(old.values.iter()) {
        let text = value.unwrap().strip_prefix(begins.as_bytes()).unwrap();
        match text {
            b"drop" => new.push(None),
            b"bad" => rejected.push((row, "bad on purpose".to_owned())),
            b"trap" => return Err(CallError::Trap { reason: "trap on purpose".to_owned(), backtrace: None }),
            b"bomb" => return Err(CallError::Limit { limit: "memory", reason: "bomb on purpose".to_owned() }),
            b"stop" => return Err(CallError::Stop("stop on purpose".to_owned())),
            b"short" => return Ok(BytesColumn::default()),
            b"big" => new.push(Some(&[b'x'; 2_000])),
            text => new.push(Some(&[b"v3:", text].concat())),
        }
    }
    if rejected.is_empty() { Ok(new) } else { Err(CallError::Reject(rejected)) }
}

/// Texts that cannot be migrated.
const POISON: [&str; 5] = ["bad", "trap", "bomb", "short", "big"];

/// Reads all there is of the keys in hand, and writes what it is told to.
fn process(notes: &Mutex<Notes>, call: &mut Call) -> Result<(), CallError> {
    let mut notes = notes.lock().unwrap();
    let mut keys = BytesColumn::default();
    call.keys(&mut keys);
    let mut values = BytesColumn::default();
    call.values(COUNT, &mut values)?;
    notes.read.clear();
    for (row, key) in (0..).zip(keys.iter()) {
        let key = key.unwrap().to_vec();
        for map_key in call.entry_keys(ITEMS, row, ALL)? {
            let value = call.entry(ITEMS, row, &map_key)?;
            notes.read.insert((ITEMS, key.clone(), map_key), value);
        }
        notes.read.insert((COUNT, key, Vec::new()), values.get(row).map(<[u8]>::to_vec));
    }
    for ((state, key, map_key), value) in std::mem::take(&mut notes.writes) {
        let Some(row) = keys.iter().position(|known| known == Some(&key)) else { continue };
        if state == COUNT {
            let values: BytesColumn = [value.as_deref()].into_iter().collect();
            let values = ColumnRef { ends: values.ends(), bytes: values.bytes(), absent: values.absent() };
            call.put_values(COUNT, &[row as u32], values)?;
        } else {
            call.put_entry(ITEMS, row as u32, &map_key, value.as_deref())?;
        }
    }
    if notes.fails { Err(CallError::Trap { reason: "a bad record".to_owned(), backtrace: None }) } else { Ok(()) }
}

fn refused_by(error: CallError) -> Vec<(u32, String)> {
    match error {
        CallError::Reject(refused) | CallError::Blame(refused) => refused,
        error => unreachable!("{error}"),
    }
}

/// A task over a store, driven by hand.
struct Rig {
    disk: Arc<FakeDisk>,
    state: FakeState,
    notes: Arc<Mutex<Notes>>,
    older: OlderVersions,
    limits: OperatorLimits,
    task: Task,
    /// The part of an epoch that is being committed.
    frozen: Option<(u32, ChangeSet)>,
}

impl Rig {
    fn new(older: OlderVersions) -> Self {
        Self::with(older, OperatorLimits { state_value_bytes_max: 1_000, ..OperatorLimits::default() })
    }

    fn with(older: OlderVersions, limits: OperatorLimits) -> Self {
        let disk = Arc::new(FakeDisk::default());
        let state = FakeState::new(&disk, &Life::default());
        let notes = Arc::<Mutex<Notes>>::default();
        let task = Self::task(&state, &notes, &older, &limits);
        Self { disk, state, notes, older, limits, task, frozen: None }
    }

    fn task(state: &FakeState, notes: &Arc<Mutex<Notes>>, older: &OlderVersions, limits: &OperatorLimits) -> Task {
        let (of_process, of_migrate) = (Arc::clone(notes), Arc::clone(notes));
        let operator = FakeOperator::new(descriptor(), move |call| process(&of_process, call))
            .migrating(move |old| migrate(&of_migrate, old));
        let column = |(at, descriptor): (usize, &StateDescriptor)| StateColumn {
            descriptor: descriptor.clone(),
            space: CellSpace { operator: 7, state: at as u8 },
        };
        let parts = TaskParts {
            node: node(limits.clone()),
            factory: Arc::new(operator) as Arc<dyn OperatorFactory>,
            rules: Arc::new(CallRules { limits: limits.clone(), ..CallRules::default() }),
            columns: descriptor().states.iter().enumerate().map(column).collect(),
            timers: Default::default(),
            older_versions: older.clone(),
            store: Arc::new(state.clone()),
        };
        Task::new(&Arc::new(parts)).unwrap()
    }

    /// Another process goes on with the store.
    fn restart(&mut self) {
        self.frozen = None;
        self.task = Self::task(&self.state, &self.notes, &self.older, &self.limits);
    }

    /// Puts cells into the store as some version left them.
    fn store(&mut self, cells: &[(Cell, u32, &str)]) {
        let mut changes = ChangeSet::default();
        for (cell, version, text) in cells {
            changes.keys.push(Some(&cell_key(cell)));
            changes.values.push_with(|to| cell::write_value(to, *version, format!("v{version}:{text}").as_bytes()));
        }
        self.state.write(&[changes], &[], false).unwrap();
    }

    fn attempt(&mut self, keys: &[&[u8]]) -> Attempt {
        let mut batch = RecordBatch::default();
        keys.iter().for_each(|key| batch.push(Some(key), None, 0, Origin::default()));
        let attempt = self.task.attempt(0, &Arc::new(batch), Mark::default(), false);
        if let Some(call) = self.task.take_call() {
            self.task.give_back(call);
        }
        attempt
    }

    /// Calls with keys; rows that are refused before the operator sees any are told with the reason.
    fn call(&mut self, keys: &[&[u8]]) -> Vec<(u32, String)> {
        match self.attempt(keys) {
            Attempt::Applied(_) => Vec::new(),
            Attempt::Failed(error) => refused_by(error),
        }
    }

    fn cut(&mut self) {
        let mut changes = ChangeSet::default();
        let frozen = self.task.freeze(&mut changes);
        self.frozen = Some((frozen, changes));
    }

    fn apply(&mut self) {
        if let Some((frozen, changes)) = self.frozen.take() {
            self.state.write(&[changes], &[], false).unwrap();
            self.task.applied(frozen, MEMORY);
        }
    }

    fn commit(&mut self) {
        self.cut();
        self.apply();
    }

    fn lose(&mut self) {
        self.frozen = None;
        self.task.reset().unwrap();
    }

    fn calls(&self) -> Vec<(u32, u32, usize)> {
        std::mem::take(&mut self.notes.lock().unwrap().calls)
    }

    fn read(&self, cell: &Cell) -> Option<String> {
        let notes = self.notes.lock().unwrap();
        notes.read.get(cell).cloned().flatten().map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

fn count(key: &str) -> Cell {
    (COUNT, key.into(), Vec::new())
}

fn item(key: &str, map_key: &str) -> Cell {
    (ITEMS, key.into(), map_key.into())
}
