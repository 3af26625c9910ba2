//! What the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use millstream_engine::commit::codec::{encode_commit, encode_open};
use millstream_engine::ports::{ChangeSet, Meta, StateBackend};
use millstream_model::column::BytesColumn;
use millstream_model::commit::{Catalog, CommitRecord, OpenRecord};
use millstream_model::ids::{EpochNumber, Incarnation, Lineage, Token};
use millstream_state::RocksStore;
use std::collections::BTreeMap;
use std::path::Path;

/// Small enough that tests write files, not only memory.
pub const MEMORY_BYTES: u64 = 8 << 20;

pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, MEMORY_BYTES).unwrap()
}

/// Numbers that look like chance and are the same for the same seed.
pub struct Chance(u64);

impl Chance {
    /// A fresh seed, printed so that a failure can be run again with `SEED`.
    pub fn printed() -> Self {
        let fresh =
            || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into();
        let seed = std::env::var("SEED").ok().map_or_else(fresh, |seed| seed.parse().unwrap());
        eprintln!("SEED={seed}");
        Self(seed)
    }

    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

pub fn changes<'a>(cells: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> ChangeSet {
    let mut set = ChangeSet::default();
    for (key, value) in cells {
        set.keys.push(Some(key));
        set.values.push(value);
    }
    set
}

pub fn read(store: &dyn StateBackend, keys: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    let keys: BytesColumn = keys.iter().map(|key| Some(*key)).collect();
    let mut values = BytesColumn::default();
    store.read(&keys, &mut values).unwrap();
    values.iter().map(|value| value.map(<[u8]>::to_vec)).collect()
}

pub fn all(store: &dyn StateBackend) -> Model {
    let mut found = Model::new();
    store
        .scan(&[], None, &mut |key, value| {
            found.insert(key.to_vec(), value.to_vec());
            true
        })
        .unwrap();
    found
}

pub fn commit_record(epoch: u64) -> CommitRecord {
    let token = Token { lineage: Lineage([7; 16]), incarnation: Incarnation(1), epoch: EpochNumber(epoch) };
    CommitRecord { token, committed_ms: epoch as i64, ..CommitRecord::default() }
}

pub fn open_record() -> OpenRecord {
    OpenRecord {
        lineage: Lineage([7; 16]),
        incarnation: Incarnation(1),
        host: "test".to_owned(),
        pid: 1,
        started_ms: 0,
        cluster_id: "cluster".to_owned(),
        topics: BTreeMap::new(),
        changelog: 0,
        catalog: Catalog::default(),
        digests: BTreeMap::new(),
        key_groups: "murmur2/128".to_owned(),
        sink_starts: BTreeMap::new(),
        named_since: BTreeMap::new(),
    }
}

/// The cells of epoch `epoch`: `count` of them, new or over older ones; each value tells its epoch.
pub fn epoch_changes(epoch: u64, count: u64) -> ChangeSet {
    let mut set = ChangeSet::default();
    for at in 0..count {
        let key = format!("key-{:06}", (epoch * 17 + at * 31) % 5_000);
        if set.keys.iter().any(|known| known == Some(key.as_bytes())) {
            continue;
        }
        set.keys.push(Some(key.as_bytes()));
        set.values.push(Some(format!("{epoch:0>40}").as_bytes()));
    }
    set
}

/// Commits an epoch as the committer does: cells and `Applied` in one write.
pub fn commit(store: &RocksStore, model: &mut Model, epoch: u64, count: u64) -> CommitRecord {
    let set = epoch_changes(epoch, count);
    let record = commit_record(epoch);
    let (applied, opened) = (encode_commit(&record), encode_open(&open_record()));
    store
        .write(std::slice::from_ref(&set), &[(Meta::Applied, Some(&applied)), (Meta::Open, Some(&opened))], false)
        .unwrap();
    for (key, value) in set.keys.iter().zip(set.values.iter()) {
        model.insert(key.unwrap().to_vec(), value.unwrap().to_vec());
    }
    record
}

pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            // A file may be gone by now if somebody is writing.
            let _ = std::fs::copy(entry.path(), target);
        }
    }
}
