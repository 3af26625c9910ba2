#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

//! The table of timers against a map, under random changes, cuts, commits, lost epochs and evictions.

use super::*;
use crate::fakes::{Chance, FakeDisk, FakeState, Life};
use crate::ports::StateBackend;
use millstream_model::commit::Catalog;
use millstream_model::descriptor::Descriptor;
use std::collections::{BTreeMap, BTreeSet};

/// Timer, id and key, and the time it is set for.
type Model = BTreeMap<(u32, u64, Vec<u8>), i64>;

const OPERATOR: &str = "op";

fn declared() -> Vec<TimerDescriptor> {
    let timer = |name: &str, clock| TimerDescriptor { name: name.to_owned(), clock };
    vec![timer("b", TimerClock::Event), timer("a", TimerClock::Event), timer("tick", TimerClock::Processing)]
}

fn catalog(timers: &[TimerDescriptor]) -> Catalog {
    let descriptor = Descriptor { timers: timers.to_vec(), ..Descriptor::default() };
    let names = descriptor.cells_names();
    let mut catalog = Catalog::default();
    catalog.enter("another", &["state"]).unwrap();
    catalog.enter(OPERATOR, &["state"]).unwrap();
    catalog.enter(OPERATOR, &names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    catalog
}

struct World {
    timers: Timers,
    disk: Arc<FakeDisk>,
    state: Arc<dyn StateBackend>,
    open: Model,
    frozen: Option<(Model, ChangeSet)>,
    stored: Model,
    mark: Mark,
}

fn make(state: &Arc<dyn StateBackend>) -> Timers {
    let catalog = catalog(&declared());
    Timers::new(&TimerColumns::new(&declared(), catalog.operators.get(OPERATOR)), Arc::clone(state))
}

impl World {
    fn new() -> Self {
        let disk = Arc::new(FakeDisk::default());
        let state: Arc<dyn StateBackend> = Arc::new(FakeState::new(&disk, &Life::default()));
        let timers = make(&state);
        let (open, stored) = (Model::new(), Model::new());
        Self { timers, disk, state, open, frozen: None, stored, mark: Mark { watermark_ms: None, now_ms: -1_000 } }
    }

    fn change(&mut self, changes: &[(u32, u64, Vec<u8>, Option<i64>)]) {
        let keys: Vec<Vec<u8>> = changes.iter().map(|(.., key, _)| key.clone()).collect();
        let op = |(row, (timer, id, _, time_ms)): (usize, &(u32, u64, Vec<u8>, Option<i64>))| TimerOp {
            timer: *timer,
            key_row: row as u32,
            id: *id,
            time_ms: *time_ms,
        };
        let ops: Vec<TimerOp> = changes.iter().enumerate().map(op).collect();
        self.timers.load(&ops, |row| &keys[row as usize]).unwrap();
        self.timers.apply(&ops, |row| &keys[row as usize]);
        for (timer, id, key, time_ms) in changes.iter().cloned() {
            match time_ms {
                Some(time_ms) => drop(self.open.insert((timer, id, key), time_ms)),
                None => drop(self.open.remove(&(timer, id, key))),
            }
        }
    }

    /// The earliest due timer of each key, event timers before others.
    fn due_by_model(&self) -> BTreeMap<Vec<u8>, Due> {
        let mut due: BTreeMap<Vec<u8>, ((usize, i64, u32, u64), Due)> = BTreeMap::new();
        for ((timer, id, key), time_ms) in &self.open {
            let clock = declared()[*timer as usize].clock;
            if bound(clock, self.mark).is_none_or(|until_ms| *time_ms > until_ms) {
                continue;
            }
            let order = (clock as usize, *time_ms, *timer, *id);
            let one = Due { timer: *timer, id: *id, time_ms: *time_ms, key: key.as_slice().into() };
            let first = due.entry(key.clone()).or_insert_with(|| (order, one.clone()));
            if order < first.0 {
                *first = (order, one);
            }
        }
        due.into_iter().map(|(key, (_, due))| (key, due)).collect()
    }

    fn fire(&mut self, rows_max: usize, seed: u64) {
        let expected = self.due_by_model();
        let due = self.timers.due(self.mark, rows_max).unwrap();
        assert_eq!(due.is_empty(), expected.is_empty(), "seed {seed}");
        assert!(due.len() <= rows_max, "seed {seed}");
        let keys: BTreeSet<_> = due.iter().map(|due| due.key.clone()).collect();
        assert_eq!(keys.len(), due.len(), "a key twice, seed {seed}");
        for one in &due {
            assert_eq!(Some(one), expected.get(&*one.key), "seed {seed}");
            self.timers.consume(one);
            self.open.remove(&(one.timer, one.id, one.key.to_vec()));
        }
    }

    fn ask_for(&mut self, keys: &[Vec<u8>], seed: u64) {
        let expected = self.due_by_model();
        let due = self.timers.due_of(keys.iter().map(Vec::as_slice), self.mark).unwrap();
        let found: BTreeMap<Vec<u8>, Due> = due.into_iter().map(|due| (due.key.to_vec(), due)).collect();
        let expected: BTreeMap<_, _> = expected.into_iter().filter(|(key, _)| keys.contains(key)).collect();
        assert_eq!(found, expected, "seed {seed}");
    }

    fn cut(&mut self) {
        if self.frozen.is_none() {
            let mut changes = ChangeSet::default();
            self.timers.freeze(&mut changes);
            self.frozen = Some((self.open.clone(), changes));
        }
    }

    fn commit(&mut self, seed: u64) {
        let Some((model, changes)) = self.frozen.take() else { return };
        let unique: BTreeSet<_> = changes.keys.iter().collect();
        assert_eq!(unique.len(), changes.len(), "a cell twice in one epoch, seed {seed}");
        self.state.write(&[changes], &[], false).unwrap();
        self.timers.applied();
        self.stored = model;
        assert_eq!(self.disk.cells(), cells_of(&self.stored), "seed {seed}");
    }

    /// The epochs that are not committed are lost, or the process is.
    fn lose(&mut self, is_restart: bool) {
        if is_restart {
            self.timers = make(&self.state);
        } else {
            self.timers.drop_epochs();
        }
        self.frozen = None;
        self.open = self.stored.clone();
    }
}

fn cells_of(model: &Model) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let catalog = catalog(&declared());
    let entry = catalog.operators.get(OPERATOR).unwrap();
    let number = |name: &str| *entry.states.get(name).unwrap();
    let mut all = BTreeMap::new();
    for ((timer, id, key), time_ms) in model {
        let declared = &declared()[*timer as usize];
        let place = Place { operator: entry.number, group: key_group(key) };
        let name = cells::name(number(&declared.cells_name()), *id, key);
        let (mut own, mut own_value, mut index, mut index_value) = (vec![], vec![], vec![], vec![]);
        place.write_cell(&mut own, &name);
        cells::write_time(&mut own_value, *time_ms);
        place.write_ordered(&mut index, number(declared.clock.index_name()), &cells::ordered(*time_ms, &name));
        cells::write_nothing(&mut index_value);
        all.extend([(own, own_value), (index, index_value)]);
    }
    all
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

/// One history; many timers of few keys, or few of many.
fn run(seed: u64) {
    let mut chance = Chance::new(seed);
    let mut world = World::new();
    let (keys, ids, times) = (1 + chance.below(40), 1 + chance.below(400), 1 + chance.below(2_000));
    for _ in 0..200 {
        match chance.below(20) {
            0..8 => {
                let changes: Vec<_> = (0..1 + chance.below(120))
                    .map(|_| {
                        let time_ms = (!chance.happens(250)).then(|| chance.below(times) as i64 - 50);
                        (chance.below(3) as u32, chance.below(ids), key(chance.below(keys)), time_ms)
                    })
                    .collect();
                world.change(&changes);
            }
            8..11 => {
                let by = chance.below(times / 10 + 2) as i64;
                world.mark.watermark_ms = world.mark.watermark_ms.map_or(Some(-60), |before| Some(before + by));
                world.mark.now_ms += chance.below(times / 10 + 2) as i64;
            }
            11..15 => world.fire(1 + chance.below(50) as usize, seed),
            15 => {
                let asked: Vec<_> = (0..1 + chance.below(5)).map(|_| key(chance.below(keys))).collect();
                world.ask_for(&asked, seed);
            }
            16 => world.cut(),
            17 => world.commit(seed),
            18 => world.timers.trim(chance.below(2_000) as usize),
            _ if chance.happens(300) => world.lose(chance.happens(500)),
            _ => {}
        }
    }
    // In the end everything fires, and nothing is left.
    world.mark = Mark { watermark_ms: Some(i64::MAX), now_ms: i64::MAX };
    while !world.open.is_empty() {
        assert!(world.timers.has_due(world.mark));
        world.fire(64, seed);
        if chance.happens(100) {
            world.commit(seed);
            world.cut();
        }
    }
    world.commit(seed);
    world.cut();
    world.commit(seed);
    assert!(world.disk.cells().is_empty(), "seed {seed}");
}

#[test]
fn timers_behave_like_a_map_whatever_is_cut_committed_lost_and_evicted() {
    let seeds = std::env::var("MILLSTREAM_TIMER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        run(seed);
    }
}

#[test]
fn setting_a_timer_again_moves_it_and_leaves_nothing_behind() {
    let mut world = World::new();
    for time_ms in 0..100 {
        world.change(&[(0, 0, key(1), Some(time_ms))]);
        if time_ms % 3 == 0 {
            world.cut();
            world.commit(0);
            assert_eq!(world.disk.cells().len(), 2, "one timer has two cells");
        }
    }
    world.mark.watermark_ms = Some(98);
    world.fire(10, 0);
    assert_eq!(world.open.len(), 1);
    world.mark.watermark_ms = Some(99);
    world.fire(10, 0);
    assert!(world.open.is_empty());
}

#[test]
fn what_is_set_and_fired_in_one_epoch_never_reaches_the_store() {
    let mut world = World::new();
    world.change(&[(0, 0, key(1), Some(5)), (1, 7, key(2), Some(5)), (1, 7, key(2), None)]);
    world.mark.watermark_ms = Some(5);
    world.fire(10, 0);
    let mut changes = ChangeSet::default();
    world.timers.freeze(&mut changes);
    assert!(changes.is_empty());
}

#[test]
fn workers_share_the_key_groups_and_fire_their_own() {
    for workers in [1, 2, 3, 4, 128] {
        let owned: Vec<u16> = (0..workers).flat_map(|worker| Share::of(worker, workers as u32).groups).collect();
        assert_eq!(owned, (0..128).collect::<Vec<_>>());
    }
    let mut world = World::new();
    world.change(&(0..200).map(|number| (0, 0, key(number), Some(1))).collect::<Vec<_>>());
    world.cut();
    world.commit(0);
    let catalog = catalog(&declared());
    let mark = Mark { watermark_ms: Some(1), now_ms: 0 };
    let mut fired = 0;
    for worker in 0..3 {
        let share = Share::of(worker, 3);
        let columns = TimerColumns::new(&declared(), catalog.operators.get(OPERATOR));
        let mut timers = Timers::new(&columns, Arc::clone(&world.state));
        timers.share(&share);
        let due = timers.due(mark, 1_000).unwrap();
        assert!(due.iter().all(|due| share.groups.contains(&key_group(&due.key).0.into())));
        fired += due.len();
    }
    assert_eq!(fired, 200);
}

#[test]
fn a_timer_that_is_pending_must_stay_declared_with_its_clock() {
    let mut world = World::new();
    world.change(&[(0, 0, key(1), Some(1))]);
    world.cut();
    world.commit(0);
    let mut catalog = catalog(&declared());
    let open = |catalog: &Catalog, timers: &[TimerDescriptor]| {
        check_vanished(timers, catalog.operators.get(OPERATOR).unwrap(), world.state.as_ref())
    };
    let without = |name: &str| declared().into_iter().filter(|timer| timer.name != name).collect::<Vec<_>>();
    assert!(open(&catalog, &without("a")).is_ok(), "nothing of it is pending");
    let refused = open(&catalog, &without("b")).unwrap_err();
    assert!(refused.starts_with("timers `b` (clock `event`) of an earlier version are pending"), "{refused}");
    let mut moved = declared();
    moved[0].clock = TimerClock::Processing;
    let names = Descriptor { timers: moved.clone(), ..Descriptor::default() }.cells_names();
    catalog.enter(OPERATOR, &names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert!(open(&catalog, &moved).is_err());
}

#[test]
fn memory_is_what_is_near_and_known_and_not_what_is_pending() {
    let mut world = World::new();
    for round in 0..40 {
        let changes: Vec<_> = (0..1_000).map(|id| (0, round * 1_000 + id, key(id % 7), Some(id as i64))).collect();
        world.change(&changes);
        world.cut();
        world.commit(0);
        world.timers.trim(50_000);
    }
    assert_eq!(world.open.len(), 40_000);
    let held = world.timers.memory_bytes();
    let near = 7 * group::NEAR_MAX * group::CELL_BYTES;
    assert!(held < near + 200_000, "{held} bytes for 40 000 timers of 7 key groups");
}
