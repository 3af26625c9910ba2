//! What a pipeline has committed, and when, as its commits topic has it.

use anyhow::{Context as _, Result};
use millstream_engine::commit::codec::decode_entry;
use millstream_engine::ports::CommitsKey;
use millstream_model::commit::{CommitRecord, CommitsEntry};

use crate::{Isolation, OutsideClient};

/// The commits of a pipeline, in their order.
#[derive(Debug, Clone, Default)]
pub struct Commits {
    /// Each commit with the time, in milliseconds since 1970, at which it was produced.
    pub commits: Vec<(i64, CommitRecord)>,
    /// How many transactions have begun.
    pub begun: usize,
}

impl Commits {
    /// Reads the commits topic of a pipeline. With [`Isolation::Uncommitted`] the beginnings of epochs that were lost are among those begun.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn read(client: &OutsideClient, id: &str, isolation: Isolation) -> Result<Self> {
        let mut records = client.consume_all(&format!("{id}.commits"), isolation)?;
        records.sort_by_key(|record| record.offset);
        let mut commits = Self::default();
        for record in records {
            let text = record.key_text();
            let key = [CommitsKey::Open, CommitsKey::Begin, CommitsKey::Commit];
            let key = key.into_iter().find(|key| key.as_bytes() == text.as_bytes());
            let key = key.with_context(|| format!("a record with the key {text:?}"))?;
            match decode_entry(key, &record.value.unwrap_or_default())? {
                CommitsEntry::Open(_) => {}
                CommitsEntry::Begin(_) => commits.begun += 1,
                CommitsEntry::Commit(commit) => commits.commits.push((record.timestamp_ms, commit)),
            }
        }
        Ok(commits)
    }

    /// Longest time from one commit to the next, in milliseconds.
    #[must_use]
    pub fn longest_gap_ms(&self) -> i64 {
        let times = self.commits.iter().map(|(time_ms, _)| *time_ms);
        times.clone().zip(times.skip(1)).map(|(one, next)| next - one).max().unwrap_or(0)
    }

    /// Position among the commits of the one that holds a record: the first that went beyond its offset.
    #[must_use]
    pub fn holding(&self, source: &str, partition: i32, offset: i64) -> Option<usize> {
        self.commits.iter().position(|(_, commit)| {
            let own = commit.positions.iter().find(|at| at.source == source && at.partition == partition);
            own.is_some_and(|at| at.next > offset)
        })
    }

    /// Records that a sink has from each commit alone.
    #[must_use]
    pub fn written(&self, sink: &str) -> Vec<u64> {
        let totals =
            self.commits.iter().map(|(_, commit)| commit.output_totals.get(sink).map_or(0, |total| total.records));
        let before = std::iter::once(0).chain(totals.clone());
        totals.zip(before).map(|(total, before)| total - before).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_model::commit::{OutputTotal, PartitionPosition};
    use std::collections::BTreeMap;

    fn commit(next: i64, records: u64) -> CommitRecord {
        let position = PartitionPosition {
            source: "in".to_owned(),
            partition: 1,
            from: 0,
            next,
            leader_epoch: -1,
            timestamp_ms_max: None,
            idle: false,
        };
        let output_totals = BTreeMap::from([("out".to_owned(), OutputTotal { records, checksum: 0 })]);
        CommitRecord { positions: vec![position], output_totals, ..CommitRecord::default() }
    }

    #[test]
    fn commits_tell_what_each_of_them_holds() {
        let commits = Commits { commits: vec![(10, commit(5, 7)), (20, commit(5, 7)), (70, commit(9, 8))], begun: 3 };
        assert_eq!(commits.longest_gap_ms(), 50);
        assert_eq!([4, 5, 8, 9].map(|offset| commits.holding("in", 1, offset)), [Some(0), Some(2), Some(2), None]);
        assert_eq!(commits.holding("in", 0, 1), None);
        assert_eq!(commits.written("out"), [7, 0, 1]);
    }
}
