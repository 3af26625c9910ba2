//! How the steps of a test are cut into batches.

use super::Step;
use std::fmt;

/// Random batches have at most this many records: short ones cut in more places.
const RANDOM_ROWS_MAX: u64 = 7;

/// One way to run the steps of a test.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cuts: Vec<Cut>,
    kind: Kind,
}

/// What happens before a step.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cut {
    /// The batch ends.
    pub(crate) here: bool,
    /// If it ends: a new instance takes over.
    pub(crate) restart: bool,
    /// If it ends: the call had been made before, and dropped.
    pub(crate) repeat: bool,
    /// If it ends: old state is migrated in the background.
    pub(crate) sweep: bool,
    /// Timers that fire in one call, at most; 0 for no end.
    pub(crate) timers_max: usize,
}

#[derive(Debug)]
enum Kind {
    Whole,
    OneByOne,
    Random(u64),
}

impl Plan {
    /// Batches as long as can be.
    pub(crate) fn whole(steps: &[Step]) -> Self {
        Self { cuts: vec![Cut::default(); steps.len()], kind: Kind::Whole }
    }

    /// One record per batch.
    pub(crate) fn one_by_one(steps: &[Step]) -> Self {
        let cut = Cut { here: true, timers_max: 1, ..Cut::default() };
        Self { cuts: vec![cut; steps.len()], kind: Kind::OneByOne }
    }

    /// Cuts at random places, some with a restart, some with a call that is made twice.
    pub(crate) fn random(steps: &[Step], seed: u64) -> Self {
        let mut random = Random(seed);
        let rows_max = 1 + random.below(RANDOM_ROWS_MAX);
        let cuts = steps.iter().map(|_| Cut {
            here: random.below(rows_max) == 0,
            restart: random.below(4) == 0,
            repeat: random.below(4) == 0,
            sweep: random.below(8) == 0,
            timers_max: random.below(rows_max + 1) as usize,
        });
        Self { cuts: cuts.collect(), kind: Kind::Random(seed) }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Whole => to.write_str("with all records in as few batches as can be"),
            Kind::OneByOne => to.write_str("with one record per batch"),
            Kind::Random(seed) => {
                write!(to, "under random cuts, restarts and repeated calls (seed {seed})")
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
