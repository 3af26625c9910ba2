//! What the contract decided against, measured beside what it has: effects returned and state passed along (`returning`), and an allocator in the guest that
//! begins anew with each call (`staging-arena`). The operators are the same code, bound by hand. See docs/decisions/0001.
//!
//! `cargo bench -p millstream-wasm --bench alternatives`. Figures are nanoseconds of processor time per record, the least of many rounds that take
//! turns: what else the machine does can only add.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use millstream_engine::call::{Call, CallRules, Mark, OutputColumns};
use millstream_engine::keyed::{KeyedState, StateColumn};
use millstream_engine::ports::{CallError, Operator};
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::Descriptor;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;
use support::{ENGINE, config, module};
use wasmtime::component::{Component, ComponentType, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Config, OptLevel, Store};

const BATCHES: [usize; 3] = [64, 256, 4_096];
const WORKS: [&str; 4] = ["identity", "filter", "count", "split"];
const KEYS: u64 = 10_000;

/// Records that each round gets through.
const ROUND_RECORDS: usize = 1 << 16;
const ROUNDS: usize = 40;

/// 100 bytes, 17 words.
const VALUE: &[u8] =
    b"to be or not to be that is the question whether it is nobler in the mind to suffer slings and arrows of";

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
struct ColumnIn<'a> {
    ends: &'a [u32],
    bytes: &'a [u8],
    absent: &'a [u32],
}

impl<'a> From<&'a BytesColumn> for ColumnIn<'a> {
    fn from(column: &'a BytesColumn) -> Self {
        Self { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
struct BatchIn<'a> {
    input: u32,
    #[component(name = "key-rows")]
    key_rows: &'a [u32],
    #[component(name = "timestamps-ms")]
    timestamps_ms: &'a [i64],
    values: ColumnIn<'a>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct ColumnOut {
    ends: Vec<u32>,
    bytes: Vec<u8>,
    absent: Vec<u32>,
}

impl ColumnOut {
    fn read(&self) -> ColumnRef<'_> {
        ColumnRef { ends: &self.ends, bytes: &self.bytes, absent: &self.absent }
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct OutputOut {
    port: u32,
    parents: Vec<u32>,
    keys: Option<ColumnOut>,
    values: Option<ColumnOut>,
    #[component(name = "timestamps-ms")]
    timestamps_ms: Option<Vec<i64>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct PutOut {
    state: u32,
    #[component(name = "key-rows")]
    key_rows: Vec<u32>,
    values: ColumnOut,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct EffectsOut {
    outputs: Vec<OutputOut>,
    puts: Vec<PutOut>,
}

type Process<'a> = TypedFunc<(u32, BatchIn<'a>, &'a [ColumnIn<'a>]), (Result<EffectsOut, String>,)>;

/// An operator whose effects come back from its call.
struct Returning {
    store: Store<()>,
    process: wasmtime::component::Func,
    work: u32,
    key_rows: Vec<u32>,
    seen: BytesColumn,
}

impl Returning {
    fn new(work: u32) -> Self {
        let mut config = Config::new();
        config
            .concurrency_support(false)
            .cranelift_opt_level(OptLevel::Speed)
            .cranelift_nan_canonicalization(true)
            .epoch_interruption(true)
            .wasm_component_model(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let core = std::fs::read(support::path("returning")).unwrap();
        let component = wit_component::ComponentEncoder::default().module(&core).unwrap().encode().unwrap();
        let component = Component::from_binary(&engine, &component).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
        let interface = instance.get_export_index(&mut store, None, "bench:returned/operator@0.1.0").unwrap();
        let process = instance.get_export_index(&mut store, Some(&interface), "process").unwrap();
        let process = instance.get_func(&mut store, process).unwrap();
        Self { store, process, work, key_rows: Vec::new(), seen: BytesColumn::default() }
    }

    fn run(&mut self, call: &mut Call) -> Result<(), CallError> {
        self.key_rows.clone_from(&call.key_rows);
        let batch = Arc::clone(&call.batch);
        let is_count = WORKS.get(self.work as usize) == Some(&"count");
        if is_count {
            self.seen.clear();
            call.values(0, &mut self.seen)?;
        }
        let columns = BatchIn {
            input: 0,
            key_rows: &self.key_rows,
            timestamps_ms: &batch.timestamps_ms,
            values: (&batch.values).into(),
        };
        let seen = [ColumnIn::from(&self.seen)];
        let states: &[ColumnIn<'_>] = if is_count { &seen } else { &[] };
        let process: Process<'_> = self.process.typed(&self.store).unwrap();
        let (effects,) = process.call(&mut self.store, (self.work, columns, states)).unwrap();
        let effects = effects.unwrap();
        for put in &effects.puts {
            call.put_values(put.state, &put.key_rows, put.values.read())?;
        }
        for output in &effects.outputs {
            call.emit(OutputColumns {
                port: output.port,
                parents: &output.parents,
                keys: output.keys.as_ref().map(ColumnOut::read),
                values: output.values.as_ref().map(ColumnOut::read),
                timestamps_ms: output.timestamps_ms.as_deref(),
                headers: None,
            })?;
        }
        Ok(())
    }
}

impl Operator for Returning {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let result = self.run(&mut call);
        (call, result)
    }
}

/// An operator with its call and its batches.
struct Subject {
    operator: Box<dyn Operator>,
    call: Option<Box<Call>>,
    keyed: bool,
    best_ns: f64,
}

impl Subject {
    fn new(operator: Box<dyn Operator>, descriptor: &Descriptor) -> Self {
        let state = |(at, state): (usize, &millstream_model::descriptor::StateDescriptor)| StateColumn {
            descriptor: state.clone(),
            space: CellSpace { operator: 0, state: at as u8 },
        };
        let states = descriptor.states.iter().enumerate().map(state).collect();
        let mut rules =
            CallRules { ports: descriptor.outputs.clone(), inputs: vec!["in".to_owned()], ..CallRules::default() };
        rules.limits.output_bytes_max = 64 << 20;
        let state = KeyedState::new(states, Arc::new(support::Nothing));
        let call = Call { state, rules: Arc::new(rules), time_limit_ms: 1_000, ..Call::default() };
        Self { operator, call: Some(Box::new(call)), keyed: descriptor.is_keyed(), best_ns: f64::INFINITY }
    }

    fn round(&mut self, batches: &[Arc<RecordBatch>], rows: usize) {
        let calls = ROUND_RECORDS / rows;
        let before = cpu_ns();
        for batch in batches.iter().cycle().take(calls) {
            let mut call = self.call.take().unwrap();
            call.begin(0, Arc::clone(batch), Mark::default(), self.keyed);
            let (mut call, result) = self.operator.process(call);
            result.unwrap();
            call.apply_state();
            self.call = Some(call);
        }
        let took_ns = (cpu_ns() - before) as f64 / (calls * rows) as f64;
        self.best_ns = self.best_ns.min(took_ns);
    }
}

/// Time that this thread has had a processor, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn batches(rows: usize) -> Vec<Arc<RecordBatch>> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    (0..(4 * KEYS as usize).div_ceil(rows).clamp(1, 64))
        .map(|_| {
            let mut batch = RecordBatch::default();
            for _ in 0..rows {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                batch.push(Some(format!("k{:09}", seed % KEYS).as_bytes()), Some(VALUE), 7, Origin::default());
            }
            Arc::new(batch)
        })
        .collect()
}

fn staged(name: &str, work: &str) -> (Box<dyn Operator>, Descriptor) {
    let factory = ENGINE.operator(&module(name), config(&format!("\"{work}\""))).unwrap();
    (factory.instantiate().unwrap(), factory.descriptor().clone())
}

fn main() {
    println!("ns of processor time per record; the difference to staged in brackets");
    println!("{:<10}{:>6}  {:>8}  {:>18}  {:>18}", "operator", "rows", "staged", "returned", "staged, arena");
    for (at, work) in (0..).zip(WORKS) {
        for rows in BATCHES {
            let batches = batches(rows);
            let (operator, descriptor) = staged("staging", work);
            let (with_arena, _) = staged("staging-arena", work);
            let mut subjects =
                [operator, Box::new(Returning::new(at)), with_arena].map(|o| Subject::new(o, &descriptor));
            for _ in 0..ROUNDS {
                subjects.iter_mut().for_each(|subject| subject.round(&batches, rows));
            }
            let [staged, returned, arena] = subjects.map(|subject| subject.best_ns);
            let beside = |other: f64| format!("{other:.1} ({:+.1})", other - staged);
            println!("{work:<10}{rows:>6}  {staged:>8.1}  {:>18}  {:>18}", beside(returned), beside(arena));
        }
    }
}
