//! What a killed process leaves.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use common::{Chance, Model, all, commit, open};
use millstream_engine::commit::codec::{decode_commit, encode_commit};
use millstream_engine::ports::{Meta, StateBackend};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Set for the process that is killed: where its store is.
const WRITE: &str = "MILLSTREAM_TEST_WRITE";

/// Cells of an epoch; few enough that many epochs are written, many enough that files are.
fn cells(epoch: u64) -> u64 {
    epoch % 700 + 1
}

/// Commits epoch after epoch, and says each once it is written, until it is killed.
fn write_for_ever(path: &Path) {
    let store = open(path);
    let applied = store.meta(Meta::Applied).unwrap().map_or(0, |bytes| decode_commit(&bytes).unwrap().token.epoch.0);
    let mut out = std::io::stdout();
    for epoch in applied + 1.. {
        commit(&store, &mut Model::new(), epoch, cells(epoch));
        writeln!(out, "\nepoch {epoch}").unwrap();
    }
}

#[test]
fn a_store_killed_at_any_moment_opens_with_every_commit_it_had_said() {
    if let Ok(path) = std::env::var(WRITE) {
        return write_for_ever(path.as_ref());
    }
    let mut chance = Chance::printed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let (mut model, mut folded) = (Model::new(), 0);
    for kill in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_store_killed_at_any_moment_opens_with_every_commit_it_had_said", "--exact", "--nocapture"])
            .env(WRITE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = folded;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Sometimes before anything was written at all.
        let wanted = folded + chance.below(120);
        while said < wanted {
            let line = lines.next().unwrap().unwrap();
            if let Some(epoch) = line.strip_prefix("epoch ") {
                said = epoch.parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&path);
        let applied =
            store.meta(Meta::Applied).unwrap().map_or(0, |bytes| decode_commit(&bytes).unwrap().token.epoch.0);
        assert!(applied >= said, "kill {kill}: {said} was written, the store is at {applied}");
        while folded < applied {
            folded += 1;
            let set = common::epoch_changes(folded, cells(folded));
            for (key, value) in set.keys.iter().zip(set.values.iter()) {
                model.insert(key.unwrap().to_vec(), value.unwrap().to_vec());
            }
        }
        assert!(all(&store) == model, "kill {kill} at {applied}");
        if applied > 0 {
            let record = encode_commit(&common::commit_record(applied));
            assert_eq!(store.meta(Meta::Applied).unwrap(), Some(record));
        }
    }
}
