//! The pipeline as it should be, without processes, epochs and failures: what the records up to some positions make of state and outputs.

use crate::versions::{Version, bytes_of, sum_in};
use millstream_model::cell::{CellSpace, read_value, write_key, write_value};
use millstream_model::commit::CommitRecord;
use millstream_model::key_group::key_group;
use std::collections::BTreeMap;

/// Where the operator's state lies: the first entries of a catalog.
pub(crate) const SPACE: CellSpace = CellSpace { operator: 0, state: 0 };

/// Values of each key in the order they came.
pub(crate) type ByKey = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// A record: its key, what it adds, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) key: Vec<u8>,
    pub(crate) amount: u64,
    pub(crate) act: Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Adds to the sum of its key, which is put out.
    Add,
    /// The same, and a word to the second sink.
    AddAndTell,
    /// Removes the sum.
    Remove,
    /// Nothing at all: only positions move.
    Pass,
}

/// The record at an offset. Keys belong to one partition each, so that the order between partitions does not show.
pub(crate) fn input(seed: u64, partition: usize, offset: i64) -> Input {
    let mut mixed = seed ^ (partition as u64) << 40 ^ (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 29;
    let act = match (mixed >> 8) % 10 {
        0 => Act::Remove,
        1 | 2 => Act::AddAndTell,
        3 | 4 => Act::Pass,
        _ => Act::Add,
    };
    Input { key: vec![b'a' + partition as u8, b'a' + (mixed % 3) as u8], amount: mixed >> 16 & 15, act }
}

/// What the operator does to a sum: the new one, and what goes to the sinks.
pub(crate) fn step(input: &Input, sum: Option<u64>) -> (Option<u64>, Option<String>, Option<String>) {
    let added = sum.unwrap_or(0) + input.amount;
    match input.act {
        Act::Add => (Some(added), Some(added.to_string()), None),
        Act::AddAndTell => (Some(added), Some(added.to_string()), Some(format!("told {added}"))),
        Act::Remove => (None, Some("removed".to_owned()), None),
        Act::Pass => (sum, None, None),
    }
}

/// The pipeline at some positions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    seed: u64,
    pub(crate) positions: Vec<i64>,
    /// With the version of the state that wrote each.
    sums: BTreeMap<Vec<u8>, (u64, u32)>,
}

impl Model {
    /// At the beginning.
    pub(crate) fn new(seed: u64, partitions: usize) -> Self {
        Self { seed, positions: vec![0; partitions], sums: BTreeMap::new() }
    }

    /// At these positions.
    pub(crate) fn at(seed: u64, positions: &[i64]) -> Self {
        let mut model = Self::new(seed, positions.len());
        model.advance(positions, Version::FIRST);
        model
    }

    /// Goes on to these positions with a version of the operator, and tells what goes to each sink on the way.
    pub(crate) fn advance(&mut self, to: &[i64], version: Version) -> [ByKey; 2] {
        let mut outputs = [ByKey::new(), ByKey::new()];
        for (partition, (next, to)) in self.positions.iter_mut().zip(to).enumerate() {
            while *next < *to {
                let input = input(self.seed, partition, *next);
                *next += 1;
                let before = self.sums.get(&input.key).copied();
                if before.is_some_and(|(sum, written_by)| version.cannot_migrate(sum, written_by)) {
                    continue;
                }
                let Some(effect) = version.step(&input, before.map(|(sum, _)| sum)) else { continue };
                match effect.sum {
                    Some(sum) => drop(self.sums.insert(input.key.clone(), (sum, version.state))),
                    None => drop(self.sums.remove(&input.key)),
                }
                for (to, values) in outputs.iter_mut().zip(effect.outputs) {
                    if !values.is_empty() {
                        to.entry(input.key.clone()).or_default().extend(values.into_iter().map(String::into_bytes));
                    }
                }
            }
        }
        outputs
    }

    /// The cells of its state, each of the version that wrote it.
    pub(crate) fn cells(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.sums.iter().map(|(key, (sum, version))| (cell_key(key), cell_value(*sum, *version))).collect()
    }

    /// Whether these cells are its state at a commit. When a value was migrated does not matter; what matters is that it still is what it was, and that the commit knows of its version.
    pub(crate) fn check_cells(&self, cells: &BTreeMap<Vec<u8>, Vec<u8>>, commit: &CommitRecord) -> Result<(), String> {
        let mut left = self.sums.iter().map(|(key, sum)| (cell_key(key), *sum)).collect::<BTreeMap<_, _>>();
        for (key, value) in cells {
            let found = read_value(value).and_then(|(version, bytes)| Some((sum_in(version, bytes)?, version)));
            let (Some((sum, version)), Some((expected, _))) = (found, left.remove(key)) else {
                return Err(format!("the cell {key:?} holds {value:?}"));
            };
            if sum != expected {
                return Err(format!("the cell {key:?} holds {sum} and not {expected}"));
            }
            if !is_known(version, commit) {
                return Err(format!(
                    "the cell {key:?} is of version {version}, of which {} knows nothing",
                    commit.token
                ));
            }
        }
        if left.is_empty() { Ok(()) } else { Err(format!("the cells {:?} are missing", left.keys())) }
    }
}

/// Whether a commit says that values of this version of the sums may lie about. Those of the simulation of the protocol name no operators: there is one version.
fn is_known(version: u32, commit: &CommitRecord) -> bool {
    if commit.operators.is_empty() {
        return version == Version::FIRST.state;
    }
    let written = commit.operators.first().and_then(|operator| operator.state_versions.get("sum"));
    let older = commit.older_versions.get("sum").and_then(|states| states.get("sum")).into_iter().flatten();
    written.into_iter().chain(older).any(|known| *known == version)
}

fn cell_key(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_key(&mut bytes, SPACE, key_group(key), key, &[]);
    bytes
}

fn cell_value(sum: u64, version: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_value(&mut bytes, version, &bytes_of(version, sum));
    bytes
}
