//! The invariants of the protocol, checked from outside: by what a reader of committed records sees, and by what lies on disks.

use crate::history::History;
use crate::model::{ByKey, Model};
use crate::mutants::Mutant;
use crate::ports::CHECKPOINT_LINEAGE;
use crate::process::SOURCE;
use crate::seen::{entry_of, transactions};
use crate::versions::Version;
use crate::world::World;
use millstream_engine::commit::codec::decode_commit;
use millstream_engine::commit::verify;
use millstream_engine::fakes::{FakeCluster, Topic};
use millstream_engine::ports::Meta;
use millstream_model::commit::{CommitRecord, PartitionPosition};
use millstream_model::ids::Token;
use std::collections::HashSet;

/// Ids of the sinks.
pub(crate) const SINKS: [&str; 2] = ["first", "second"];

pub(crate) type Outcome = Result<(), String>;

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
    /// Whether many commits are made between two looks.
    pub(crate) is_whole_run: bool,
}

impl Checker {
    pub(crate) fn new(world: &World) -> Self {
        let [disk, _] = &world.disks;
        let seed = disk.fact(Meta::Applied).and_then(|bytes| decode_commit(&bytes).ok());
        let ends = &world.scenario.ends;
        let base = seed.map_or_else(|| vec![0; ends.len()], |seed| nexts(&seed, ends));
        Self { applied: HashSet::new(), last: None, base, is_whole_run: false }
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
            let checked = self.model_at(world, &applied).check_cells(&disk.cells(), &applied);
            checked
                .map_err(|why| format!("the store at {} is not the fold up to {positions:?}: {why}", applied.token))?;
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

    /// The pipeline at a commit.
    fn model_at(&self, world: &World, commit: &CommitRecord) -> Model {
        if world.has_swaps {
            return self.fold(world, commit).0;
        }
        Model::at(world.seed, &nexts(commit, &world.scenario.ends))
    }

    /// The pipeline at a commit, each commit on the way with the version it names, and everything that goes to the sinks.
    fn fold(&self, world: &World, to: &CommitRecord) -> (Model, [ByKey; 2]) {
        let mut model = Model::at(world.seed, &self.base);
        let mut all = [ByKey::new(), ByKey::new()];
        let mut advance = |commit: &CommitRecord| {
            let digest = commit.operators.first().map(|operator| operator.digest).unwrap_or_default();
            let version = Version::of(&digest).unwrap_or(Version::FIRST);
            for (all, new) in all.iter_mut().zip(model.advance(&nexts(commit, &world.scenario.ends), version)) {
                for (key, values) in new {
                    all.entry(key).or_default().extend(values);
                }
            }
        };
        if world.has_swaps {
            let commits = world.commits();
            let before = commits
                .iter()
                .filter(|commit| commit.token.lineage == to.token.lineage && commit.token.epoch < to.token.epoch);
            before.for_each(&mut advance);
        }
        if to.token.lineage != CHECKPOINT_LINEAGE {
            advance(to);
        }
        (model, all)
    }

    /// Without a log: commits follow one another in the store. Between two looks a whole run makes many.
    fn follow(&mut self, applied: &CommitRecord) -> Outcome {
        let is_next = match &self.last {
            None => self.is_whole_run || applied.previous.is_none(),
            Some(last) if applied.token.epoch.0 > last.token.epoch.0 + 1 => self.is_whole_run,
            Some(last) => applied == last || applied.previous == Some(last.token),
        };
        if !is_next {
            let last = self.last.as_ref().map(|last| last.token);
            return Err(format!("commit {} follows {last:?} in the store", applied.token));
        }
        self.last = Some(applied.clone());
        Ok(())
    }

    fn check_files(&self, world: &World, newest: &CommitRecord) -> Outcome {
        let expected = self.fold(world, newest).1;
        for (sink, (id, expected)) in SINKS.iter().zip(expected).enumerate() {
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
            if !seen.is_whole() && !history.is_part_of_the_beginning(seen, world) {
                if !world.is_torn() {
                    return Err(format!("transaction {transaction} is visible without its commit record"));
                }
                history.torn = Some(*transaction);
            }
        }
        let walk = verify::walk(cluster.committed(Topic::Commits).iter().filter_map(entry_of));
        // That the bracket is missing is seen at once; what that does is the point.
        let has_bracket = world.mutant != Some(Mutant::NoBracket);
        if has_bracket && walk.findings.is_empty() == world.is_torn() {
            return Err(format!("`verify` finds {:?}", walk.findings));
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
