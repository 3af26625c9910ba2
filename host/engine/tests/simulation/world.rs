//! Everything a run is made of, and what happens in it.

use crate::check::Checker;
use crate::mutants::Mutant;
use crate::notes::Notes;
use crate::process::{Process, Turn};
use crate::scenario::{Kind, Scenario};
use crate::spy::Applied;
use crate::swapping::Answers;
use millstream_engine::commit::codec::decode_commit;
use millstream_engine::commit::{Auditor, Committer, CommitterSettings};
use millstream_engine::fakes::{
    Chance, FakeClock, FakeCluster, FakeCommitsReader, FakeDisk, FakeFile, LogFaults, Topic,
};
use millstream_engine::ports::{Clock, CommitsKey, Meta};
use millstream_model::commit::CommitRecord;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How long a transaction may take, in milliseconds.
pub(crate) const TIMEOUT_MS: u64 = 15_000;

/// So few that a checkpoint's cells go into several transactions.
pub(crate) const SEED_BYTES_MAX: usize = 40;

/// Within so long everything is committed once nothing fails any more, in milliseconds.
const RECOVERY_MS_MAX: u64 = 30_000;

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    pub(crate) clock: FakeClock,
    pub(crate) cluster: Option<Arc<FakeCluster>>,
    pub(crate) disks: [Arc<FakeDisk>; 2],
    pub(crate) files: [Arc<FakeFile>; 2],
    pub(crate) copies: [Mutex<Option<FakeDisk>>; 2],
    pub(crate) slots: [Mutex<Option<Process>>; 2],
    state: Mutex<State>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) this: Weak<World>,
    /// Whether versions of the operator come and go.
    pub(crate) has_swaps: bool,
    pub(crate) answers: Answers,
    pub(crate) applied: Applied,
    versions: AtomicU32,
}

/// What changes.
pub(crate) struct State {
    pub(crate) chance: Chance,
    notes: Notes,
    violation: Option<String>,
    pub(crate) is_torn: bool,
    /// Nothing fails any more.
    pub(crate) is_calm: bool,
}

impl World {
    /// Runs a seed; tells what happened, or what was broken.
    pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Result<Notes, String> {
        let world = Self::new(seed, mutant);
        let mut checker = Checker::new(&world);
        for _ in 0..world.scenario.turns {
            let slot = usize::from(world.scenario.has_rival && world.chance(|chance| chance.happens(300)));
            world.act(slot);
            if world.lock().is_torn {
                checker.check_torn(&world)?;
                return Ok(world.notes());
            }
            world.broken()?;
            checker.check_stores(&world)?;
        }
        world.calm_down(&mut checker)?;
        let commits = checker.check_end(&world)?;
        let mut notes = world.notes();
        notes.count("commits", commits);
        Ok(notes)
    }

    fn new(seed: u64, mutant: Option<Mutant>) -> Arc<Self> {
        let mut chance = Chance::new(seed);
        let scenario = Scenario::new(&mut chance);
        Self::with(seed, chance, scenario, (mutant, false))
    }

    pub(crate) fn with(
        seed: u64,
        mut chance: Chance,
        scenario: Scenario,
        (mutant, has_swaps): (Option<Mutant>, bool),
    ) -> Arc<Self> {
        let clock = FakeClock::default();
        let cluster = (scenario.kind != Kind::Files).then(|| {
            let cluster = FakeCluster::new(chance.number(), &clock, 2, TIMEOUT_MS);
            cluster.set_faults(scenario.faults);
            Arc::new(cluster)
        });
        let notes = Notes::default();
        let state = State { chance, notes, violation: None, is_torn: false, is_calm: false };
        let world = Arc::new_cyclic(|this| Self {
            seed,
            scenario,
            clock,
            cluster,
            disks: Default::default(),
            files: Default::default(),
            copies: Default::default(),
            slots: Default::default(),
            state: Mutex::new(state),
            mutant,
            this: this.clone(),
            has_swaps,
            answers: Answers::default(),
            applied: Applied::default(),
            versions: AtomicU32::new(1),
        });
        if world.scenario.is_seeded {
            world.fill_from_checkpoint();
        }
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn chance<R>(&self, of: impl FnOnce(&mut Chance) -> R) -> R {
        of(&mut self.lock().chance)
    }

    pub(crate) fn note(&self, name: &'static str) {
        self.count(name, 1);
    }

    pub(crate) fn count(&self, name: &'static str, times: u64) {
        self.lock().notes.count(name, times);
    }

    pub(crate) fn violate(&self, violation: String) {
        self.lock().violation.get_or_insert(violation);
    }

    pub(crate) fn broken(&self) -> Result<(), String> {
        self.lock().violation.take().map_or(Ok(()), Err)
    }

    pub(crate) fn has_commit(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.newest(CommitsKey::Commit).is_some())
    }

    /// One thing happens around a slot: a process starts, does something, or dies. Nothing if the process there stands still already.
    pub(crate) fn act(&self, slot: usize) {
        let Some(Ok(mut guard)) = self.slots.get(slot).map(Mutex::try_lock) else { return };
        match guard.take() {
            Some(process) => *guard = self.turn(slot, process),
            None => {
                self.between_runs(slot);
                // A history that begins with a checkpoint begins where that is.
                if slot == 0 || !self.scenario.is_seeded || self.has_commit() {
                    *guard = self.start(slot);
                }
            }
        }
    }

    fn start(&self, slot: usize) -> Option<Process> {
        let life = self.live(slot);
        let (ports, state) = self.ports(slot, &life)?;
        let settings = CommitterSettings {
            transaction_timeout_ms: TIMEOUT_MS,
            from_checkpoint: self.scenario.is_seeded && !self.has_commit(),
            seed_bytes_max: SEED_BYTES_MAX,
            ..CommitterSettings::default()
        };
        match Committer::start(ports, self.identity(), settings) {
            Ok((committer, started)) => {
                if started.restored_cells > 0 {
                    self.note("restores");
                }
                if settings.from_checkpoint {
                    self.note("seeded");
                }
                let reader = self.cluster.as_ref().map(|cluster| Box::new(FakeCommitsReader::new(cluster, &life)) as _);
                let auditor = reader.map(|reader| Auditor::new(reader, &started));
                let mut process =
                    Process::new(&life, (committer, &started), state, (self.seed, &self.scenario.ends), self.mutant);
                process.auditor = auditor;
                self.survive(slot, process)
            }
            Err(_) if life.is_over() => {
                self.die(slot);
                None
            }
            Err(stop) => {
                self.judge(&stop, None);
                None
            }
        }
    }

    fn turn(&self, slot: usize, mut process: Process) -> Option<Process> {
        self.plan_fate(slot, &process.life);
        let mut chance = Chance::new(self.chance(Chance::number));
        let is_calm = self.lock().is_calm;
        if !is_calm {
            let ms = if chance.happens(30) { 20_000 } else { chance.below(1_500) };
            self.clock.advance(ms);
        }
        let turn = match chance.below(10) {
            _ if is_calm => {
                process.process(&mut chance);
                process.cut(&mut chance, true)
            }
            0..=3 => {
                process.process(&mut chance);
                Turn::Fine
            }
            4 if chance.happens(500) => process.write(),
            4 => process.audit(self.clock.monotonic_ms()),
            5 if chance.happens(self.scenario.deaths) => {
                process.life.end();
                Turn::Fine
            }
            _ => {
                let force = chance.happens(500);
                process.cut(&mut chance, force)
            }
        };
        match turn {
            Turn::Fine => {}
            _ if process.life.is_over() => {}
            Turn::Resolved(true) => self.note("resolved: committed"),
            Turn::Resolved(false) => self.note("resolved: rolled back"),
            Turn::Stopped(stop) => {
                self.judge(&stop, Some(&process));
                return None;
            }
        }
        self.survive(slot, process)
    }

    /// The process, unless it died.
    fn survive(&self, slot: usize, process: Process) -> Option<Process> {
        if process.life.is_over() {
            self.die(slot);
            return None;
        }
        Some(process)
    }

    /// Nothing fails from now on.
    pub(crate) fn calm(&self) {
        self.lock().is_calm = true;
        if let Some(cluster) = &self.cluster {
            cluster.set_faults(LogFaults::default());
        }
    }

    /// Nothing fails from now on: everything has to be committed soon.
    fn calm_down(&self, checker: &mut Checker) -> Result<(), String> {
        self.calm();
        for (slot, process) in self.slots.iter().enumerate() {
            let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(process) = process.as_ref() {
                // Whatever was to befall it does not any more.
                process.life.pauses_in(u64::MAX / 2, || {});
                process.life.ends_in(u64::MAX / 2);
            }
            if slot == 1 {
                *process = None;
            }
        }
        let begun_ms = self.clock.monotonic_ms();
        for _ in 0..200 {
            self.act(0);
            if self.lock().is_torn {
                return checker.check_torn(self);
            }
            self.broken()?;
            checker.check_stores(self)?;
            if self.is_done() {
                let took_ms = self.clock.monotonic_ms() - begun_ms;
                if took_ms > RECOVERY_MS_MAX {
                    return Err(format!("after the last failure it took {took_ms} ms until everything was committed"));
                }
                return Ok(());
            }
        }
        Err("not everything is committed, though nothing fails any more".to_owned())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.newest().is_some_and(|newest| crate::check::nexts(&newest, &self.scenario.ends) == self.scenario.ends)
    }

    /// The newest commit: of the log, or without one, of the store.
    pub(crate) fn newest(&self) -> Option<CommitRecord> {
        let [disk, _] = &self.disks;
        let bytes = match &self.cluster {
            Some(cluster) => cluster.newest(CommitsKey::Commit),
            None => disk.fact(Meta::Applied),
        };
        bytes.and_then(|bytes| decode_commit(&bytes).ok())
    }

    /// Every commit, in order.
    pub(crate) fn commits(&self) -> Vec<CommitRecord> {
        let Some(cluster) = &self.cluster else { return self.applied.all() };
        let entries = cluster.committed(Topic::Commits);
        let commits = entries.iter().filter(|entry| entry.key.as_deref() == Some(CommitsKey::Commit.as_bytes()));
        commits.filter_map(|entry| decode_commit(entry.value.as_deref()?).ok()).collect()
    }

    /// Values of all records that were ever written to a sink, whatever became of them.
    pub(crate) fn everything_put_out(&self) -> Vec<Vec<u8>> {
        let topics =
            self.cluster.iter().flat_map(|cluster| (0..2).flat_map(|sink| cluster.appended(Topic::Sink(sink))));
        let files = self.files.iter().map(|file| file.bytes(u64::MAX));
        let lines = files.flat_map(|bytes| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>());
        topics.filter_map(|entry| entry.value).chain(lines).collect()
    }

    pub(crate) fn next_version(&self) -> u32 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }

    /// The topic of a sink, if it is one.
    pub(crate) fn topic(&self, sink: usize) -> Option<Topic> {
        match (self.scenario.kind, sink) {
            (Kind::Topics, _) | (Kind::TopicAndFile, 0) => Some(Topic::Sink(sink)),
            _ => None,
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.lock().is_calm
    }

    /// What happened.
    pub(crate) fn notes(&self) -> Notes {
        self.lock().notes.clone()
    }

    pub(crate) fn is_torn(&self) -> bool {
        self.lock().is_torn
    }
}
