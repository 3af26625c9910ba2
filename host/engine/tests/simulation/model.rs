//! The pipeline as it should be, without processes, epochs and failures: what the records up to some positions make of state and outputs.

use crate::versions::Version;
use millstream_model::cell::{CellSpace, write_key, write_value};
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
                let before = self.sums.get(&input.key).map(|(sum, _)| *sum);
                let Some(effect) = version.step(&input, before) else { continue };
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

    /// The cells of its state.
    pub(crate) fn cells(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.sums.iter().map(|(key, (sum, version))| (cell_key(key), cell_value(*sum, *version))).collect()
    }
}

fn cell_key(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_key(&mut bytes, SPACE, key_group(key), key, &[]);
    bytes
}

fn cell_value(sum: u64, version: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_value(&mut bytes, version, &sum.to_le_bytes());
    bytes
}
