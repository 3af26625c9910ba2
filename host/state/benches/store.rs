//! What the store costs per cell: commits, reads, and opening after a crash. `cargo bench --profile release -p millstream-state`.
//!
//! Times of commits and reads are those the calling thread spent on a processor, as Linux counts them, so that a busy machine does not show. What RocksDB's own threads
//! spend on a commit comes on top; it is printed once per case.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a benchmark")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream_engine::ports::{ChangeSet, Meta, StateBackend};
use millstream_model::cell::{CellSpace, write_key, write_value};
use millstream_model::column::BytesColumn;
use millstream_model::key_group::KeyGroup;
use millstream_state::RocksStore;
use std::time::Duration;

const MEMORY_BYTES: u64 = 256 << 20;
const SPACE: CellSpace = CellSpace { operator: 0, state: 0 };

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Time on a processor: of the calling thread, or of the whole process.
fn spent(of: &str) -> Duration {
    if of == "self" {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        // Fields 14 and 15 of proc(5), in hundredths of a second.
        return Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()));
    }
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(spent.split_ascii_whitespace().next().unwrap().parse().unwrap())
}

/// What `routine` spends on inputs that `prepare` makes.
fn spend<I, O>(times: u64, mut prepare: impl FnMut() -> I, mut routine: impl FnMut(&I) -> O) -> Duration {
    (0..times)
        .map(|_| {
            let input = prepare();
            let before = spent("thread");
            std::hint::black_box(routine(&input));
            spent("thread") - before
        })
        .sum()
}

/// The cell's key of user key `number`, ten digits.
fn cell_key(to: &mut Vec<u8>, number: u64) {
    let group = KeyGroup((Chance(number).next() % 128) as u8);
    write_key(to, SPACE, group, format!("{number:010}").as_bytes(), b"");
}

/// `count` different cells of `keys`, in an order that is nobody's: what a cache gives away.
fn changes(chance: &mut Chance, keys: u64, count: u64) -> ChangeSet {
    // A step without a common factor walks over all keys before it repeats one.
    let (start, step) = (chance.next() % keys, 382_657);
    let mut set = ChangeSet::default();
    for at in 0..count {
        set.keys.push_with(|to| cell_key(to, (start + at * step) % keys));
        set.values.push_with(|to| write_value(to, 1, &chance.0.to_le_bytes()));
    }
    set
}

fn filled(path: &std::path::Path, keys: u64) -> RocksStore {
    let store = RocksStore::open(path, MEMORY_BYTES).unwrap();
    let mut chance = Chance(1);
    store.write(&[changes(&mut chance, keys, keys)], &[(Meta::Applied, Some(b"filled"))], false).unwrap();
    store
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    for (keys, cells) in
        [(1_000, 1_000), (10_000, 10_000), (1_000_000, 20_000), (1_000_000, 300_000), (1_000_000, 1_000_000)]
    {
        let directory = tempfile::tempdir().unwrap();
        let store = filled(&directory.path().join("db"), keys);
        let mut chance = Chance(7);
        group.throughput(Throughput::Elements(cells));
        group.bench_function(format!("{cells}-cells-of-{keys}-keys"), |bench| {
            bench.iter_custom(|times| {
                spend(
                    times,
                    || [changes(&mut chance, keys, cells)],
                    |set| {
                        store.write(set, &[(Meta::Applied, Some(b"applied"))], false).unwrap();
                    },
                )
            });
        });
        let sets: Vec<_> = (0..4_000_000 / cells).map(|_| [changes(&mut chance, keys, cells)]).collect();
        let (all, ours) = (spent("self"), spent("thread"));
        for set in &sets {
            store.write(set, &[(Meta::Applied, Some(b"applied"))], false).unwrap();
        }
        let (all, ours) = (spent("self") - all, spent("thread") - ours);
        let others = all.saturating_sub(ours).as_nanos() / (sets.len() as u128 * u128::from(cells));
        println!("RocksDB's own threads meanwhile: {others} ns per cell");
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read-1024");
    group.throughput(Throughput::Elements(1_024));
    let mut bench = |store: &RocksStore, name: &str, from: u64, keys: u64| {
        let mut chance = Chance(3);
        group.bench_function(name, |bench| {
            bench.iter_custom(|times| {
                let prepare = || {
                    let mut asked = BytesColumn::default();
                    (0..1_024).for_each(|_| asked.push_with(|to| cell_key(to, from + chance.next() % keys)));
                    asked
                };
                spend(times, prepare, |asked| {
                    let mut values = BytesColumn::default();
                    store.read(asked, &mut values).unwrap();
                    values
                })
            });
        });
    };
    let directory = tempfile::tempdir().unwrap();
    let empty = RocksStore::open(&directory.path().join("empty"), MEMORY_BYTES).unwrap();
    bench(&empty, "of-an-empty-store", 0, 1_000_000);
    for keys in [10_000, 1_000_000] {
        let store = filled(&directory.path().join(keys.to_string()), keys);
        bench(&store, &format!("there-of-{keys}-keys"), 0, keys);
        bench(&store, &format!("absent-of-{keys}-keys"), keys, keys);
    }
    group.finish();
}

fn reopening(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let (path, left) = (directory.path().join("db"), directory.path().join("left"));
    let store = filled(&path, 1_000_000);
    let mut chance = Chance(9);
    for _ in 0..10 {
        store.write(&[changes(&mut chance, 1_000_000, 100_000)], &[(Meta::Applied, Some(b"applied"))], false).unwrap();
    }
    let leave = || {
        // The files as a killed process leaves them, with the log not yet in tables.
        let _ = std::fs::remove_dir_all(&left);
        std::fs::create_dir(&left).unwrap();
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), left.join(entry.file_name())).unwrap();
        }
    };
    criterion.bench_function("open-after-a-kill-1000000-keys", |bench| {
        bench.iter_batched(leave, |()| RocksStore::open(&left, MEMORY_BYTES).unwrap(), BatchSize::PerIteration);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = commits, reads, reopening
}
criterion_main!(benches);
