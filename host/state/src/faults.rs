//! What RocksDB's errors mean to a person.

use millstream_engine::ports::StateError;
use rocksdb::ErrorKind;
use std::path::Path;

/// What to do about a damaged store.
pub(crate) const DAMAGED: &str = "the store is damaged; nothing was changed. Delete this directory and start again: the state is restored from the \
    changelog, or with `run --from-checkpoint` where there is none";

/// An error of RocksDB, with what to do about it.
pub(crate) fn failed(path: &Path, doing: &str, error: &rocksdb::Error) -> StateError {
    reason(path, format!("{doing}: {error}; {}", advice(error)))
}

/// A store that is not what it should be.
pub(crate) fn damaged(path: &Path, what: &str) -> StateError {
    reason(path, format!("{what}; {DAMAGED}"))
}

fn reason(path: &Path, reason: String) -> StateError {
    StateError { path: path.display().to_string(), reason }
}

fn advice(error: &rocksdb::Error) -> &'static str {
    let text = error.as_ref();
    match error.kind() {
        ErrorKind::IOError if text.contains("No space left") => {
            "free some space and start again: nothing that was committed is lost"
        }
        ErrorKind::IOError if text.contains("lock") => "another process has the store open: end it first",
        ErrorKind::IOError if text.contains("Read-only file system") => {
            "the file system is mounted read-only: set `state.dir` to one that can be written"
        }
        ErrorKind::IOError if text.contains("Permission denied") => {
            "give this user the right to read and write there, or set `state.dir` to another directory"
        }
        ErrorKind::IOError if text.contains("Too many open files") => {
            "raise the limit of open files (`ulimit -n`) and start again"
        }
        ErrorKind::IOError if text.contains("No such file") => DAMAGED,
        ErrorKind::IOError => "check the disk and start again: nothing that was committed is lost",
        // RocksDB names much of what only damage can cause by other kinds: a manifest cut short, a table with a foreign footer.
        ErrorKind::Corruption
        | ErrorKind::InvalidArgument
        | ErrorKind::NotSupported
        | ErrorKind::NotFound
        | ErrorKind::Incomplete => DAMAGED,
        _ => "start again: nothing that was committed is lost",
    }
}
