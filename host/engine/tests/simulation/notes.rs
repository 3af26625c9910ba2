use std::collections::BTreeMap;

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes(BTreeMap<&'static str, u64>);

impl Notes {
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.count(name, *count);
        }
    }

    pub(crate) fn count(&mut self, name: &'static str, times: u64) {
        *self.0.entry(name).or_default() += times;
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
