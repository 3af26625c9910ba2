//! What a keyed count costs the host per record, beside the same count in a native hash map in the same run.
//!
//! Per batch: key rows, values of the key rows, new values, merge into the open epoch. Epochs are cut after so many records as 500 ms have at a
//! million a second; their cost is told apart. Keys are uniformly random, 10 bytes each, and all in memory: the worst case for a cache that
//! holds everything. `cargo bench -p millstream-engine --bench keyed [-- FILTER]`; a table of ratios comes last. Groups of their own: a map entry put and a range of ten scanned
//! per record, as an interval join does it; an element appended per record; a count whose values have a time to live.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use criterion::{BenchmarkId, Criterion, Throughput};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millstream_engine::call::{Call, EntryPage, MapRange, Mark};
use millstream_engine::keyed::{KeyedState, StateColumn};
use millstream_engine::ports::{CellRange, ChangeSet, Meta, StateBackend, StateError};
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{StateDescriptor, StateKind, Ttl, TtlClock, TtlRefresh};
use millstream_model::record::{Origin, RecordBatch};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const KEY_COUNTS: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const BATCH_ROWS: [usize; 2] = [512, 4_096];
/// Records drawn before a run; it goes round them.
const RECORDS: usize = 1 << 22;
const RECORDS_PER_EPOCH: usize = 500_000;
/// Watermark and clock of counts.
const MARK: Mark = Mark { watermark_ms: Some(0), now_ms: 0 };

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

fn push_key(batch: &mut RecordBatch, key: u64) {
    batch.push(Some(format!("{key:010}").as_bytes()), None, 0, Origin::default());
}

/// Batches of uniformly random keys (xorshift64*).
fn random_batches(keys: u64, rows: usize) -> Vec<Arc<RecordBatch>> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        ((random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * keys) >> 32
    };
    let batch = |_| {
        let mut batch = RecordBatch::default();
        (0..rows).for_each(|_| push_key(&mut batch, next()));
        Arc::new(batch)
    };
    (0..RECORDS / rows).map(batch).collect()
}

/// All keys once.
fn all_batches(keys: u64) -> impl Iterator<Item = Arc<RecordBatch>> {
    (0..keys.div_ceil(4_096)).map(move |at| {
        let mut batch = RecordBatch::default();
        (at * 4_096..keys.min((at + 1) * 4_096)).for_each(|key| push_key(&mut batch, key));
        Arc::new(batch)
    })
}

fn call_with(descriptor: StateDescriptor) -> Call {
    let column = StateColumn { descriptor, space: CellSpace { operator: 1, state: 0 } };
    Call { state: KeyedState::new(vec![column], Arc::new(Empty)), ..Call::default() }
}

fn commit(call: &mut Call) {
    let mut changes = ChangeSet::default();
    let frozen = call.state.freeze(&mut changes);
    black_box(&changes);
    call.state.applied(frozen);
}

/// The operator and its state.
struct Count {
    call: Call,
    values: BytesColumn,
    counts: Vec<u64>,
    rows: Vec<u32>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Count {
    fn new() -> Self {
        Self::with(StateDescriptor::new("count", StateKind::Value))
    }

    fn with(descriptor: StateDescriptor) -> Self {
        let call = call_with(descriptor);
        let (values, counts) = (BytesColumn::default(), Vec::new());
        Self { call, values, counts, rows: Vec::new(), bytes: Vec::new(), ends: Vec::new() }
    }

    fn batch(&mut self, batch: &Arc<RecordBatch>) {
        self.call.begin(0, Arc::clone(batch), MARK, true);
        self.values.clear();
        self.call.values(0, &mut self.values).unwrap();
        self.counts.clear();
        let count = |value: Option<&[u8]>| value.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        self.counts.extend(self.values.iter().map(count));
        for &key_row in &self.call.key_rows {
            *self.counts.get_mut(key_row as usize).unwrap() += 1;
        }
        self.rows.clear();
        self.rows.extend(0..self.counts.len() as u32);
        self.bytes.clear();
        self.bytes.extend(self.counts.iter().flat_map(|count| count.to_le_bytes()));
        self.ends.clear();
        self.ends.extend((1..=self.counts.len() as u32).map(|row| row * 8));
        let counts = ColumnRef { ends: &self.ends, bytes: &self.bytes, absent: &[] };
        self.call.put_values(0, &self.rows, counts).unwrap();
        self.call.apply_state();
    }

    fn commit(&mut self) {
        commit(&mut self.call);
    }
}

/// Best samples by number of keys and rows (0: native), in nanoseconds per record: batches, cuts. The best, as other processes may share the
/// cores.
type Best = RefCell<BTreeMap<(u64, usize), (f64, f64)>>;

fn note(best: &Best, of: (u64, usize), batches_ns: f64, cuts_ns: f64) {
    let mut best = best.borrow_mut();
    let (batches, cuts) = best.entry(of).or_insert((f64::INFINITY, f64::INFINITY));
    (*batches, *cuts) = (batches.min(batches_ns), cuts.min(cuts_ns));
}

fn ns(elapsed: Duration, records: usize) -> f64 {
    elapsed.as_nanos() as f64 / records as f64
}

fn keyed(criterion: &mut Criterion, best: &Best) {
    let mut group = criterion.benchmark_group("keyed");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for keys in KEY_COUNTS {
        for rows in BATCH_ROWS {
            group.throughput(Throughput::Elements(rows as u64));
            // Made at the first of many calls of the closure, and not at all if a filter leaves the run out.
            let mut run = None;
            let mut open = 0;
            group.bench_function(BenchmarkId::new(format!("batch_{rows}"), keys), |bencher| {
                let (count, batches) = run.get_or_insert_with(|| {
                    let mut count = Count::new();
                    all_batches(keys).for_each(|batch| count.batch(&batch));
                    count.commit();
                    (count, random_batches(keys, rows).into_iter().cycle())
                });
                bencher.iter_custom(|iterations| {
                    let mut cutting = Duration::ZERO;
                    let start = Instant::now();
                    for _ in 0..iterations {
                        count.batch(&batches.next().unwrap());
                        open += rows;
                        if open >= RECORDS_PER_EPOCH {
                            open = 0;
                            let cut = Instant::now();
                            count.commit();
                            let elapsed = cut.elapsed();
                            note(best, (keys, rows), f64::INFINITY, ns(elapsed, RECORDS_PER_EPOCH));
                            cutting += elapsed;
                        }
                    }
                    let elapsed = start.elapsed();
                    note(best, (keys, rows), ns(elapsed - cutting, iterations as usize * rows), f64::INFINITY);
                    elapsed
                });
            });
            if let Some((count, _)) = &run {
                let state = &count.call.state;
                println!("{} bytes of memory per key", state.memory_bytes() / state.key_count());
            }
        }
    }
    group.finish();
}

type Native = HashMap<Box<[u8]>, u64, FixedState>;

fn count_natively(map: &mut Native, batch: &RecordBatch) {
    for key in batch.keys.iter() {
        let key = key.unwrap();
        match map.get_mut(key) {
            Some(count) => *count += 1,
            None => drop(map.insert(key.into(), 1)),
        }
    }
}

fn native(criterion: &mut Criterion, best: &Best) {
    let mut group = criterion.benchmark_group("native");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for keys in KEY_COUNTS {
        let rows = 4_096;
        group.throughput(Throughput::Elements(rows as u64));
        let mut run = None;
        group.bench_function(BenchmarkId::new("map", keys), |bencher| {
            let (map, batches) = run.get_or_insert_with(|| {
                let mut map = Native::default();
                all_batches(keys).for_each(|batch| count_natively(&mut map, &batch));
                (map, random_batches(keys, rows).into_iter().cycle())
            });
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                for _ in 0..iterations {
                    count_natively(map, &batches.next().unwrap());
                }
                let elapsed = start.elapsed();
                note(best, (keys, 0), ns(elapsed, iterations as usize * rows), 0.0);
                elapsed
            });
        });
    }
    group.finish();
}

/// Keys never seen before: what a record costs that the store has to be asked for.
fn first_seen(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first_seen");
    group.sample_size(10).throughput(Throughput::Elements(1_000_000));
    let batches: Vec<_> = all_batches(1_000_000).collect();
    group.bench_function("million", |bencher| {
        bencher.iter_with_large_drop(|| {
            let mut count = Count::new();
            batches.iter().for_each(|batch| count.batch(batch));
            count
        });
    });
    group.finish();
}

/// What a batch of records costs, with its cuts: `work` does the batch, its number from 0.
fn per_batch(
    criterion: &mut Criterion,
    name: &str,
    keys: u64,
    descriptor: StateDescriptor,
    work: impl Fn(&mut Call, u64),
) {
    let rows = 512;
    let mut group = criterion.benchmark_group("kinds");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(rows as u64));
    let mut run = None;
    let (mut number, mut open) = (0, 0);
    group.bench_function(BenchmarkId::new(name, keys), |bencher| {
        let (call, batches) =
            run.get_or_insert_with(|| (call_with(descriptor.clone()), random_batches(keys, rows).into_iter().cycle()));
        bencher.iter(|| {
            let mark = Mark { watermark_ms: Some(number as i64), now_ms: number as i64 };
            call.begin(0, batches.next().unwrap(), mark, true);
            work(call, number);
            call.apply_state();
            number += 1;
            open += rows;
            if open >= RECORDS_PER_EPOCH {
                open = 0;
                commit(call);
            }
        });
    });
    group.finish();
}

/// Each record puts an entry under its time and looks at the ten newest ones of its key; older ones are removed.
fn scans(criterion: &mut Criterion) {
    let page = RefCell::new(EntryPage::default());
    per_batch(criterion, "map_put_and_scan", 10_000, StateDescriptor::new("map", StateKind::Map), |call, number| {
        let key_rows = std::mem::take(&mut call.key_rows);
        for (row, &key_row) in key_rows.iter().enumerate() {
            let time = number * 512 + row as u64;
            call.put_entry(0, key_row, &time.to_be_bytes(), Some(&[7; 16])).unwrap();
            let mut page = page.borrow_mut();
            page.map_keys.clear();
            page.values.clear();
            // Ten entries of 24 bytes, and eight beside each.
            call.scan((0, key_row), MapRange { descending: true, ..MapRange::default() }, 320, &mut page).unwrap();
            if let Some(oldest) = page.map_keys.get(9) {
                let oldest = oldest.to_vec();
                call.put_entry(0, key_row, &oldest, None).unwrap();
            }
        }
        call.key_rows = key_rows;
    });
}

fn appends(criterion: &mut Criterion) {
    per_batch(criterion, "list_append", 100_000, StateDescriptor::new("list", StateKind::List), |call, number| {
        let key_rows = std::mem::take(&mut call.key_rows);
        let elements: BytesColumn = key_rows.iter().map(|_| Some([7u8; 16].as_slice())).collect();
        let lent = ColumnRef { ends: elements.ends(), bytes: elements.bytes(), absent: &[] };
        call.append_elements(0, &key_rows, lent).unwrap();
        if number % 8 == 7 {
            // Lists do not grow for ever.
            let all: Vec<u32> = (0..call.first_rows.len() as u32).collect();
            call.clear_state(0, &all).unwrap();
        }
        call.key_rows = key_rows;
    });
}

/// The keyed count, with values that live for a while.
fn timed(criterion: &mut Criterion) {
    let ttl = Ttl { duration_ms: 1 << 40, clock: TtlClock::Event, refresh: TtlRefresh::OnWrite };
    let descriptor = StateDescriptor { ttl: Some(ttl), ..StateDescriptor::new("count", StateKind::Value) };
    let mut group = criterion.benchmark_group("kinds");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let keys = 100_000;
    for (name, descriptor) in [("count", StateDescriptor::new("count", StateKind::Value)), ("count_ttl", descriptor)] {
        let mut run = None;
        let mut open = 0;
        group.throughput(Throughput::Elements(512));
        group.bench_function(BenchmarkId::new(name, keys), |bencher| {
            let (count, batches) = run.get_or_insert_with(|| {
                let mut count = Count::with(descriptor.clone());
                all_batches(keys).for_each(|batch| count.batch(&batch));
                count.commit();
                (count, random_batches(keys, 512).into_iter().cycle())
            });
            bencher.iter(|| {
                count.batch(&batches.next().unwrap());
                open += 512;
                if open >= RECORDS_PER_EPOCH {
                    open = 0;
                    count.commit();
                }
            });
        });
    }
    group.finish();
}

fn print_ratios(best: &Best) {
    let best = best.borrow();
    println!(
        "\n      keys  batch  in batches     in cuts       whole      native   ratio   (ns per record, best samples)"
    );
    for (&(keys, rows), &(batches, cuts)) in best.iter().filter(|((_, rows), _)| *rows > 0) {
        let native = best.get(&(keys, 0)).map_or(f64::NAN, |&(native, _)| native);
        let whole = batches + cuts;
        let ratio = whole / native;
        println!("{keys:10} {rows:6} {batches:11.1} {cuts:11.1} {whole:11.1} {native:11.1} {ratio:7.2}");
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let best = Best::default();
    native(&mut criterion, &best);
    keyed(&mut criterion, &best);
    first_seen(&mut criterion);
    scans(&mut criterion);
    appends(&mut criterion);
    timed(&mut criterion);
    criterion.final_summary();
    print_ratios(&best);
}
