//! The invariants of the protocol, checked from outside: by what a reader of committed records sees, and by what lies on disks.

use crate::model::{ByKey, Model};
use crate::process::SOURCE;
use crate::world::World;
use millstream_engine::commit::codec::{decode_commit, decode_open};
use millstream_engine::commit::{sum_changes, sum_outputs};
use millstream_engine::fakes::{Entry, FakeCluster, Topic};
use millstream_engine::ports::{ChangeSet, CommitsKey, Meta};
use millstream_model::commit::{CommitRecord, OpenRecord, OutputTotal, PartitionPosition};
use millstream_model::ids::Token;
use millstream_model::record::{Origin, RecordBatch};
use std::collections::{BTreeMap, HashMap, HashSet};

type Outcome = Result<(), String>;

/// Positions of all partitions, as a commit holds them.
pub(crate) fn positions_of(nexts: &[i64]) -> Vec<PartitionPosition> {
    let position = |(partition, next): (i32, &i64)| PartitionPosition {
        source: SOURCE.to_owned(),
        partition,
        from: *next,
        next: *next,
        leader_epoch: -1,
        timestamp_ms_max: (*next > 0).then(|| next - 1),
        idle: false,
    };
    (0..).zip(nexts).map(position).collect()
}

/// Positions of a commit, by partition.
pub(crate) fn nexts(record: &CommitRecord, ends: &[i64]) -> Vec<i64> {
    let next = |partition: usize| {
        let position = record.positions.iter().find(|position| position.partition == partition as i32);
        position.map_or(0, |position| position.next)
    };
    (0..ends.len()).map(next).collect()
}

/// What stores said, for the end.
pub(crate) struct Checker {
    /// Commits that some store had applied.
    applied: HashSet<(Token, Vec<i64>)>,
    /// Without a log: the commit seen last.
    last: Option<CommitRecord>,
    /// Where the history begins.
    base: Vec<i64>,
}

impl Checker {
    pub(crate) fn new(world: &World) -> Self {
        let [disk, _] = &world.disks;
        let seed = disk.fact(Meta::Applied).and_then(|bytes| decode_commit(&bytes).ok());
        let ends = &world.scenario.ends;
        let base = seed.map_or_else(|| vec![0; ends.len()], |seed| nexts(&seed, ends));
        Self { applied: HashSet::new(), last: None, base }
    }

    /// Invariant 2, at any moment: a store is the fold of the commits up to `applied`, or says that it is none.
    pub(crate) fn check_stores(&mut self, world: &World) -> Outcome {
        for disk in &world.disks {
            let Some(applied) = disk.fact(Meta::Applied) else { continue };
            if disk.fact(Meta::Restoring).is_some() {
                continue;
            }
            let applied = decode_commit(&applied).map_err(|error| error.to_string())?;
            let positions = nexts(&applied, &world.scenario.ends);
            if disk.cells() != Model::at(world.seed, &positions).cells() {
                return Err(format!("the store at {} is not the fold up to {positions:?}", applied.token));
            }
            if world.cluster.is_none() {
                self.follow(&applied)?;
            }
            self.applied.insert((applied.token, positions));
        }
        if let Some(newest) = world.newest() {
            self.check_files(world, &newest)?;
        }
        Ok(())
    }

    /// Without a log: commits follow one another in the store.
    fn follow(&mut self, applied: &CommitRecord) -> Outcome {
        let is_next = match &self.last {
            None => applied.previous.is_none(),
            Some(last) => applied == last || applied.previous == Some(last.token),
        };
        if let Some(last) = self.last.as_ref().filter(|_| !is_next) {
            return Err(format!("commit {} follows {} in the store", applied.token, last.token));
        }
        self.last = Some(applied.clone());
        Ok(())
    }

    fn check_files(&self, world: &World, newest: &CommitRecord) -> Outcome {
        let ids = ["first", "second"];
        let mut model = Model::at(world.seed, &self.base);
        let expected = model.advance(&nexts(newest, &world.scenario.ends));
        for (sink, (id, expected)) in ids.iter().zip(expected).enumerate() {
            let Some(file) = world.files.get(sink).filter(|_| world.topic(sink).is_none()) else { continue };
            let length = newest.file_lengths.get(*id).copied().unwrap_or(0);
            let bytes = file.bytes(length);
            if bytes.len() as u64 != length {
                return Err(format!("a file ends before the {length} bytes that were committed"));
            }
            let mut found = ByKey::new();
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let (key, value) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
                found.entry(key.to_vec()).or_default().push(value.get(1..).unwrap_or_default().to_vec());
            }
            if found != expected {
                return Err(format!("a file holds {found:?} and not {expected:?}"));
            }
        }
        Ok(())
    }

    /// Everything that a run leaves behind. Tells the number of commits.
    pub(crate) fn check_end(&self, world: &World) -> Result<u64, String> {
        match &world.cluster {
            Some(cluster) => self.check_log(world, cluster),
            None => Ok(self.last.as_ref().map_or(0, |last| last.token.epoch.0)),
        }
    }

    /// A transaction that was ended by a request of another one: it was noticed before anything else was committed.
    pub(crate) fn check_torn(&self, world: &World) -> Outcome {
        let Some(cluster) = &world.cluster else { return Ok(()) };
        self.check_log(world, cluster).map(drop)
    }

    fn check_log(&self, world: &World, cluster: &FakeCluster) -> Result<u64, String> {
        let mut history = History::new(Model::at(world.seed, &self.base));
        for (transaction, seen) in &transactions(cluster) {
            if let Some(torn) = history.torn {
                if seen.commit.is_some() {
                    return Err(format!(
                        "transaction {torn} is visible in part, and {transaction} was committed over it"
                    ));
                }
                continue;
            }
            let followed = history.follow(seen, world);
            followed.map_err(|violation| format!("transaction {transaction}: {violation}"))?;
            if !seen.is_whole() {
                if !world.is_torn() {
                    return Err(format!("transaction {transaction} is visible without its commit record"));
                }
                history.torn = Some(*transaction);
            }
        }
        for (token, positions) in &self.applied {
            let known = history.commits.get(token);
            if history.lineage() == Some(token.lineage) && known != Some(positions) {
                return Err(format!("a store had applied {token}, which was never committed"));
            }
        }
        Ok(history.commits.len() as u64)
    }
}

/// A transaction as a reader of committed records sees it.
#[derive(Default)]
struct Seen {
    open: Option<OpenRecord>,
    commit: Option<(u64, CommitRecord)>,
    outputs: [ByKey; 2],
    totals: [OutputTotal; 2],
    changes: ChangeSet,
    /// Where its last record lies.
    last_at: u64,
    has_data: bool,
}

impl Seen {
    fn is_whole(&self) -> bool {
        match &self.commit {
            Some((at, _)) => *at == self.last_at,
            None => self.open.is_some() && !self.has_data,
        }
    }
}

fn transactions(cluster: &FakeCluster) -> BTreeMap<usize, Seen> {
    let mut all: BTreeMap<usize, Seen> = BTreeMap::new();
    for entry in cluster.committed(Topic::Commits) {
        let seen = seen_of(&mut all, &entry);
        let value = entry.value.as_deref().unwrap_or_default();
        if entry.key.as_deref() == Some(CommitsKey::Open.as_bytes()) {
            seen.open = decode_open(value).ok();
        } else if entry.key.as_deref() == Some(CommitsKey::Commit.as_bytes()) {
            seen.commit = decode_commit(value).ok().map(|commit| (entry.at, commit));
        } else {
            seen.has_data = true;
        }
    }
    for entry in cluster.committed(Topic::Changelog) {
        let seen = seen_of(&mut all, &entry);
        seen.has_data = true;
        seen.changes.keys.push(entry.key.as_deref());
        seen.changes.values.push(entry.value.as_deref());
    }
    for sink in 0..2 {
        for entry in cluster.committed(Topic::Sink(sink)) {
            let seen = seen_of(&mut all, &entry);
            seen.has_data = true;
            let mut record = RecordBatch::default();
            record.push(entry.key.as_deref(), entry.value.as_deref(), 0, Origin::default());
            let (Some(outputs), Some(total)) = (seen.outputs.get_mut(sink), seen.totals.get_mut(sink)) else {
                continue;
            };
            sum_outputs(total, &record);
            outputs.entry(entry.key.unwrap_or_default()).or_default().push(entry.value.unwrap_or_default());
        }
    }
    all
}

fn seen_of<'a>(all: &'a mut BTreeMap<usize, Seen>, entry: &Entry) -> &'a mut Seen {
    let seen = all.entry(entry.transaction).or_default();
    seen.last_at = seen.last_at.max(entry.at);
    seen
}

/// The commits so far.
struct History {
    model: Model,
    open: Option<OpenRecord>,
    last: Option<CommitRecord>,
    commits: HashMap<Token, Vec<i64>>,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    torn: Option<usize>,
}

impl History {
    fn new(model: Model) -> Self {
        Self { model, open: None, last: None, commits: HashMap::new(), changelog: BTreeMap::new(), torn: None }
    }

    fn lineage(&self) -> Option<millstream_model::ids::Lineage> {
        self.open.as_ref().map(|open| open.lineage)
    }

    fn follow(&mut self, seen: &Seen, world: &World) -> Outcome {
        if let Some(open) = &seen.open {
            self.take_open(open)?;
        }
        match &seen.commit {
            Some((_, record)) => self.take_commit(record, seen, world),
            None => Ok(()),
        }
    }

    fn take_open(&mut self, open: &OpenRecord) -> Outcome {
        if let Some(before) = &self.open {
            if open.lineage != before.lineage || open.incarnation <= before.incarnation {
                return Err(format!("run {} was opened after run {}", open.incarnation, before.incarnation));
            }
            if before.catalog.operators.iter().any(|(id, entry)| open.catalog.operators.get(id) != Some(entry)) {
                return Err("an operator's numbers were changed".to_owned());
            }
        }
        self.open = Some(open.clone());
        Ok(())
    }

    fn take_commit(&mut self, record: &CommitRecord, seen: &Seen, world: &World) -> Outcome {
        if self.open.as_ref().map(|open| (open.lineage, open.incarnation))
            != Some((record.token.lineage, record.token.incarnation))
        {
            return Err(format!("{} was committed by a run that had lost the pipeline", record.token));
        }
        let before = self.last.as_ref();
        if record.previous != before.map(|before| before.token) {
            return Err(format!("{} does not follow the commit before", record.token));
        }
        if record.token.epoch.0 != before.map_or(0, |before| before.token.epoch.0) + 1 {
            return Err(format!("{} is not the next epoch", record.token));
        }
        for position in &record.positions {
            let then = self.model.positions.get(position.partition as usize).copied().unwrap_or(0);
            if before.is_some() && position.from != then || position.next < then {
                return Err(format!("positions do not adjoin in {}: {position:?} after {then}", record.token));
            }
        }
        let nexts = nexts(record, &world.scenario.ends);
        let mut expected = self.model.advance(&nexts);
        for (sink, expected) in expected.iter_mut().enumerate() {
            if world.topic(sink).is_none() {
                expected.clear();
            }
        }
        if seen.outputs != expected {
            return Err(format!("outputs of {} are {:?} and not {expected:?}", record.token, seen.outputs));
        }
        if record.changes != seen.changes.len() as u64 || record.changes_checksum != sum_changes(&seen.changes) {
            return Err(format!("{} does not say what was changed", record.token));
        }
        for (key, value) in seen.changes.keys.iter().zip(seen.changes.values.iter()) {
            let key = key.unwrap_or_default().to_vec();
            match value {
                Some(value) => drop(self.changelog.insert(key, value.to_vec())),
                None => drop(self.changelog.remove(&key)),
            }
        }
        if self.changelog != self.model.cells() {
            return Err(format!("the changelog up to {} is not the state", record.token));
        }
        self.commits.insert(record.token, nexts);
        self.last = Some(record.clone());
        Ok(())
    }
}
