#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests")]
use super::*;
use crate::call::{Call, CallRules, OutputColumns};
use crate::exchange::INBOX_BYTES_MAX;
use crate::fakes::{FakeState, Life};
use crate::keyed::StateColumn;
use crate::ports::{
    CallError, Clock, OpenError, Operator, OperatorFactory, PartitionProgress, Poll, RecordSizes, SourceError,
    SystemClock,
};
use crate::task::TaskParts;
use millstream_model::cell::CellSpace;
use millstream_model::commit::PartitionPosition;
use millstream_model::descriptor::{Descriptor, StateDescriptor};
use millstream_model::ids::{Digest, OperatorIndex, PartitionIndex, SinkIndex};
use millstream_model::key_group::key_group;
use millstream_model::limits::{BatchLimits, OperatorLimits};
use millstream_model::plan::{CommitSettings, ErrorPolicy, OperatorNode, SinkNode, SourceNode, Target};
use millstream_model::record::Origin;
use std::sync::mpsc::channel;

mod back_pressure;
mod broadcast;
mod clock;
mod policies;
mod switch;

/// A partition of numbered records whose value and key are its offset, in decimal.
struct Numbers {
    records: i64,
    batch_rows: usize,
    progress: [PartitionProgress; 1],
}

impl Numbers {
    fn new(index: u32, records: i64, batch_rows: usize) -> Self {
        let index = PartitionIndex(index);
        let progress = PartitionProgress {
            index,
            partition: index.0 as i32,
            next: 0,
            leader_epoch: -1,
            timestamp_ms_max: None,
            end: records,
            ended: false,
        };
        Self { records, batch_rows, progress: [progress] }
    }
}

impl Source for Numbers {
    fn poll(&mut self, batch: &mut RecordBatch, _: &BatchLimits) -> Result<Poll, SourceError> {
        let progress = &mut self.progress[0];
        for _ in 0..self.batch_rows {
            if progress.next < self.records {
                let text = progress.next.to_string();
                let origin = Origin { partition: progress.index, offset: progress.next };
                batch.push(Some(text.as_bytes()), Some(text.as_bytes()), progress.next, origin);
                progress.next += 1;
            }
        }
        Ok(if progress.next == self.records { Poll::End } else { Poll::Some })
    }

    fn progress(&self) -> &[PartitionProgress] {
        &self.progress
    }

    fn seek(&mut self, positions: &[PartitionPosition]) -> Result<(), SourceError> {
        let own = positions.iter().find(|position| position.partition == self.progress[0].partition);
        self.progress[0].next = own.map_or(0, |position| position.next);
        Ok(())
    }
}

/// Forwards its batch, unless `fault` finds something in it.
struct Forward(fn(&Call) -> Result<(), CallError>);

impl OperatorFactory for Forward {
    fn descriptor(&self) -> &Descriptor {
        panic!("not asked for by a worker")
    }

    fn digest(&self) -> Digest {
        Digest::default()
    }

    fn instantiate(&self) -> Result<Box<dyn Operator>, OpenError> {
        Ok(Box::new(Self(self.0)))
    }
}

impl Operator for Forward {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let parents: Vec<u32> = (0..call.batch.len() as u32).collect();
        let output =
            OutputColumns { port: 0, parents: &parents, keys: None, values: None, timestamps_ms: None, headers: None };
        call.emit(output).unwrap();
        let fault = self.0(&call);
        (call, fault)
    }
}

fn trap_on(call: &Call, text: &str) -> Result<(), CallError> {
    if call.batch.values.iter().any(|value| value == Some(text.as_bytes())) {
        return Err(CallError::Trap { reason: "unreachable".to_owned(), backtrace: None });
    }
    Ok(())
}

fn node(keyed: bool, stage: u32, to: Target) -> OperatorNode {
    OperatorNode {
        id: format!("op-{stage}"),
        config: "{}".to_owned(),
        name: "op".to_owned(),
        digest: Digest::default(),
        generation: Default::default(),
        descriptor: Descriptor { outputs: vec!["out".to_owned()], ..Descriptor::default() },
        keyed,
        stage,
        outputs: vec![vec![to]],
        limits: OperatorLimits::default(),
        on_error: ErrorPolicy::DeadLetter,
        retries: 0,
        null_key: Default::default(),
        output_time: None,
        windows: None,
        late: Vec::new(),
    }
}

const OUT: SinkIndex = SinkIndex(0);
const LETTERS: SinkIndex = SinkIndex(1);

fn plan(operators: Vec<OperatorNode>, workers: u32) -> Arc<Plan> {
    let operator = Target::Operator { operator: OperatorIndex(0), input: 0 };
    let sink = |id: &str| SinkNode { id: id.to_owned() };
    Arc::new(Plan {
        id: "test".to_owned(),
        sources: vec![SourceNode { id: "numbers".to_owned(), targets: vec![operator], time: Default::default() }],
        operators,
        sinks: vec![sink("out"), sink("letters")],
        dead_letters: Some(LETTERS),
        workers,
        batch: BatchLimits::default(),
        commit: CommitSettings::default(),
        checkpoint_interval_ms: None,
        state_memory_bytes: 1 << 20,
    })
}

struct Crew {
    shared: Arc<Shared>,
    lineup: Arc<Lineup>,
    commands: Vec<Sender<Command>>,
    reports: Receiver<Report>,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// Records of the next epoch that came before the last part of the one before.
    behind: Mutex<Vec<(usize, SinkIndex, RecordBatch)>>,
}

/// Starts workers with a partition of `records` numbers each.
fn start(plan: &Arc<Plan>, records: i64, batch_rows: usize, fault: fn(&Call) -> Result<(), CallError>) -> Crew {
    start_with(plan, (records, batch_rows), INBOX_BYTES_MAX, &(Arc::new(Forward(fault)) as Arc<dyn OperatorFactory>))
}

fn start_with(
    plan: &Arc<Plan>,
    (records, batch_rows): (i64, usize),
    inbox_bytes_max: usize,
    factory: &Arc<dyn OperatorFactory>,
) -> Crew {
    let numbers = |worker| Numbers::new(worker, records, batch_rows);
    start_by(plan, Arc::new(SystemClock::default()), numbers, inbox_bytes_max, factory)
}

fn start_by(
    plan: &Arc<Plan>,
    clock: Arc<dyn Clock>,
    numbers: impl Fn(u32) -> Numbers,
    inbox_bytes_max: usize,
    factory: &Arc<dyn OperatorFactory>,
) -> Crew {
    let shared = Arc::new(Shared {
        board: Arc::new(Board::new(plan)),
        paused: Arc::default(),
        clock,
        sizes: Arc::new(SizeLimits::new(&RecordSizes { sinks: vec![1 << 20; 2], changelog: usize::MAX })),
        event_times: Vec::new(),
        topics: [("numbers".to_owned(), "numbers-topic".to_owned())].into(),
        output_bytes: AtomicU64::default(),
        dirty_bytes: (0..plan.workers).map(|_| AtomicU64::default()).collect(),
        spare: Mutex::default(),
        places: Arc::default(),
    });
    let (reporter, reports) = channel();
    let stages = plan.operators.iter().map(|node| node.stage).max().unwrap();
    let parts = |node: &OperatorNode| Arc::new(parts(&shared, node, factory));
    let lineup = Lineup {
        plan: Arc::clone(plan),
        operators: plan.operators.iter().map(parts).collect(),
        older_versions: Default::default(),
    };
    let lineup = Arc::new(lineup);
    let mut crew = Crew {
        shared: Arc::clone(&shared),
        lineup: Arc::clone(&lineup),
        commands: Vec::new(),
        reports,
        threads: Vec::new(),
        behind: Mutex::default(),
    };
    for (at, exchange) in Exchange::connect(plan.workers, stages, inbox_bytes_max).into_iter().enumerate() {
        let (commander, commands) = channel();
        let worker = Worker::new(WorkerParts {
            shared: Arc::clone(&shared),
            plan: Arc::clone(plan),
            sources: vec![Box::new(numbers(at as u32))],
            tasks: lineup.operators.iter().map(|parts| Task::new(parts).unwrap()).collect(),
            committed: None,
            exchange,
            commands,
            reports: reporter.clone(),
        });
        crew.commands.push(commander);
        crew.threads.push(std::thread::spawn(move || worker.run()));
    }
    crew
}

fn parts(shared: &Shared, node: &OperatorNode, factory: &Arc<dyn OperatorFactory>) -> TaskParts {
    TaskParts {
        node: node.clone(),
        factory: Arc::clone(factory),
        rules: Arc::new(CallRules {
            ports: vec!["out".to_owned()],
            inputs: vec![node.id.clone()],
            metrics: Arc::clone(&shared.board.operators[0].own),
            input_kinds: node.descriptor.inputs.iter().map(|input| input.kind).collect(),
            ..CallRules::default()
        }),
        columns: (0..).zip(&node.descriptor.states).map(|(state, descriptor)| column(state, descriptor)).collect(),
        timers: Default::default(),
        older_versions: Default::default(),
        store: Arc::new(FakeState::new(&Arc::default(), &Life::default())),
    }
}

fn column(state: u8, descriptor: &StateDescriptor) -> StateColumn {
    StateColumn { descriptor: descriptor.clone(), space: CellSpace { operator: 3, state } }
}

#[derive(Default)]
struct Epoch {
    out: Vec<(usize, String)>,
    letters: Vec<String>,
    parts: Vec<Part>,
}

impl Epoch {
    fn take(&mut self, worker: usize, sink: SinkIndex, batch: &RecordBatch) {
        for value in batch.values.iter() {
            let text = String::from_utf8(value.unwrap().to_vec()).unwrap();
            if sink == OUT { self.out.push((worker, text)) } else { self.letters.push(text) }
        }
    }
}

impl Crew {
    fn tell(&self, command: &Command) {
        self.commands.iter().for_each(|worker| worker.send(command.clone()).unwrap());
    }

    /// Has the workers, who stand still, drop everything.
    fn reset(&self) {
        self.behind.lock().unwrap().clear();
        let reset = Reset { committed: None, lineup: Arc::clone(&self.lineup), watch: None };
        self.tell(&Command::Reset(Arc::new(reset)));
    }

    /// Everything of the open epoch, which the workers cut.
    fn cut(&self, last: bool) -> Epoch {
        self.tell(&Command::Cut { last, switch: None });
        let mut epoch = Epoch::default();
        let before = std::mem::take(&mut *self.behind.lock().unwrap());
        before.iter().for_each(|(worker, sink, batch)| epoch.take(*worker, *sink, batch));
        let mut behind = Vec::new();
        while epoch.parts.len() < self.commands.len() {
            match self.reports.recv().unwrap() {
                Report::Output { worker, sink, batch } => {
                    if epoch.parts.iter().any(|part| part.worker == worker) {
                        behind.push((worker, sink, batch));
                        continue;
                    }
                    epoch.take(worker, sink, &batch);
                }
                Report::Part(part) => epoch.parts.push(part),
                Report::Failed(error) => panic!("{error}"),
                Report::TrialFailed(fault) => panic!("{fault:?}"),
                Report::Ended | Report::TrialFull | Report::Held | Report::Ready => {}
            }
        }
        assert!(!last || behind.is_empty(), "records behind the last part");
        *self.behind.lock().unwrap() = behind;
        self.tell(&Command::Applied(None));
        epoch
    }

    fn wait_for_end(&self) -> Vec<Report> {
        let mut before = Vec::new();
        let mut ended = 0;
        while ended < self.commands.len() {
            match self.reports.recv().unwrap() {
                Report::Ended => ended += 1,
                report => before.push(report),
            }
        }
        before
    }

    fn stop(self) {
        self.tell(&Command::Stop);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn numbers(range: std::ops::Range<i64>, without: &[&str]) -> Vec<String> {
    range.map(|number| number.to_string()).filter(|text| !without.contains(&text.as_str())).collect()
}

fn values(epoch: &Epoch) -> Vec<String> {
    let mut values: Vec<_> = epoch.out.iter().map(|(_, value)| value.clone()).collect();
    values.sort_by_key(|value| value.parse::<i64>().unwrap());
    values
}

#[test]
fn a_poison_record_becomes_a_dead_letter_and_its_neighbours_go_on_in_order() {
    let plan = plan(vec![node(false, 0, Target::Sink(OUT))], 1);
    let crew = start(&plan, 500, 500, |call| trap_on(call, "123"));
    let epoch = loop {
        // Cuts may fall anywhere: what comes must be a prefix until the end is there.
        let epoch = crew.cut(false);
        if epoch.parts[0].ended {
            break epoch;
        }
        let next = epoch.parts[0].positions[0].next;
        crew.tell(&Command::Hold);
        while !matches!(crew.reports.recv().unwrap(), Report::Held) {}
        assert_eq!(epoch.out.len() + epoch.letters.len(), usize::try_from(next).unwrap());
        crew.reset();
        while !matches!(crew.reports.recv().unwrap(), Report::Ready) {}
        crew.tell(&Command::Resume);
        std::thread::sleep(Duration::from_millis(20));
    };
    let out: Vec<_> = epoch.out.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(out, numbers(0..500, &["123"]));
    assert_eq!(epoch.letters, ["123"]);
    crew.stop();
}

#[test]
fn poison_behind_an_exchange_is_found_too_and_every_key_has_one_owner() {
    let second = Target::Operator { operator: OperatorIndex(1), input: 0 };
    let plan = plan(vec![node(false, 0, second), node(true, 1, Target::Sink(OUT))], 3);
    let crew = start(&plan, 2_000, 64, |call| if call.batch.len() < 2_000 { trap_on(call, "7") } else { Ok(()) });
    let before = crew.wait_for_end();
    let mut epoch = crew.cut(true);
    for report in before {
        if let Report::Output { worker, sink, batch } = report {
            for value in batch.values.iter() {
                let text = String::from_utf8(value.unwrap().to_vec()).unwrap();
                if sink == OUT { epoch.out.push((worker, text)) } else { epoch.letters.push(text) }
            }
        }
    }
    // Three partitions hold the same numbers; the first operator refuses 7 before it gets to the second.
    let expected: Vec<String> = numbers(0..2_000, &["7"]).into_iter().flat_map(|n| [n.clone(), n.clone(), n]).collect();
    assert_eq!(values(&epoch), expected);
    assert_eq!(epoch.letters, ["7", "7", "7"]);
    for (worker, value) in &epoch.out {
        assert_eq!(key_group(value.as_bytes()).part_of(3) as usize, *worker);
    }
    crew.stop();
}

#[test]
fn cuts_lose_and_repeat_nothing_whatever_the_exchange_holds() {
    let second = Target::Operator { operator: OperatorIndex(1), input: 0 };
    let third = Target::Operator { operator: OperatorIndex(2), input: 0 };
    let operators = vec![node(false, 0, second), node(true, 1, third), node(true, 2, Target::Sink(OUT))];
    let plan = plan(operators, 4);
    let crew = start(&plan, 30_000, 17, |_| Ok(()));
    // The reports of an epoch are told from those of the next by the part that a worker sends between them.
    let mut counted = vec![0u64; 30_000];
    let mut epochs = 0;
    let mut behind: Vec<(usize, RecordBatch)> = Vec::new();
    let mut next = vec![0i64; 4];
    loop {
        epochs += 1;
        let mut count = |batch: &RecordBatch| {
            for value in batch.values.iter() {
                let number: usize = std::str::from_utf8(value.unwrap()).unwrap().parse().unwrap();
                counted[number] += 1;
            }
        };
        std::mem::take(&mut behind).iter().for_each(|(_, batch)| count(batch));
        crew.tell(&Command::Cut { last: false, switch: None });
        let mut parts: Vec<Part> = Vec::new();
        while parts.len() < 4 {
            match crew.reports.recv().unwrap() {
                Report::Output { worker, batch, .. } if parts.iter().any(|part| part.worker == worker) => {
                    behind.push((worker, batch));
                }
                Report::Output { batch, .. } => count(&batch),
                Report::Part(part) => parts.push(part),
                Report::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
        for part in &parts {
            next[part.worker] = part.positions[0].next;
        }
        // What is out is exactly what the positions say was read: each partition's prefix.
        let expected = |number: usize| next.iter().filter(|next| (number as i64) < **next).count() as u64;
        for (number, count) in counted.iter().enumerate() {
            assert_eq!(*count, expected(number), "number {number} in epoch {epochs}, positions {next:?}");
        }
        crew.tell(&Command::Applied(None));
        if parts.iter().all(|part| part.ended) {
            break;
        }
    }
    assert!(epochs > 1, "one cut only");
    crew.stop();
}

#[test]
fn an_operator_that_says_stop_stops_with_the_place() {
    let plan = plan(vec![node(false, 0, Target::Sink(OUT))], 1);
    let crew = start(&plan, 10, 10, |_| Err(CallError::Stop("enough".to_owned())));
    let report = crew.reports.recv().unwrap();
    let Report::Failed(error) = report else { panic!("{report:?}") };
    assert_eq!(
        error.to_string(),
        "operator `op-0` stopped the pipeline at source `numbers`, partition 0, offset 0: enough"
    );
    crew.threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_panic_is_reported_and_stops_nobody_else() {
    let plan = plan(vec![node(false, 0, Target::Sink(OUT))], 1);
    let crew = start(&plan, 10, 10, |_| panic!("a bug"));
    let report = crew.reports.recv().unwrap();
    assert!(matches!(&report, Report::Failed(WorkerError::Panicked(text)) if text == "a bug"), "{report:?}");
    crew.threads.into_iter().for_each(|thread| thread.join().unwrap());
}
