//! `manifest.json`, format 1: what a checkpoint holds. It is written last; a checkpoint without one does not exist.
//!
//! `{"kind": "millstream-checkpoint", "format": 1, "millstream": version, "sha256": of the bytes of body, "body": {…}}`. Commit record and
//! `open` record are in hex, in the versioned bytes of the commits topic.

use crate::error::Error;
use millstream_engine::commit::codec::{decode_commit, decode_open};
use millstream_engine::ports::CheckpointKind;
use millstream_model::commit::{CommitRecord, OpenRecord};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The name of the file within a checkpoint.
pub(crate) const NAME: &str = "manifest.json";

/// The newest format that is read, and the one that is written.
const FORMAT: u32 = 1;

/// What tells ours from any other JSON.
const KIND: &str = "millstream-checkpoint";

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFile {
    /// Its name in the store.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// sha256 of its bytes in hex; also its name among the shared files.
    pub sha256: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    kind: &'a str,
    format: u32,
    millstream: &'a str,
    sha256: String,
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Outside {
    kind: String,
    format: u32,
    millstream: String,
}

#[derive(Deserialize)]
struct Inside<'a> {
    sha256: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Body {
    pipeline: String,
    is_savepoint: bool,
    taken_ms: i64,
    token: String,
    applied: String,
    open: Option<String>,
    files: Vec<CheckpointFile>,
}

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its name where it lies.
    pub name: String,
    /// The version of Millstream that took it.
    pub millstream: String,
    /// The pipeline whose state it is.
    pub pipeline: String,
    /// Who asked for it.
    pub kind: CheckpointKind,
    /// When it was taken, in milliseconds since 1970.
    pub taken_ms: i64,
    /// The commit up to which its cells are the fold of all commits; with the positions to go on from.
    pub commit: CommitRecord,
    /// The `open` record of the run that took it, with the numbers of operators and states in its cells.
    pub open: Option<OpenRecord>,
    /// Its files.
    pub files: Vec<CheckpointFile>,
    /// The bytes of `commit` as they lie in the store.
    pub(crate) applied: Vec<u8>,
    /// The bytes of `open` as they lie in the store.
    pub(crate) opened: Option<Vec<u8>>,
}

impl Checkpoint {
    /// Bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = Body {
            pipeline: self.pipeline.clone(),
            is_savepoint: self.kind == CheckpointKind::Savepoint,
            taken_ms: self.taken_ms,
            token: self.commit.token.to_string(),
            applied: hex(&self.applied),
            open: self.opened.as_deref().map(hex),
            files: self.files.clone(),
        };
        let body = serde_json::value::to_raw_value(&body)?;
        let sha256 = hex(&Sha256::digest(body.get().as_bytes()));
        let outside = Envelope { kind: KIND, format: FORMAT, millstream: &self.millstream, sha256, body: &body };
        serde_json::to_vec(&outside)
    }

    pub(crate) fn decode(name: &str, location: &str, text: &[u8]) -> Result<Self, Error> {
        let damaged = |reason: String| Error::Damaged { location: location.to_owned(), reason };
        let outside: Outside =
            serde_json::from_slice(text).map_err(|cause| damaged(format!("`{NAME}` cannot be read: {cause}")))?;
        if outside.kind != KIND {
            return Err(Error::NoCheckpoint {
                location: location.to_owned(),
                reason: format!("its `{NAME}` is of kind `{}`, not written by Millstream", outside.kind),
            });
        }
        if outside.format > FORMAT {
            return Err(Error::Newer {
                location: location.to_owned(),
                format: outside.format,
                known: FORMAT,
                version: outside.millstream,
            });
        }
        let inside: Inside<'_> =
            serde_json::from_slice(text).map_err(|cause| damaged(format!("`{NAME}` cannot be read: {cause}")))?;
        if hex(&Sha256::digest(inside.body.get().as_bytes())) != inside.sha256 {
            return Err(damaged(format!("`{NAME}` does not have the sha256 it was written with")));
        }
        let body: Body = serde_json::from_str(inside.body.get())
            .map_err(|cause| damaged(format!("`{NAME}` cannot be read: {cause}")))?;
        Self::from_body(name, outside.millstream, body).map_err(|reason| damaged(format!("`{NAME}`: {reason}")))
    }

    fn from_body(name: &str, millstream: String, body: Body) -> Result<Self, String> {
        for file in &body.files {
            check_name(&file.name)?;
            check_name(&file.sha256)?;
        }
        let applied = unhex(&body.applied).ok_or("`applied` is no hex")?;
        let opened = body.open.as_deref().map(|open| unhex(open).ok_or("`open` is no hex")).transpose()?;
        let commit = decode_commit(&applied).map_err(|cause| cause.to_string())?;
        let open = opened.as_deref().map(decode_open).transpose().map_err(|cause| cause.to_string())?;
        let kind = if body.is_savepoint { CheckpointKind::Savepoint } else { CheckpointKind::Periodic };
        Ok(Self {
            name: name.to_owned(),
            millstream,
            pipeline: body.pipeline,
            kind,
            taken_ms: body.taken_ms,
            commit,
            open,
            files: body.files,
            applied,
            opened,
        })
    }
}

/// A name from a manifest must not lead out of its directory.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(format!("`{name}` is no name of a file"));
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A manifest as format 1 has it, with the commit and `open` records of the fixtures in `host/engine/tests/formats`. A new format adds a file and leaves
    /// this one alone.
    const FORMAT_1: &str = include_str!("fixtures/manifest-1.json");

    #[test]
    fn manifests_of_format_1_are_read_and_written() {
        let read = Checkpoint::decode("here", "there", FORMAT_1.as_bytes()).unwrap();
        assert_eq!(
            (read.pipeline.as_str(), read.kind, read.taken_ms),
            ("words", CheckpointKind::Savepoint, 1_700_000_000_500)
        );
        assert_eq!(read.commit.token.to_string(), "6c696e65/300/70000");
        assert_eq!(read.open.as_ref().map(|open| open.key_groups.as_str()), Some("murmur2/128"));
        let files: Vec<_> = read.files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
        assert_eq!(files, [("000012.sst", 4_096), ("CURRENT", 16)]);
        assert_eq!(FORMAT, 1, "a new format needs a fixture of its own");
        assert_eq!(String::from_utf8(read.encode().unwrap()).unwrap(), FORMAT_1);
    }

    #[test]
    fn a_manifest_with_one_letter_changed_is_damaged() {
        let damaged = FORMAT_1.replace("\"words\"", "\"swords\"");
        let error = Checkpoint::decode("here", "there", damaged.as_bytes()).unwrap_err();
        assert!(matches!(&error, Error::Damaged { reason, .. } if reason.contains("sha256")), "{error}");
    }
}
