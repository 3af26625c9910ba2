//! What crossing the boundary costs, per record, and what an operator costs inside and outside of the sandbox.
//!
//! 10-byte keys, 100-byte values, ready-made batches, no routing of outputs: `begin`, `process`, `apply_state`, nothing else.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream_engine::call::{Call, CallRules, Mark, OutputColumns};
use millstream_engine::keyed::{KeyedState, StateColumn};
use millstream_engine::ports::{CallError, Operator};
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::Descriptor;
use millstream_model::record::{Origin, RecordBatch};
use millstream_wasm::Module;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use support::{ENGINE, config, module};

const BATCHES: [usize; 4] = [64, 256, 512, 4_096];
const VALUE: [u8; 100] = [b'v'; 100];

/// Batches of `rows` records that go through `keys` keys in an order that caches do not foresee.
fn batches(rows: usize, keys: u64) -> Vec<Arc<RecordBatch>> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    (0..(4 * keys as usize).div_ceil(rows).clamp(1, 64))
        .map(|_| {
            let mut batch = RecordBatch::default();
            for _ in 0..rows {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let key = format!("k{:09}", seed % keys);
                batch.push(Some(key.as_bytes()), Some(&VALUE), 7, Origin::default());
            }
            Arc::new(batch)
        })
        .collect()
}

fn call(descriptor: &Descriptor) -> Box<Call> {
    let state = |(at, state): (usize, &millstream_model::descriptor::StateDescriptor)| StateColumn {
        descriptor: state.clone(),
        space: CellSpace { operator: 0, state: at as u8 },
    };
    let states = descriptor.states.iter().enumerate().map(state).collect();
    let rules = CallRules {
        ports: descriptor.outputs.clone(),
        inputs: descriptor.inputs.iter().map(|input| input.name.clone()).collect(),
        ..CallRules::default()
    };
    let state = KeyedState::new(states, Arc::new(support::Nothing));
    Box::new(Call { state, rules: Arc::new(rules), time_limit_ms: 1_000, ..Call::default() })
}

type Made = (Box<dyn Operator>, Descriptor);

/// One operator over and over the same batches.
fn measure(criterion: &mut Criterion, name: &str, keys: u64, make: impl FnMut() -> Made) {
    measure_with(criterion, (name, &BATCHES), |rows| batches(rows, keys), make);
}

fn measure_with(
    criterion: &mut Criterion,
    (name, sizes): (&str, &[usize]),
    batches: impl Fn(usize) -> Vec<Arc<RecordBatch>>,
    mut make: impl FnMut() -> Made,
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1_200));
    for &rows in sizes {
        let batches = batches(rows);
        let (mut operator, descriptor) = make();
        let mut kept = Some(call(&descriptor));
        let mut next = batches.iter().cycle();
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter(|| {
                let mut call = kept.take().unwrap();
                call.begin(0, Arc::clone(next.next().unwrap()), Mark::default(), descriptor.is_keyed());
                let (mut call, result) = operator.process(call);
                result.expect("the operator works");
                call.apply_state();
                kept = Some(call);
            });
        });
    }
    group.finish();
}

fn guest(name: &'static str) -> Made {
    configured(name, "{}")
}

fn configured(name: &'static str, json: &str) -> Made {
    static LOADED: LazyLock<Mutex<BTreeMap<&str, Module>>> = LazyLock::new(Mutex::default);
    let loaded = LOADED.lock().unwrap().entry(name).or_insert_with(|| module(name)).clone();
    let factory = ENGINE.operator(&loaded, config(json)).unwrap();
    (factory.instantiate().unwrap(), factory.descriptor().clone())
}

/// The operator `count` in the host: the same reads, the same effects, no sandbox.
#[derive(Default)]
struct NativeCount {
    seen: BytesColumn,
    counts: Vec<i64>,
    touched: Vec<u32>,
    state: BytesColumn,
    emitted: BytesColumn,
    rows: Vec<u32>,
}

impl Operator for NativeCount {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let result = self.run(&mut call);
        (call, result.map_err(CallError::from))
    }
}

impl NativeCount {
    fn run(&mut self, call: &mut Call) -> Result<(), millstream_engine::call::Fault> {
        self.seen.clear();
        call.values(0, &mut self.seen)?;
        self.counts.clear();
        let stored = |bytes: Option<&[u8]>| bytes.and_then(|b| b.try_into().ok()).map_or(0, i64::from_be_bytes);
        self.counts.extend(self.seen.iter().map(stored));
        self.emitted.clear();
        self.rows.clear();
        for (row, &key_row) in call.key_rows.iter().enumerate() {
            let count = self.counts.get_mut(key_row as usize).unwrap();
            *count += 1;
            self.emitted.push_with(|to| to.extend_from_slice(itoa::Buffer::new().format(*count).as_bytes()));
            self.rows.push(row as u32);
        }
        self.state.clear();
        self.touched.clear();
        self.touched.extend(0..self.counts.len() as u32);
        self.counts.iter().for_each(|count| self.state.push(Some(&count.to_be_bytes())));
        call.put_values(0, &self.touched, borrowed(&self.state))?;
        call.emit(OutputColumns {
            port: 0,
            parents: &self.rows,
            keys: None,
            values: Some(borrowed(&self.emitted)),
            timestamps_ms: None,
            headers: None,
        })
    }
}

fn borrowed(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

fn native_count() -> Made {
    let (_, descriptor) = guest("count");
    (Box::new(NativeCount::default()), descriptor)
}

fn boundary(criterion: &mut Criterion) {
    measure(criterion, "identity", 10_000, || guest("identity"));
    measure(criterion, "keyed count, wasm", 10_000, || guest("count"));
    measure(criterion, "keyed count, native", 10_000, native_count);
    measure(criterion, "keyed count, simple world", 10_000, || guest("count-simple"));
    measure(criterion, "word split", 10_000, || guest("split"));
    measure(criterion, "core module, identity", 10_000, || guest("core-module"));
}

/// What one request more costs: emissions in pieces, values of states.
fn crossings(criterion: &mut Criterion) {
    for (states, emissions) in [(0, 0), (0, 1), (0, 2), (0, 8), (1, 1), (4, 1)] {
        let name = format!("{states} states, {emissions} emissions");
        let json = format!("[{states}, {emissions}]");
        measure_with(criterion, (&name, &[64, 256]), |rows| batches(rows, 10_000), || configured("crossings", &json));
    }
}

/// What one look through a map of one entry costs, in the simple world: a put for every key first, then a scan per record.
fn map_scan(criterion: &mut Criterion) {
    let scans = |rows: usize| {
        let batch = |value: &[u8]| {
            let mut batch = RecordBatch::default();
            for row in 0..rows {
                batch.push(Some(format!("k{row:09}").as_bytes()), Some(value), 7, Origin::default());
            }
            Arc::new(batch)
        };
        let mut all = vec![batch(b"x")];
        all.extend((0..1_000).map(|_| batch(b"names")));
        all
    };
    measure_with(criterion, ("map scan, simple world", &[256]), scans, || guest("simple-poison"));
    let inputs = |rows: usize| {
        let mut batch = RecordBatch::default();
        (0..rows)
            .for_each(|row| batch.push(Some(format!("k{row:09}").as_bytes()), Some(b"input"), 7, Origin::default()));
        vec![Arc::new(batch)]
    };
    measure_with(criterion, ("no scan, simple world", &[256]), inputs, || guest("simple-poison"));
}

criterion_group!(benches, boundary, crossings, map_scan);
criterion_main!(benches);
