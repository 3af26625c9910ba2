//! The commits of a log in their order, each held against the model.

use crate::check::{Outcome, SINKS, nexts};
use crate::model::Model;
use crate::seen::Seen;
use crate::versions::Version;
use crate::world::World;
use millstream_engine::commit::sum_changes;
use millstream_engine::ports::ChangeSet;
use millstream_model::commit::{CatalogEntry, CommitRecord, OpenRecord, OutputTotal};
use millstream_model::ids::{Generation, Lineage, Token};
use std::collections::{BTreeMap, HashMap};

/// The commits so far.
pub(crate) struct History {
    model: Model,
    open: Option<OpenRecord>,
    last: Option<CommitRecord>,
    pub(crate) commits: HashMap<Token, Vec<i64>>,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the topics hold, by sink.
    totals: [OutputTotal; 2],
    pub(crate) torn: Option<usize>,
}

impl History {
    pub(crate) fn new(model: Model) -> Self {
        Self {
            model,
            open: None,
            last: None,
            commits: HashMap::new(),
            changelog: BTreeMap::new(),
            totals: Default::default(),
            torn: None,
        }
    }

    pub(crate) fn lineage(&self) -> Option<Lineage> {
        self.open.as_ref().map(|open| open.lineage)
    }

    pub(crate) fn follow(&mut self, seen: &Seen, world: &World) -> Outcome {
        if let Some(open) = &seen.open {
            self.take_open(open)?;
        }
        if self.is_part_of_the_beginning(seen, world) {
            self.take_changes(seen);
            world.note("parts of a seed");
        }
        match &seen.commit {
            Some((_, record)) => self.take_commit(record, seen, world),
            None => Ok(()),
        }
    }

    /// A part of the checkpoint, before the commit that counts it.
    pub(crate) fn is_part_of_the_beginning(&self, seen: &Seen, world: &World) -> bool {
        self.last.is_none() && world.scenario.is_seeded && seen.is_part_of_a_seed()
    }

    /// The version that a commit says it was made with. Its generation is the one before, or the next one where the module is another.
    fn version_of(&self, record: &CommitRecord) -> Result<Version, String> {
        let of =
            |record: &CommitRecord| record.operators.first().map(|operator| (operator.generation, operator.digest));
        let Some((generation, digest)) = of(record) else { return Ok(Version::FIRST) };
        let before = self.last.as_ref().and_then(of).unwrap_or((Generation(1), Version::FIRST.digest()));
        let steps = generation.0.wrapping_sub(before.0.0);
        if steps > 1 || (steps == 0) != (digest == before.1) {
            return Err(format!("generation {generation} of {digest} comes after {} of {}", before.0, before.1));
        }
        Version::of(&digest).ok_or_else(|| format!("{digest} is no version"))
    }

    fn take_open(&mut self, open: &OpenRecord) -> Outcome {
        if let Some(before) = &self.open {
            if open.lineage != before.lineage || open.incarnation <= before.incarnation {
                return Err(format!("run {} was opened after run {}", open.incarnation, before.incarnation));
            }
            let stays = |(id, entry): (&String, &CatalogEntry)| {
                open.catalog.operators.get(id).is_some_and(|now| {
                    now.number == entry.number
                        && entry.states.iter().all(|(state, number)| now.states.get(state) == Some(number))
                })
            };
            if !before.catalog.operators.iter().all(stays) {
                return Err("an operator's numbers were changed".to_owned());
            }
        }
        self.open = Some(open.clone());
        Ok(())
    }

    fn take_commit(&mut self, record: &CommitRecord, seen: &Seen, world: &World) -> Outcome {
        let owner = self.open.as_ref().map(|open| (open.lineage, open.incarnation));
        if owner != Some((record.token.lineage, record.token.incarnation)) {
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
        for position in &record.positions {
            let then = before.and_then(|before| {
                before.positions.iter().find(|then| then.partition == position.partition)?.timestamp_ms_max
            });
            if position.timestamp_ms_max < then {
                return Err(format!("time goes back in {}: {position:?} after {then:?}", record.token));
            }
        }
        let nexts = nexts(record, &world.scenario.ends);
        let mut expected = self.model.advance(&nexts, self.version_of(record)?);
        for (sink, expected) in expected.iter_mut().enumerate() {
            if world.topic(sink).is_none() {
                expected.clear();
            }
        }
        if seen.outputs != expected {
            return Err(format!("outputs of {} are {:?} and not {expected:?}", record.token, seen.outputs));
        }
        for (sink, id) in SINKS.iter().enumerate() {
            let (Some(total), Some(seen)) = (self.totals.get_mut(sink), seen.totals.get(sink)) else { continue };
            total.records += seen.records;
            total.checksum = total.checksum.wrapping_add(seen.checksum);
            let said = record.output_totals.get(*id).copied().unwrap_or_default();
            if world.topic(sink).is_some() && said != *total {
                return Err(format!("{} says {said:?} of sink `{id}`, which holds {total:?}", record.token));
            }
        }
        // The first commit of a history that begins with a checkpoint counts all of its cells.
        let seeded = before.is_none() && world.scenario.is_seeded;
        let (changes, checksum) = if seeded { sum_of(&self.changelog) } else { Default::default() };
        let changes = changes + seen.changes.len() as u64;
        if record.changes != changes || record.changes_checksum != checksum.wrapping_add(sum_changes(&seen.changes)) {
            return Err(format!("{} does not say what was changed", record.token));
        }
        self.take_changes(seen);
        let checked = self.model.check_cells(&self.changelog, record);
        checked.map_err(|why| format!("the changelog up to {} is not the state: {why}", record.token))?;
        self.commits.insert(record.token, nexts);
        self.last = Some(record.clone());
        Ok(())
    }

    fn take_changes(&mut self, seen: &Seen) {
        for (key, value) in seen.changes.keys.iter().zip(seen.changes.values.iter()) {
            let key = key.unwrap_or_default().to_vec();
            match value {
                Some(value) => drop(self.changelog.insert(key, value.to_vec())),
                None => drop(self.changelog.remove(&key)),
            }
        }
    }
}

fn sum_of(cells: &BTreeMap<Vec<u8>, Vec<u8>>) -> (u64, u64) {
    let mut changes = ChangeSet::default();
    for (key, value) in cells {
        changes.keys.push(Some(key));
        changes.values.push(Some(value));
    }
    (changes.len() as u64, sum_changes(&changes))
}
