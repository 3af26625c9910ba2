//! Whole runs, one behind the other, of versions of an operator that write their state in other ways.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use millstream_engine::call::Call;
use millstream_engine::commit::codec::decode_commit;
use millstream_engine::commit::{CommitPorts, CommitterSettings, Identity};
use millstream_engine::fakes::{FakeDisk, FakeOperator, FakeSource, FakeState, Life};
use millstream_engine::ports::{
    CallError, CheckpointDone, CheckpointKind, Checkpoints, Meta, OldValues, OperatorFactory, RecordSizes, Source,
    SystemClock,
};
use millstream_engine::run::{Board, Control, RunEnd, RunError, RunPorts, run};
use millstream_engine::swap::MigrationStatus;
use millstream_engine::task::Tried;
use millstream_model::cell::{read_key, read_value};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::commit::CommitRecord;
use millstream_model::descriptor::{Descriptor, InputDescriptor, StateDescriptor, StateKind};
use millstream_model::ids::{Lineage, OperatorIndex, PartitionIndex};
use millstream_model::plan::{ErrorPolicy, NullKeyPolicy, OperatorNode, Plan, SourceNode, Target};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const WORKERS: u32 = 2;
const KEYS: i64 = 600;
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts records per key, as text behind its version: `v2:17`.
#[derive(Clone, Copy)]
struct Version {
    number: u32,
    migrates: &'static [u32],
    /// A count that it traps on when it is to migrate it.
    poison: Option<&'static str>,
}

const ONE: Version = Version { number: 1, migrates: &[], poison: None };
const TWO: Version = Version { number: 2, migrates: &[1], poison: None };
const BAD_TWO: Version = Version { poison: Some("13"), ..TWO };
const THREE: Version = Version { number: 3, migrates: &[2], poison: None };

impl Version {
    fn descriptor(self) -> Descriptor {
        let state = StateDescriptor {
            name: "seen".to_owned(),
            kind: StateKind::Value,
            version: self.number,
            reads_versions: Vec::new(),
            migrates_versions: self.migrates.to_vec(),
        };
        let inputs = vec![InputDescriptor { name: "in".to_owned() }];
        Descriptor { inputs, states: vec![state], ..Descriptor::default() }
    }

    fn factory(self) -> Arc<dyn OperatorFactory> {
        let operator = FakeOperator::new(self.descriptor(), move |call| self.count(call));
        Arc::new(operator.migrating(move |old| self.migrate(old)))
    }

    fn bytes(self, count: &str) -> Vec<u8> {
        format!("v{}:{count}", self.number).into_bytes()
    }

    fn count(self, call: &mut Call) -> Result<(), CallError> {
        let mut values = BytesColumn::default();
        call.values(0, &mut values)?;
        let begins = format!("v{}:", self.number);
        let read =
            |value: &[u8]| -> u64 { String::from_utf8_lossy(value).strip_prefix(&begins).unwrap().parse().unwrap() };
        let mut counts: Vec<u64> = values.iter().map(|value| value.map_or(0, read)).collect();
        call.key_rows.iter().for_each(|row| counts[*row as usize] += 1);
        let bytes: Vec<_> = counts.iter().map(|count| self.bytes(&count.to_string())).collect();
        let new: BytesColumn = bytes.iter().map(|bytes| Some(bytes.as_slice())).collect();
        let rows: Vec<u32> = (0..counts.len() as u32).collect();
        Ok(call.put_values(0, &rows, ColumnRef { ends: new.ends(), bytes: new.bytes(), absent: new.absent() })?)
    }

    fn migrate(self, old: OldValues<'_>) -> Result<BytesColumn, CallError> {
        let begins = format!("v{}:", old.from_version);
        let counts = old.values.iter().map(|value| String::from_utf8_lossy(value.unwrap()).into_owned());
        let counts: Vec<String> = counts.map(|text| text.strip_prefix(&begins).unwrap().to_owned()).collect();
        if counts.iter().any(|count| Some(count.as_str()) == self.poison) {
            return Err(CallError::Trap { reason: "poisoned on purpose".to_owned(), backtrace: None });
        }
        Ok(counts
            .iter()
            .map(|count| self.bytes(count))
            .collect::<Vec<_>>()
            .iter()
            .map(|b| Some(b.as_slice()))
            .collect())
    }
}

/// The key of a record: each of `KEYS` once, then the first ones again and again.
fn key(offset: i64) -> String {
    if offset < KEYS { format!("k{offset}") } else { format!("k{}", (offset - KEYS) % 12) }
}

struct NoCheckpoints;

impl Checkpoints for NoCheckpoints {
    fn take(&mut self, _: &CommitRecord, _: CheckpointKind, _: CheckpointDone) {}
}

/// A pipeline without Kafka, whose commits are writes to a store.
#[derive(Default)]
struct Rig {
    disk: Arc<FakeDisk>,
}

impl Rig {
    fn plan(version: Version) -> Plan {
        let node = OperatorNode {
            id: "count".to_owned(),
            config: "{}".to_owned(),
            name: "count".to_owned(),
            digest: Default::default(),
            generation: Default::default(),
            descriptor: version.descriptor(),
            keyed: true,
            stage: 1,
            outputs: Vec::new(),
            limits: Default::default(),
            on_error: ErrorPolicy::Skip,
            retries: 0,
            null_key: NullKeyPolicy::Reject,
        };
        let to_count = Target::Operator { operator: OperatorIndex(0), input: 0 };
        Plan {
            id: "migrating".to_owned(),
            sources: vec![SourceNode { id: "numbers".to_owned(), targets: vec![to_count] }],
            operators: vec![node],
            sinks: Vec::new(),
            dead_letters: None,
            workers: WORKERS,
            batch: Default::default(),
            commit: millstream_model::plan::CommitSettings { interval_ms: 20, ..Default::default() },
            checkpoint_interval_ms: None,
            state_memory_bytes: 1 << 20,
        }
    }

    /// Runs a version over the first `records` records, until `is_enough`.
    fn run(
        &self,
        version: Version,
        records: i64,
        is_enough: impl Fn(&Control) -> bool + Sync,
    ) -> Result<RunEnd, RunError> {
        let plan = Arc::new(Self::plan(version));
        let control = Control::new(Board::new(&plan));
        let source = |worker: u32| -> Vec<Box<dyn Source>> {
            let own = (PartitionIndex(worker), worker as i32, if worker == 0 { records } else { 0 });
            vec![Box::new(FakeSource::new(&[own], false, |_, offset| (Some(key(offset).into_bytes()), None, 0)))]
        };
        let ports = RunPorts {
            operators: vec![version.factory()],
            sources: (0..WORKERS).map(source).collect(),
            commit: CommitPorts {
                log: None,
                state: Arc::new(FakeState::new(&self.disk, &Life::default())),
                sinks: Vec::new(),
                clock: Arc::new(SystemClock::default()),
            },
            checkpoints: Box::new(NoCheckpoints),
            clock: Arc::new(SystemClock::default()),
            sizes: Arc::new(RecordSizes::any(0)),
            commits: None,
        };
        let identity = Identity {
            id: "migrating".to_owned(),
            host: "host".to_owned(),
            pid: 1,
            cluster_id: String::new(),
            topics: BTreeMap::new(),
            changelog: 0,
            digests: BTreeMap::new(),
            operators: vec![("count".to_owned(), vec!["seen".to_owned()])],
            sink_ids: Vec::new(),
            sink_ends: BTreeMap::new(),
            fresh_lineage: Lineage([1; 16]),
            planned_after: None,
        };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let started = Instant::now();
                let is_read = || self.applied().is_some_and(|applied| applied.positions[0].next == records);
                let is_waiting = || !is_over.load(Ordering::Relaxed) && started.elapsed() < PATIENCE;
                while is_waiting() && !(is_read() && is_enough(&control)) {
                    std::thread::sleep(Duration::from_millis(2));
                }
                control.drain();
            });
            let ended = run(Arc::clone(&plan), ports, identity, CommitterSettings::default(), &control);
            is_over.store(true, Ordering::Relaxed);
            ended
        })
    }

    fn applied(&self) -> Option<CommitRecord> {
        self.disk.fact(Meta::Applied).map(|bytes| decode_commit(&bytes).unwrap())
    }

    /// Versions in the book beside the one that is written.
    fn older(&self) -> Vec<u32> {
        let older = self.applied().unwrap().older_versions;
        older.get("count").and_then(|states| states.get("seen")).cloned().unwrap_or_default()
    }

    /// Version and text of each key.
    fn cells(&self) -> BTreeMap<String, (u32, String)> {
        let cells = self.disk.cells();
        let cell = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let (key, (version, bytes)) = (read_key(key).unwrap(), read_value(value).unwrap());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(key.user_key), (version, text(bytes)))
        };
        cells.iter().map(cell).collect()
    }
}

fn migration(control: &Control) -> Option<MigrationStatus> {
    control.board().swaps()[0].migration
}

/// Every version-1 count, `k0` to `k11` of which are 13.
fn filled() -> Rig {
    let rig = Rig::default();
    assert_eq!(rig.run(ONE, KEYS + 12 * 12, |_| true).unwrap(), RunEnd::Drained);
    let cells = rig.cells();
    assert_eq!((cells.len() as i64, &cells["k3"], &cells["k12"]), (KEYS, &(1, "v1:13".into()), &(1, "v1:1".into())));
    rig
}

#[test]
fn state_is_migrated_while_the_pipeline_runs_until_the_book_is_empty() {
    let rig = filled();
    let shown = Mutex::new(Vec::new());
    let is_swept = |control: &Control| {
        shown.lock().unwrap().extend(migration(control));
        rig.older().is_empty()
    };
    let records = KEYS + 12 * 13 + 5;
    rig.run(TWO, records, is_swept).unwrap();
    assert_eq!(rig.older(), []);
    let cells = rig.cells();
    assert!(cells.values().all(|(version, text)| *version == 2 && text.starts_with("v2:")), "{cells:?}");
    assert_eq!((&cells["k4"].1, &cells["k5"].1, &cells["k100"].1), (&"v2:15".into(), &"v2:14".into(), &"v2:1".into()));
    let shown = shown.into_inner().unwrap();
    assert!(shown.iter().all(|status| status.done <= status.total && status.refused == 0), "{shown:?}");
    let is_third = || rig.cells().values().all(|(version, _)| *version == 3);
    rig.run(THREE, records, |_| is_third() && rig.older().is_empty()).unwrap();
    assert!(is_third() && rig.older().is_empty(), "{:?}", rig.cells());
}

#[test]
fn a_module_that_cannot_read_what_is_stored_does_not_begin() {
    let rig = filled();
    let before = rig.cells();
    let Err(RunError::Open(error)) = rig.run(THREE, KEYS, |_| true) else { unreachable!("it ran") };
    assert_eq!(
        error.to_string(),
        "operator `count`: state `seen` holds values of version 1, and the module, which writes version 3, neither reads nor migrates them: let the \
         module read or migrate these versions, or give the state another name to begin it empty"
    );
    assert_eq!(rig.cells(), before);
}

#[test]
fn what_cannot_be_migrated_stays_in_the_book_until_a_module_can() {
    let rig = filled();
    let is_through = |control: &Control| {
        migration(control).is_some_and(|status| status.done == status.total && status.refused == 12)
    };
    let refused = Mutex::new(0);
    rig.run(BAD_TWO, KEYS + 12 * 13, |control| {
        *refused.lock().unwrap() = control.board().operators[0].refused.get();
        is_through(control)
    })
    .unwrap();
    assert_eq!(rig.older(), [1]);
    assert_eq!(refused.into_inner().unwrap(), 12, "records of the keys that cannot be migrated");
    let cells = rig.cells();
    assert_eq!((&cells["k3"], &cells["k12"]), (&(1, "v1:13".into()), &(2, "v2:1".into())));
    assert!(matches!(rig.run(THREE, KEYS, |_| true), Err(RunError::Open(_))));
    rig.run(TWO, KEYS + 12 * 14, |_| rig.older().is_empty()).unwrap();
    assert_eq!(rig.cells()["k3"], (2, "v2:14".into()));
    assert_eq!(rig.older(), []);
}

#[test]
fn a_migration_can_be_tried_beside_the_running_pipeline() {
    let rig = filled();
    let before = rig.cells();
    let heard = Mutex::new(Vec::new());
    let is_tried = |control: &Control| {
        let (answer, answers) = channel();
        control.try_migrations("count", BAD_TWO.factory(), Box::new(move |tried| answer.send(tried).unwrap()));
        let (third, thirds) = channel();
        control.try_migrations("count", THREE.factory(), Box::new(move |tried| third.send(tried).unwrap()));
        let mut heard = heard.lock().unwrap();
        heard.push(answers.recv_timeout(PATIENCE).unwrap());
        heard.push(thirds.recv_timeout(PATIENCE).unwrap());
        true
    };
    rig.run(ONE, KEYS + 12 * 12, is_tried).unwrap();
    let heard = heard.into_inner().unwrap();
    let [Ok(tried), Err(refused)] = heard.as_slice() else { unreachable!("{heard:?}") };
    let [Tried { state, from_version: 1, values, refused: 12, reasons }] = tried.as_slice() else {
        unreachable!("{tried:?}")
    };
    assert_eq!((state.as_str(), *values), ("seen", KEYS as u64 - 12), "less than sixteen of each key group");
    assert!(reasons.iter().all(|reason| reason.contains("poisoned on purpose")) && reasons.len() == 5, "{reasons:?}");
    assert!(refused.to_string().contains("neither reads nor migrates them"), "{refused}");
    assert_eq!(rig.cells(), before);
}
