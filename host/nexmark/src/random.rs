/// SplitMix64 (Steele, Lea, Flood 2014): integers only, so that every machine draws the same numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of one event: another index or seed gives unrelated ones.
    pub(crate) fn of_event(seed: u64, index: u64) -> Self {
        Self(mix(seed) ^ mix(index ^ 0x6E65_786D_6172_6B00))
    }

    /// Goes on from a number drawn before.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Even below `bound`, 0 if that is 0. Multiplying takes the place of a remainder; its bias is below 2⁻³² for the bounds in use.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// One of some words.
    pub(crate) fn pick(&mut self, words: &'static [&'static str]) -> &'static str {
        words.get(self.below(words.len() as u64) as usize).copied().unwrap_or_default()
    }

    /// True but once in `ratio`: the share of events that go to what is hot.
    pub(crate) fn is_hot(&mut self, ratio: u64) -> bool {
        self.below(ratio) > 0
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
