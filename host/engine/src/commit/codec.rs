//! Bytes of commit records: a version byte, then postcard.
//!
//! Version 2 ends a `commit` with the catalog and the older versions of states, and an `open` with the generations since which modules are named; `begin` is as in
//! version 1.

use crate::ports::CommitsKey;
use millstream_model::commit::{BeginRecord, CommitRecord, CommitsEntry, OpenRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version written; every older one must stay readable.
const VERSION: u8 = 2;

/// What a record of version 1 lacks at its end: maps, each empty.
fn lacking_in_1(key: CommitsKey) -> &'static [u8] {
    match key {
        CommitsKey::Open => &[0],
        CommitsKey::Begin => &[],
        CommitsKey::Commit => &[0, 0],
    }
}

/// Why bytes are no commit record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer Millstream, or by somebody else.
    #[error(
        "a `{key}` record is of version {version}, this Millstream reads version {VERSION}: use the version that wrote it or a newer one"
    )]
    Version {
        /// Which record.
        key: &'static str,
        /// What it says.
        version: u8,
    },
    /// Broken.
    #[error("a `{key}` record cannot be read ({reason}): it was not written by Millstream or has been damaged")]
    Broken {
        /// Which record.
        key: &'static str,
        /// What the decoder says.
        reason: String,
    },
}

fn name(key: CommitsKey) -> &'static str {
    match key {
        CommitsKey::Open => "open",
        CommitsKey::Begin => "begin",
        CommitsKey::Commit => "commit",
    }
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    // Writing plain data to memory cannot fail; should it, the empty record is refused by every reader.
    postcard::to_extend(record, vec![VERSION]).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(key: CommitsKey, bytes: &[u8]) -> Result<T, CodecError> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Err(CodecError::Broken { key: name(key), reason: "it is empty".to_owned() });
    };
    let read = match version {
        VERSION => postcard::from_bytes(rest),
        1 => postcard::from_bytes(&[rest, lacking_in_1(key)].concat()),
        _ => return Err(CodecError::Version { key: name(key), version }),
    };
    read.map_err(|error| CodecError::Broken { key: name(key), reason: error.to_string() })
}

/// The bytes of an `open` record.
#[must_use]
pub fn encode_open(record: &OpenRecord) -> Vec<u8> {
    encode(record)
}

/// The bytes of a `begin` record.
#[must_use]
pub fn encode_begin(record: &BeginRecord) -> Vec<u8> {
    encode(record)
}

/// The bytes of a `commit` record.
#[must_use]
pub fn encode_commit(record: &CommitRecord) -> Vec<u8> {
    encode(record)
}

/// Reads what lies in a commits partition.
///
/// # Errors
/// See [`CodecError`].
pub fn decode_entry(key: CommitsKey, bytes: &[u8]) -> Result<CommitsEntry, CodecError> {
    Ok(match key {
        CommitsKey::Open => CommitsEntry::Open(decode(key, bytes)?),
        CommitsKey::Begin => CommitsEntry::Begin(decode(key, bytes)?),
        CommitsKey::Commit => CommitsEntry::Commit(decode(key, bytes)?),
    })
}

/// Reads a `commit` record, as `applied` holds it.
///
/// # Errors
/// See [`CodecError`].
pub fn decode_commit(bytes: &[u8]) -> Result<CommitRecord, CodecError> {
    decode(CommitsKey::Commit, bytes)
}

/// Reads an `open` record.
///
/// # Errors
/// See [`CodecError`].
pub fn decode_open(bytes: &[u8]) -> Result<OpenRecord, CodecError> {
    decode(CommitsKey::Open, bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_model::commit::Catalog;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn records_come_back() {
        let record = CommitRecord { committed_ms: 5, changes: 7, finished: true, ..CommitRecord::default() };
        assert_eq!(decode_commit(&encode_commit(&record)).unwrap(), record);
        let entry = decode_entry(CommitsKey::Commit, &encode_commit(&record)).unwrap();
        assert_eq!(entry, CommitsEntry::Commit(record));
    }

    /// A commit as version 1 wrote it: of partition 0 of source `in` up to offset 9, by operator `op`.
    #[rustfmt::skip]
    const COMMIT_OF_1: [u8; 81] = [
        1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 3, 0, 10, 1, 2, 105, 110, 0, 8, 18, 2, 1, 154, 1, 0,
        1, 2, 111, 112, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 0, 1, 1, 115, 1, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn commits_of_version_1_are_read() {
        let record = decode_commit(&COMMIT_OF_1).unwrap();
        assert_eq!(record.positions.iter().map(|position| position.next).collect::<Vec<_>>(), [9]);
        assert_eq!(record.operators.iter().map(|operator| operator.id.as_str()).collect::<Vec<_>>(), ["op"]);
        assert_eq!((record.catalog, record.older_versions), (Catalog::default(), BTreeMap::new()));
    }

    /// An `open` as version 1 wrote it: of run 2, with one operator `op`.
    #[rustfmt::skip]
    const OPEN_OF_1: [u8; 75] = [
        1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 2, 1, 104, 3, 10, 0, 0, 0, 0, 1, 2, 111, 112, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 11, 109, 117, 114,
        109, 117, 114, 50, 47, 49, 50, 56, 0,
    ];

    #[test]
    fn opens_of_version_1_are_read() {
        let record = decode_open(&OPEN_OF_1).unwrap();
        assert_eq!((record.incarnation.0, record.key_groups.as_str()), (2, "murmur2/128"));
        assert!(record.digests.contains_key("op") && record.named_since.is_empty());
        assert_eq!(decode_open(&encode_open(&record)).unwrap(), record);
    }

    #[test]
    fn another_version_is_named() {
        let bytes = encode_commit(&CommitRecord::default());
        let bytes = [&[9], bytes.get(1..).unwrap()].concat();
        assert_eq!(decode_commit(&bytes), Err(CodecError::Version { key: "commit", version: 9 }));
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_read_but_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = vec![VERSION];
            bytes.extend(noise);
            let _ = decode_commit(&bytes);
            let _ = decode_open(&bytes);
        }
    }
}
