//! A pipeline that runs on fakes: one partition of numbered records, one operator, an output topic and one for dead letters.

use millstream_engine::call::{Call, OutputColumns};
use millstream_engine::commit::codec::decode_commit;
use millstream_engine::commit::{CommitPorts, CommitterSettings, Identity, SinkPort};
use millstream_engine::fakes::{
    FakeClock, FakeCluster, FakeDisk, FakeLog, FakeOperator, FakeSource, FakeState, Life, LogFaults, Topic,
};
use millstream_engine::ports::{
    CallError, CheckpointDone, CheckpointKind, CheckpointTaken, Checkpoints, Meta, OperatorFactory, PartitionProgress,
    Poll, RecordSizes, Source, SourceError, SystemClock,
};
use millstream_engine::run::{Board, Control, RunEnd, RunError, RunPorts, run};
use millstream_engine::swap::{ProbationRules, SwapDone, SwapKind, SwapRefused, SwapRequest, SwapStatus, TrialRules};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::commit::{CommitRecord, PartitionPosition};
use millstream_model::descriptor::{Descriptor, InputDescriptor, StateDescriptor, StateKind};
use millstream_model::ids::{Digest, Generation, Lineage, OperatorIndex, PartitionIndex, SinkIndex};
use millstream_model::limits::{BatchLimits, OperatorLimits};
use millstream_model::plan::{CommitSettings, ErrorPolicy, OperatorNode, Plan, SinkNode, SourceNode, Target};
use millstream_model::record::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A version of the operator: what it puts out behind each number, and what it does about some.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) tag: &'static str,
    /// Times each number is put out.
    pub(crate) times: usize,
    /// The error for a batch with these numbers.
    pub(crate) fault: Option<(fn(i64) -> bool, fn(Vec<u32>) -> CallError)>,
    pub(crate) states: Vec<StateDescriptor>,
    pub(crate) outputs: Vec<&'static str>,
}

impl Version {
    pub(crate) fn new(tag: &'static str) -> Self {
        Self { tag, times: 1, fault: None, states: Vec::new(), outputs: vec!["out"] }
    }

    pub(crate) fn traps(self, on: fn(i64) -> bool) -> Self {
        let trap = |_| CallError::Trap { reason: "unreachable".to_owned(), backtrace: None };
        Self { fault: Some((on, trap)), ..self }
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digest = [0; 32];
        digest.iter_mut().zip(self.tag.bytes()).for_each(|(to, byte)| *to = byte);
        Digest(digest)
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            inputs: vec![InputDescriptor { name: "in".to_owned() }],
            outputs: self.outputs.iter().map(|name| (*name).to_owned()).collect(),
            states: self.states.clone(),
        }
    }

    pub(crate) fn factory(&self) -> Arc<dyn OperatorFactory> {
        let version = self.clone();
        let work = move |call: &mut Call| version.work(call);
        Arc::new(FakeOperator::new(self.descriptor(), work).of_module(self.digest()))
    }

    pub(crate) fn work(&self, call: &mut Call) -> Result<(), CallError> {
        let number = |value: Option<&[u8]>| std::str::from_utf8(value.unwrap()).unwrap().parse::<i64>().unwrap();
        let numbers: Vec<i64> = call.batch.values.iter().map(number).collect();
        if let Some((is_bad, fault)) = self.fault {
            let bad: Vec<u32> =
                (0u32..).zip(&numbers).filter(|(_, number)| is_bad(**number)).map(|(row, _)| row).collect();
            if !bad.is_empty() {
                return Err(fault(bad));
            }
        }
        let Some(port) = self.outputs.iter().position(|name| *name == "out") else { return Ok(()) };
        let (mut parents, mut values) = (Vec::new(), BytesColumn::default());
        for (row, number) in (0u32..).zip(&numbers) {
            for _ in 0..self.times {
                parents.push(row);
                values.push(Some(format!("{number}{}", self.tag).as_bytes()));
            }
        }
        let values = ColumnRef { ends: values.ends(), bytes: values.bytes(), absent: values.absent() };
        call.emit(OutputColumns {
            port: port as u32,
            parents: &parents,
            keys: None,
            values: Some(values),
            timestamps_ms: None,
            headers: None,
        })?;
        for (state, descriptor) in (0u32..).zip(&self.states) {
            if descriptor.name == "seen" {
                self.count(call, state)?;
            }
        }
        Ok(())
    }

    /// Counts the records of each key in a state.
    fn count(&self, call: &mut Call, state: u32) -> Result<(), CallError> {
        let mut seen = BytesColumn::default();
        call.values(state, &mut seen)?;
        let read = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        let mut counts: Vec<u64> = seen.iter().map(read).collect();
        for key_row in call.key_rows.clone() {
            counts[key_row as usize] += 1;
        }
        let bytes: Vec<_> = counts.iter().map(|count| count.to_le_bytes()).collect();
        let new: BytesColumn = bytes.iter().map(|bytes| Some(bytes.as_slice())).collect();
        let rows: Vec<u32> = (0..counts.len() as u32).collect();
        call.put_values(state, &rows, ColumnRef { ends: new.ends(), bytes: new.bytes(), absent: new.absent() })?;
        Ok(())
    }
}

pub(crate) fn state(name: &str, version: u32, reads: &[u32]) -> StateDescriptor {
    StateDescriptor {
        name: name.to_owned(),
        kind: StateKind::Value,
        version,
        reads_versions: reads.to_vec(),
        migrates_versions: Vec::new(),
    }
}

/// What a pipeline is made of beside its first version.
pub(crate) struct Settings {
    pub(crate) workers: u32,
    pub(crate) on_error: ErrorPolicy,
    pub(crate) interval_ms: u64,
    pub(crate) faults: LogFaults,
}

impl Default for Settings {
    fn default() -> Self {
        Self { workers: 1, on_error: ErrorPolicy::DeadLetter, interval_ms: 10, faults: LogFaults::default() }
    }
}

/// See the module.
pub(crate) struct Pipeline {
    pub(crate) control: Arc<Control>,
    pub(crate) cluster: Arc<FakeCluster>,
    pub(crate) disk: Arc<FakeDisk>,
    ends: Arc<AtomicI64>,
    workers: u32,
    thread: Option<JoinHandle<Result<RunEnd, RunError>>>,
}

impl Pipeline {
    pub(crate) fn start(first: &Version, settings: &Settings) -> Self {
        Self::start_with(first, first.factory(), settings)
    }

    pub(crate) fn start_with(first: &Version, factory: Arc<dyn OperatorFactory>, settings: &Settings) -> Self {
        let clock = FakeClock::default();
        let cluster = Arc::new(FakeCluster::new(1, &clock, 2, 15_000));
        cluster.set_faults(settings.faults);
        let disk = Arc::new(FakeDisk::default());
        let life = Life::default();
        let plan = Arc::new(plan(first, settings));
        let ends = Arc::new(AtomicI64::new(0));
        let source = |worker: u32| Box::new(Numbers::new(worker, &ends)) as Box<dyn Source>;
        let ports = RunPorts {
            operators: vec![factory],
            sources: (0..settings.workers).map(|worker| vec![source(worker)]).collect(),
            commit: CommitPorts {
                log: Some(Box::new(FakeLog::new(&cluster, &life))),
                state: Arc::new(FakeState::new(&disk, &life)),
                sinks: vec![SinkPort::Log, SinkPort::Log],
                clock: Arc::new(clock),
            },
            checkpoints: Box::new(NoCheckpoints),
            clock: Arc::new(SystemClock::default()),
            sizes: Arc::new(RecordSizes::any(2)),
            commits: None,
        };
        let control = Arc::new(Control::new(Board::new(&plan)));
        let (running, identity) = (Arc::clone(&control), identity(first));
        let thread = std::thread::spawn(move || run(plan, ports, identity, CommitterSettings::default(), &running));
        Self { control, cluster, disk, ends, workers: settings.workers, thread: Some(thread) }
    }

    /// Lets so many numbers more be there for each worker.
    pub(crate) fn feed(&self, numbers: i64) {
        self.ends.fetch_add(numbers, Ordering::Relaxed);
    }

    /// Asks for a version to take over.
    pub(crate) fn ask(&self, version: &Version, rules: TrialRules, probation: ProbationRules) -> Answer {
        self.ask_for(version.factory(), rules, probation)
    }

    pub(crate) fn ask_for(
        &self,
        factory: Arc<dyn OperatorFactory>,
        rules: TrialRules,
        probation: ProbationRules,
    ) -> Answer {
        let (done, answer) = channel();
        self.control.swap(SwapRequest {
            operator: "op".to_owned(),
            factory,
            rules,
            probation,
            kind: SwapKind::Deploy,
            done: Box::new(move |answered| done.send(answered).unwrap()),
        });
        Answer(answer)
    }

    /// The same with rules of no consequence: one record is enough.
    pub(crate) fn deploy(&self, version: &Version) -> Answer {
        let rules = TrialRules { records: 1, ..TrialRules::default() };
        self.ask(version, rules, ProbationRules { records: 0, ..ProbationRules::default() })
    }

    pub(crate) fn rollback(&self) -> Answer {
        let (done, answer) = channel();
        self.control.rollback("op", Box::new(move |answered| done.send(answered).unwrap()));
        Answer(answer)
    }

    pub(crate) fn status(&self) -> SwapStatus {
        self.control.board().swaps().into_iter().next().unwrap()
    }

    pub(crate) fn wait(&self, what: &str, mut is_it: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_it(self) {
            assert!(Instant::now() < until, "waited in vain: {what}; {:?}", self.status());
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the run is over: {what}; {:?}", self.status());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn wait_for_phase(&self, name: &str) {
        self.wait(name, |pipeline| pipeline.status().phase.name() == name);
    }

    /// Waits until everything that was fed is committed, and applied to the store: that comes after the commit.
    pub(crate) fn wait_until_committed(&self) {
        let all = self.ends.load(Ordering::Relaxed) * i64::from(self.workers);
        let holds_all =
            |commit: CommitRecord| commit.positions.iter().map(|position| position.next).sum::<i64>() == all;
        self.wait("everything is committed", |pipeline| pipeline.commits().pop().is_some_and(holds_all));
        self.wait("everything is applied", |pipeline| {
            let applied = pipeline.disk.fact(Meta::Applied);
            applied.is_some_and(|bytes| holds_all(decode_commit(&bytes).unwrap()))
        });
    }

    pub(crate) fn commits(&self) -> Vec<CommitRecord> {
        let entries = self.cluster.committed(Topic::Commits);
        let commits = entries.iter().filter(|entry| entry.key.as_deref() == Some(b"commit"));
        commits.map(|entry| decode_commit(entry.value.as_deref().unwrap()).unwrap()).collect()
    }

    /// Values a reader of committed records sees in the output.
    pub(crate) fn outputs(&self) -> Vec<String> {
        texts(self.cluster.committed(Topic::Sink(0)).into_iter().map(|entry| entry.value))
    }

    /// The same with everything that was ever written, committed or not.
    pub(crate) fn everything(&self) -> Vec<String> {
        texts(self.cluster.appended(Topic::Sink(0)).into_iter().map(|entry| entry.value))
    }

    pub(crate) fn letters(&self) -> Vec<String> {
        texts(self.cluster.committed(Topic::Sink(1)).into_iter().map(|entry| entry.value))
    }

    /// Ends the run by request.
    pub(crate) fn drain(mut self) -> Self {
        self.control.drain();
        let ended = self.thread.take().unwrap().join().unwrap();
        assert!(matches!(ended, Ok(RunEnd::Drained)), "{ended:?}");
        self
    }

    /// How the run ended by itself.
    pub(crate) fn end(mut self) -> Result<RunEnd, RunError> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.control.drain();
        if let Some(thread) = self.thread.take() {
            // A test that failed has said why.
            let _ = thread.join();
        }
    }
}

fn texts(values: impl Iterator<Item = Option<Vec<u8>>>) -> Vec<String> {
    values.map(|value| String::from_utf8(value.unwrap()).unwrap()).collect()
}

/// An answer to come.
pub(crate) struct Answer(Receiver<Result<SwapDone, SwapRefused>>);

impl Answer {
    pub(crate) fn wait(&self) -> Result<SwapDone, SwapRefused> {
        self.0.recv_timeout(PATIENCE).unwrap()
    }

    /// The answer, if it is there.
    pub(crate) fn poll(&self) -> Option<Result<SwapDone, SwapRefused>> {
        self.0.try_recv().ok()
    }
}

/// What is in each partition of numbers, in decimal; each is its own key modulo 10.
struct Numbers {
    ends: Arc<AtomicI64>,
    source: FakeSource,
    progress: [PartitionProgress; 1],
}

impl Numbers {
    fn new(worker: u32, ends: &Arc<AtomicI64>) -> Self {
        let content = |_, offset: i64| {
            (Some((offset % 10).to_string().into_bytes()), Some(offset.to_string().into_bytes()), offset)
        };
        let index = PartitionIndex(worker);
        let source = FakeSource::new(&[(index, worker as i32, i64::MAX)], false, content);
        let progress = source.progress()[0].clone();
        Self { ends: Arc::clone(ends), source, progress: [progress] }
    }
}

impl Source for Numbers {
    fn poll(&mut self, batch: &mut RecordBatch, limits: &BatchLimits) -> Result<Poll, SourceError> {
        let left = self.ends.load(Ordering::Relaxed) - self.progress[0].next;
        let rows_max = limits.rows_max.min(usize::try_from(left).unwrap_or(0));
        if rows_max == 0 {
            std::thread::sleep(Duration::from_micros(200));
            return Ok(Poll::Some);
        }
        let polled = self.source.poll(batch, &BatchLimits { rows_max, ..*limits });
        self.progress[0] = self.source.progress()[0].clone();
        polled
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        self.source.seek(positions)?;
        self.progress[0] = self.source.progress()[0].clone();
        Ok(())
    }
}

fn plan(first: &Version, settings: &Settings) -> Plan {
    let to_operator = Target::Operator { operator: OperatorIndex(0), input: 0 };
    let targets = |name: &&str| if *name == "out" { vec![Target::Sink(SinkIndex(0))] } else { Vec::new() };
    let keyed = !first.states.is_empty();
    let sink = |id: &str| SinkNode { id: id.to_owned() };
    Plan {
        id: "test".to_owned(),
        sources: vec![SourceNode { id: "numbers".to_owned(), targets: vec![to_operator] }],
        operators: vec![OperatorNode {
            id: "op".to_owned(),
            config: "{}".to_owned(),
            name: "op".to_owned(),
            digest: first.digest(),
            generation: Generation(1),
            descriptor: first.descriptor(),
            keyed,
            stage: u32::from(keyed),
            outputs: first.outputs.iter().map(targets).collect(),
            limits: OperatorLimits::default(),
            on_error: settings.on_error,
            retries: 0,
            null_key: Default::default(),
        }],
        sinks: vec![sink("out"), sink("letters")],
        dead_letters: Some(SinkIndex(1)),
        workers: settings.workers,
        batch: BatchLimits { rows_max: 64, ..BatchLimits::default() },
        commit: CommitSettings { interval_ms: settings.interval_ms, ..CommitSettings::default() },
        checkpoint_interval_ms: None,
        state_memory_bytes: 1 << 20,
    }
}

fn identity(first: &Version) -> Identity {
    Identity {
        id: "test".to_owned(),
        host: "host".to_owned(),
        pid: 1,
        cluster_id: "cluster".to_owned(),
        topics: BTreeMap::new(),
        changelog: 0,
        digests: BTreeMap::new(),
        operators: vec![("op".to_owned(), first.states.iter().map(|state| state.name.clone()).collect())],
        sink_ids: vec!["out".to_owned(), "letters".to_owned()],
        sink_ends: BTreeMap::new(),
        fresh_lineage: Lineage([1; 16]),
        planned_after: None,
    }
}

struct NoCheckpoints;

impl Checkpoints for NoCheckpoints {
    fn take(&mut self, _: &CommitRecord, _: CheckpointKind, done: CheckpointDone) {
        done(Ok(CheckpointTaken { location: "nowhere".to_owned(), bytes: 0 }));
    }
}
