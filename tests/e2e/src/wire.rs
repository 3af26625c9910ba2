//! The bytes between [`OutsideClient`](crate::OutsideClient) and its Java half; `Records.java` and `OutsideClient.java`
//! in `tests/kafka/client` describe the format.

use std::io::{Read, Write};

use anyhow::{Context as _, Result, bail};

use crate::Record;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json = b'J' as isize,
    Records = b'R' as isize,
    End = b'E' as isize,
}

pub(crate) fn write_frame(to: &mut impl Write, kind: Kind, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
    to.write_all(&[kind as u8])?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)
}

/// Reads one frame into `bytes`.
pub(crate) fn read_frame(from: &mut impl Read, bytes: &mut Vec<u8>) -> Result<Kind> {
    let mut head = [0; 5];
    from.read_exact(&mut head).context("the outside client is gone")?;
    let [kind, length @ ..] = head;
    bytes.resize(usize::try_from(u32::from_be_bytes(length))?, 0);
    from.read_exact(bytes).context("the outside client is gone")?;
    match kind {
        b'J' => Ok(Kind::Json),
        b'R' => Ok(Kind::Records),
        b'E' => Ok(Kind::End),
        other => bail!("the outside client sent a frame of kind {other}"),
    }
}

pub(crate) fn encode(record: &Record, to: &mut Vec<u8>) {
    to.extend_from_slice(&record.partition.to_be_bytes());
    to.extend_from_slice(&record.offset.to_be_bytes());
    to.extend_from_slice(&record.timestamp_ms.to_be_bytes());
    put(record.key.as_deref(), to);
    put(record.value.as_deref(), to);
    to.extend_from_slice(&length(record.headers.len()).to_be_bytes());
    for (name, value) in &record.headers {
        put(Some(name.as_bytes()), to);
        put(value.as_deref(), to);
    }
}

/// Takes all records of a frame apart.
pub(crate) fn decode(mut bytes: &[u8], to: &mut Vec<Record>) -> Result<()> {
    while !bytes.is_empty() {
        let record = decode_one(&mut bytes).context("the outside client sent half a record")?;
        to.push(record);
    }
    Ok(())
}

fn decode_one(from: &mut &[u8]) -> Option<Record> {
    let mut record = Record {
        partition: i32::from_be_bytes(take(from)?),
        offset: i64::from_be_bytes(take(from)?),
        timestamp_ms: i64::from_be_bytes(take(from)?),
        key: blob(from)?,
        value: blob(from)?,
        headers: Vec::new(),
    };
    for _ in 0..i32::from_be_bytes(take(from)?) {
        let name = String::from_utf8(blob(from)??).ok()?;
        record.headers.push((name, blob(from)?));
    }
    Some(record)
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*head)
}

#[expect(clippy::option_option, reason = "the outer one is the end of the bytes, the inner one is null")]
fn blob(from: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let Ok(length) = usize::try_from(i32::from_be_bytes(take(from)?)) else {
        return Some(None);
    };
    let (head, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(Some(head.to_vec()))
}

fn put(bytes: Option<&[u8]>, to: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => {
            to.extend_from_slice(&length(bytes.len()).to_be_bytes());
            to.extend_from_slice(bytes);
        }
        None => to.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

/// Lengths are far below 2 GiB; a test that gets this wrong is told so by the other side.
fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
