//! Everything a run is made of, and what happens in it.

use crate::check::Checker;
use crate::model::Model;
use crate::mutants::{Mutant, MutantLog, MutantSink, MutantState};
use crate::process::{Process, SOURCE, Turn};
use crate::scenario::{Kind, Scenario};
use millstream_engine::commit::codec::{decode_commit, encode_commit};
use millstream_engine::commit::{CommitPorts, Committer, CommitterSettings, Identity, SinkPort, Stop};
use millstream_engine::fakes::{
    Chance, FakeClock, FakeCluster, FakeDisk, FakeFile, FakeLog, FakeSink, FakeState, Life, LogFaults, Topic,
};
use millstream_engine::ports::{Clock, CommitsKey, Meta, Sink, StateBackend, TransactionLog};
use millstream_model::commit::{CommitRecord, TopicIdentity};
use millstream_model::ids::Lineage;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How long a transaction may take, in milliseconds.
const TIMEOUT_MS: u64 = 15_000;

/// Within so long everything is committed once nothing fails any more, in milliseconds.
const RECOVERY_MS_MAX: u64 = 30_000;

/// The history that checkpoints of the simulation come from.
const CHECKPOINT_LINEAGE: Lineage = Lineage([7; 16]);

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes(BTreeMap<&'static str, u64>);

impl Notes {
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    fn note(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    /// What happened least often.
    pub(crate) fn rarest(&self) -> (&'static str, u64) {
        let expected = EXPECTED.iter().map(|name| (*name, self.0.get(name).copied().unwrap_or(0)));
        expected.min_by_key(|(_, count)| *count).unwrap_or_default()
    }
}

/// What has to happen, or the simulation shows nothing.
const EXPECTED: [&str; 13] = [
    "aged",
    "commits",
    "deaths",
    "fenced",
    "lost power",
    "replaced by an old copy",
    "resolved: committed",
    "resolved: rolled back",
    "restores",
    "seeded",
    "stood still",
    "torn",
    "wiped",
];

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    pub(crate) clock: FakeClock,
    pub(crate) cluster: Option<Arc<FakeCluster>>,
    pub(crate) disks: [Arc<FakeDisk>; 2],
    pub(crate) files: [Arc<FakeFile>; 2],
    copies: [Mutex<Option<FakeDisk>>; 2],
    slots: [Mutex<Option<Process>>; 2],
    state: Mutex<State>,
    mutant: Option<Mutant>,
    this: Weak<World>,
}

/// What changes.
struct State {
    chance: Chance,
    notes: Notes,
    violation: Option<String>,
    is_torn: bool,
    /// Nothing fails any more.
    is_calm: bool,
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
                return Ok(world.lock().notes.clone());
            }
            world.broken()?;
            checker.check_stores(&world)?;
        }
        world.calm_down(&mut checker)?;
        let commits = checker.check_end(&world)?;
        let mut notes = world.lock().notes.clone();
        *notes.0.entry("commits").or_default() += commits;
        Ok(notes)
    }

    fn new(seed: u64, mutant: Option<Mutant>) -> Arc<Self> {
        let mut chance = Chance::new(seed);
        let scenario = Scenario::new(&mut chance);
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
        });
        if world.scenario.is_seeded {
            world.fill_from_checkpoint();
        }
        world
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chance<R>(&self, of: impl FnOnce(&mut Chance) -> R) -> R {
        of(&mut self.lock().chance)
    }

    fn note(&self, name: &'static str) {
        self.lock().notes.note(name);
    }

    fn violate(&self, violation: String) {
        self.lock().violation.get_or_insert(violation);
    }

    fn broken(&self) -> Result<(), String> {
        self.lock().violation.take().map_or(Ok(()), Err)
    }

    /// Puts cells and commit of another history into the first directory, as `--from-checkpoint` does.
    fn fill_from_checkpoint(&self) {
        let ends = self.scenario.ends.iter();
        let positions: Vec<i64> = ends.map(|end| self.chance(|chance| chance.below(*end as u64) as i64)).collect();
        let mut changes = millstream_engine::ports::ChangeSet::default();
        for (key, value) in Model::at(self.seed, &positions).cells() {
            changes.keys.push(Some(&key));
            changes.values.push(Some(&value));
        }
        let mut applied = CommitRecord { committed_ms: self.clock.now_ms(), ..CommitRecord::default() };
        applied.token.lineage = CHECKPOINT_LINEAGE;
        applied.token.epoch.0 = 40;
        applied.positions = crate::check::positions_of(&positions);
        let applied = encode_commit(&applied);
        let [disk, _] = &self.disks;
        let state = FakeState::new(disk, &Life::default());
        let written = state.write(&[changes], &[(Meta::Applied, Some(&applied))], true);
        written.expect("a fake that lives");
    }

    pub(crate) fn has_commit(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.newest(CommitsKey::Commit).is_some())
    }

    /// One thing happens around a slot: a process starts, does something, or dies. Nothing if the process there stands still already.
    fn act(&self, slot: usize) {
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

    /// What may befall a directory while no process has it.
    fn between_runs(&self, slot: usize) {
        let (Some(disk), Some(copy)) = (self.disks.get(slot), self.copies.get(slot)) else { return };
        if self.cluster.is_none() || !self.has_commit() || self.lock().is_calm {
            return;
        }
        let mut copy = copy.lock().unwrap_or_else(PoisonError::into_inner);
        match self.chance(|chance| chance.below(20)) {
            0 => {
                disk.wipe();
                self.note("wiped");
            }
            1 | 2 => *copy = Some(disk.copy()),
            3 | 4 => {
                if let Some(copy) = copy.as_ref() {
                    disk.replace(copy);
                    self.note("replaced by an old copy");
                }
            }
            5 => {
                self.clock.advance(13 * 3_600 * 1_000);
                self.note("aged");
            }
            _ => {}
        }
    }

    fn live(&self, slot: usize) -> Life {
        let life = Life::default();
        self.plan_fate(slot, &life);
        life
    }

    /// Decides whether the process dies soon, or stands still while others act.
    fn plan_fate(&self, slot: usize, life: &Life) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.is_calm {
            return;
        }
        if state.chance.happens(self.scenario.deaths) {
            life.ends_in(1 + state.chance.below(40));
        }
        if state.chance.happens(self.scenario.pauses) {
            let (step, acts) = (1 + state.chance.below(40), state.chance.below(6));
            let this = self.this.clone();
            life.pauses_in(step, move || {
                if let Some(world) = this.upgrade() {
                    world.stand_still(slot, acts);
                }
            });
        }
    }

    fn stand_still(&self, slot: usize, acts: u64) {
        self.note("stood still");
        if self.chance(|chance| chance.happens(400)) {
            self.clock.advance(self.chance(|chance| chance.below(2 * TIMEOUT_MS)));
        }
        if self.scenario.has_rival {
            (0..acts).for_each(|_| self.act(1 - slot));
        }
    }

    fn ports(&self, slot: usize, life: &Life) -> Option<(CommitPorts, Arc<dyn StateBackend>)> {
        let state = FakeState::new(self.disks.get(slot)?, life);
        let log = self.cluster.as_ref().map(|cluster| FakeLog::new(cluster, life));
        let plain: Arc<dyn StateBackend> = Arc::new(state.clone());
        let (state, log): (Arc<dyn StateBackend>, Option<Box<dyn TransactionLog>>) = match self.mutant {
            None => (Arc::clone(&plain), log.map(|log| Box::new(log) as _)),
            Some(mutant) => {
                let log = log.map(|log| Box::new(MutantLog::new(mutant, log, state.clone())) as _);
                (Arc::new(MutantState::new(mutant, state)), log)
            }
        };
        let local = |file: &Arc<FakeFile>| {
            let sink = FakeSink::new(file, life);
            let sink: Box<dyn Sink> = match self.mutant {
                None => Box::new(sink),
                Some(mutant) => Box::new(MutantSink::new(mutant, sink, file)),
            };
            SinkPort::Local(sink)
        };
        let [first, second] = &self.files;
        let sinks = match self.scenario.kind {
            Kind::Topics => vec![SinkPort::Log, SinkPort::Log],
            Kind::TopicAndFile => vec![SinkPort::Log, local(second)],
            Kind::Files => vec![local(first), local(second)],
        };
        Some((CommitPorts { log, state, sinks, clock: Arc::new(self.clock.clone()) }, plain))
    }

    fn identity(&self) -> Identity {
        let partitions = self.scenario.ends.len() as i32;
        let topic = TopicIdentity { name: "lines".to_owned(), id: "T".to_owned(), partitions };
        Identity {
            id: "simulated".to_owned(),
            host: "host".to_owned(),
            pid: self.chance(Chance::number) as u32,
            cluster_id: "cluster".to_owned(),
            topics: BTreeMap::from([(SOURCE.to_owned(), topic)]),
            changelog: 0,
            digests: BTreeMap::new(),
            operators: vec![("sum".to_owned(), vec!["sum".to_owned()])],
            sink_ids: vec!["first".to_owned(), "second".to_owned()],
            sink_ends: BTreeMap::new(),
            fresh_lineage: Lineage([1 + self.chance(|chance| chance.below(6)) as u8; 16]),
        }
    }

    fn start(&self, slot: usize) -> Option<Process> {
        let life = self.live(slot);
        let (ports, state) = self.ports(slot, &life)?;
        let settings = CommitterSettings {
            transaction_timeout_ms: TIMEOUT_MS,
            from_checkpoint: self.scenario.is_seeded && !self.has_commit(),
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
                let process =
                    Process::new(&life, (committer, &started), state, (self.seed, &self.scenario.ends), self.mutant);
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
            4 => process.write(),
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

    fn die(&self, slot: usize) {
        self.note("deaths");
        if self.chance(|chance| chance.happens(400)) {
            self.note("lost power");
            let mut guard = self.lock();
            if let Some(disk) = self.disks.get(slot) {
                disk.lose_power(&mut guard.chance);
            }
            self.files.iter().for_each(|file| file.lose_power(&mut guard.chance));
        }
    }

    /// Whether a process was right to stop.
    fn judge(&self, stop: &Stop, process: Option<&Process>) {
        let is_calm = self.lock().is_calm;
        match stop {
            Stop::Fenced { by } => {
                self.note("fenced");
                let own = process.and_then(|process| process.committer.applied());
                let is_younger = own.is_none_or(|own| by.incarnation >= own.token.incarnation);
                if !self.scenario.has_rival || !is_younger {
                    self.violate(format!("fenced by nobody: {stop}"));
                }
            }
            Stop::Torn { .. } if self.scenario.has_ghosts() => {
                self.note("torn");
                self.lock().is_torn = true;
            }
            Stop::Log(_) | Stop::ResolvesExhausted { .. } if !is_calm => self.note("stopped by the log"),
            stop => self.violate(format!("stopped without need: {stop}")),
        }
    }

    /// Nothing fails from now on: everything has to be committed soon.
    fn calm_down(&self, checker: &mut Checker) -> Result<(), String> {
        self.lock().is_calm = true;
        if let Some(cluster) = &self.cluster {
            cluster.set_faults(LogFaults::default());
        }
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

    fn is_done(&self) -> bool {
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

    /// The topic of a sink, if it is one.
    pub(crate) fn topic(&self, sink: usize) -> Option<Topic> {
        match (self.scenario.kind, sink) {
            (Kind::Topics, _) | (Kind::TopicAndFile, 0) => Some(Topic::Sink(sink)),
            _ => None,
        }
    }

    pub(crate) fn is_torn(&self) -> bool {
        self.lock().is_torn
    }
}
