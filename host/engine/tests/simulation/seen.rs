//! What a reader of committed records sees, transaction by transaction.

use crate::model::ByKey;
use millstream_engine::commit::codec::{decode_commit, decode_entry, decode_open};
use millstream_engine::commit::sum_outputs;
use millstream_engine::fakes::{Entry, FakeCluster, Topic};
use millstream_engine::ports::{ChangeSet, CommitsKey};
use millstream_model::commit::{CommitRecord, CommitsEntry, OpenRecord, OutputTotal};
use millstream_model::record::{Origin, RecordBatch};
use std::collections::BTreeMap;

/// A record of the commits topic.
pub(crate) fn entry_of(entry: &Entry) -> Option<CommitsEntry> {
    let key = [CommitsKey::Open, CommitsKey::Begin, CommitsKey::Commit];
    let key = key.into_iter().find(|key| Some(key.as_bytes()) == entry.key.as_deref())?;
    decode_entry(key, entry.value.as_deref()?).ok()
}

/// A transaction as a reader of committed records sees it.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) open: Option<OpenRecord>,
    pub(crate) commit: Option<(u64, CommitRecord)>,
    pub(crate) outputs: [ByKey; 2],
    pub(crate) totals: [OutputTotal; 2],
    pub(crate) changes: ChangeSet,
    /// Where its last record lies.
    last_at: u64,
    has_data: bool,
    /// Whether it holds changes of state and nothing else.
    has_more_than_changes: bool,
}

impl Seen {
    /// A part of the checkpoint that a history begins with.
    pub(crate) fn is_part_of_a_seed(&self) -> bool {
        self.has_data && !self.has_more_than_changes
    }

    pub(crate) fn is_whole(&self) -> bool {
        match &self.commit {
            Some((at, _)) => *at == self.last_at,
            None => self.open.is_some() && !self.has_data,
        }
    }
}

/// All of them, by number.
pub(crate) fn transactions(cluster: &FakeCluster) -> BTreeMap<usize, Seen> {
    let mut all: BTreeMap<usize, Seen> = BTreeMap::new();
    for entry in cluster.committed(Topic::Commits) {
        let seen = seen_of(&mut all, &entry);
        seen.has_more_than_changes = true;
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
            seen.has_more_than_changes = true;
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
