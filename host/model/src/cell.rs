//! Cells of state: (operator, key group, state, user key, cell key) → bytes, laid out alike in RocksDB and in the changelog.
//!
//! Key, version 1: operator u16, key group u8, state u8 (big endian), length of the user key as LEB128, user key, cell key. Cells of one user
//! key are neighbours and ordered by the bytes of their cell keys; an operator's key group is one contiguous range. A value state has one cell
//! with an empty cell key; a map state has one per entry, with the map key as cell key; a list state has one per element, with the element's
//! number (u64, big endian) as cell key. A broadcast state has no user keys: its entries lie in key group 0 under the empty one.
//!
//! A pending timer has two cells. One under its key: the space is the timer's, the cell key its id (u64, big endian), the value its time. One in the order of time:
//! the space is that of the operator's timers of one clock, the user key the time (i64, big endian, sign bit flipped), the cell key the number of the
//! timer's space (u8), the id (u64, big endian) and the key; the value is empty. Both lie in the key group of the key.
//!
//! Beside the cells of user keys a state may keep facts about a key group: see [`GroupFact`]. In their keys `80 00`, the longer way to write 0,
//! stands for the length of the user key, so that no user key has such a cell; the number of the fact (u8) is the cell key.
//!
//! Value: LEB128 of the version of the state that wrote it, then the bytes of the operator. In a state with a time to live the time of the last
//! refresh (i64, big endian, milliseconds since 1970 of the state's clock) stands between them, and `80 00`, with which no version begins, before all.
//! A cell without such a time lives since the state has a clock: see [`GroupFact::LivesSince`].

use crate::key_group::KeyGroup;

/// Number of an operator's state within the lineage's catalog, and the operator's own number. Numbers are given once and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellSpace {
    /// The operator's number in the catalog.
    pub operator: u16,
    /// The state's number within the operator.
    pub state: u8,
}

/// Appends a LEB128 number.
pub fn write_varint(to: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads a LEB128 number and returns it with the rest; `None` if it is cut short or too long.
#[must_use]
pub fn read_varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0u32;
    for (at, &byte) in bytes.iter().enumerate().take(5) {
        number |= u32::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Appends what the keys of all cells of a state in a key group begin with.
#[inline]
pub fn write_group(to: &mut Vec<u8>, space: CellSpace, group: KeyGroup) {
    to.extend_from_slice(&space.operator.to_be_bytes());
    to.push(group.0);
    to.push(space.state);
}

/// Appends a cell's key.
#[inline]
pub fn write_key(to: &mut Vec<u8>, space: CellSpace, group: KeyGroup, user_key: &[u8], cell_key: &[u8]) {
    write_group(to, space, group);
    write_varint(to, user_key.len() as u32);
    to.extend_from_slice(user_key);
    to.extend_from_slice(cell_key);
}

/// A cell's key taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellKey<'a> {
    /// Whose it is.
    pub space: CellSpace,
    /// The key group of the user key.
    pub group: KeyGroup,
    /// The key of the records.
    pub user_key: &'a [u8],
    /// Which cell of that key: empty for a value state, the map key for a map state.
    pub cell_key: &'a [u8],
}

/// Takes a cell's key apart; `None` if it is not one.
#[must_use]
pub fn read_key(bytes: &[u8]) -> Option<CellKey<'_>> {
    let (&[high, low, group, state], rest) = bytes.split_first_chunk::<4>()?;
    let (len, rest) = read_varint(rest)?;
    let (user_key, cell_key) = rest.split_at_checked(len as usize)?;
    let space = CellSpace { operator: u16::from_be_bytes([high, low]), state };
    Some(CellKey { space, group: KeyGroup(group), user_key, cell_key })
}

/// The longer way to write 0 as LEB128: where a length or a version is due, something else follows.
const MARKER: [u8; 2] = [0x80, 0x00];

/// What a state keeps of a whole key group, under version 1. The numbers of facts are never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GroupFact {
    /// Of a list state: the number that the next element gets, u64 big endian. Numbers rise within a key group, so that appending needs no look at the list.
    NextElement = 1,
    /// Of a state with a time to live: the time (i64, big endian, milliseconds since 1970) its clock showed first. Cells without a time of their own,
    /// written before the first watermark or before the state had a time to live, count as refreshed then.
    LivesSince = 2,
}

/// Appends the key of a fact.
pub fn write_fact_key(to: &mut Vec<u8>, space: CellSpace, group: KeyGroup, fact: GroupFact) {
    write_group(to, space, group);
    to.extend_from_slice(&MARKER);
    to.push(fact as u8);
}

/// Whether a cell's key is that of a fact about a key group.
#[must_use]
pub fn is_fact_key(bytes: &[u8]) -> bool {
    bytes.get(4..6) == Some(MARKER.as_slice())
}

/// A cell's value taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellValue<'a> {
    /// Version of the state that wrote it.
    pub version: u32,
    /// When it was last refreshed, in milliseconds since 1970 of the state's clock; only in states with a time to live.
    pub refreshed_ms: Option<i64>,
    /// The bytes of the operator.
    pub bytes: &'a [u8],
}

/// Appends a cell's value.
#[inline]
pub fn write_value(to: &mut Vec<u8>, version: u32, bytes: &[u8]) {
    write_varint(to, version);
    to.extend_from_slice(bytes);
}

/// Appends the value of a cell in a state with a time to live; without a time it is written as any other.
#[inline]
pub fn write_timed_value(to: &mut Vec<u8>, version: u32, refreshed_ms: Option<i64>, bytes: &[u8]) {
    match refreshed_ms {
        None => write_varint(to, version),
        Some(refreshed_ms) => {
            to.extend_from_slice(&MARKER);
            write_varint(to, version);
            to.extend_from_slice(&refreshed_ms.to_be_bytes());
        }
    }
    to.extend_from_slice(bytes);
}

/// Takes a cell's value apart; `None` if it is not one.
#[must_use]
#[inline]
pub fn read_value(bytes: &[u8]) -> Option<CellValue<'_>> {
    let Some(timed) = bytes.strip_prefix(&MARKER) else {
        let (version, bytes) = read_varint(bytes)?;
        return Some(CellValue { version, refreshed_ms: None, bytes });
    };
    let (version, rest) = read_varint(timed)?;
    let (refreshed_ms, bytes) = rest.split_first_chunk()?;
    Some(CellValue { version, refreshed_ms: Some(i64::from_be_bytes(*refreshed_ms)), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_come_back_and_order_by_cell_key(user in prop::collection::vec(any::<u8>(), 0..300),
                                                a in prop::collection::vec(any::<u8>(), 0..20),
                                                b in prop::collection::vec(any::<u8>(), 0..20)) {
            let space = CellSpace { operator: 7, state: 3 };
            let (mut left, mut right) = (Vec::new(), Vec::new());
            write_key(&mut left, space, KeyGroup(9), &user, &a);
            write_key(&mut right, space, KeyGroup(9), &user, &b);
            prop_assert_eq!(read_key(&left), Some(CellKey { space, group: KeyGroup(9), user_key: &user, cell_key: &a }));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        }

        #[test]
        fn values_come_back(version: u32, refreshed_ms: Option<i64>, bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut cell = Vec::new();
            write_timed_value(&mut cell, version, refreshed_ms, &bytes);
            prop_assert_eq!(read_value(&cell), Some(CellValue { version, refreshed_ms, bytes: &bytes }));
            let mut plain = Vec::new();
            write_value(&mut plain, version, &bytes);
            prop_assert_eq!(plain == cell, refreshed_ms.is_none());
        }

        #[test]
        fn no_user_key_has_the_cell_of_a_fact(user in prop::collection::vec(any::<u8>(), 0..300),
                                              cell_key in prop::collection::vec(any::<u8>(), 0..4)) {
            let space = CellSpace { operator: 7, state: 3 };
            let mut key = Vec::new();
            write_key(&mut key, space, KeyGroup(9), &user, &cell_key);
            prop_assert!(!is_fact_key(&key));
        }

        #[test]
        fn noise_is_no_key_or_a_key_but_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = read_key(&noise);
            let _ = read_value(&noise);
            let _ = is_fact_key(&noise);
        }
    }

    /// The bytes of version 1, as stores and changelogs hold them.
    #[test]
    fn cells_are_written_as_they_always_were() {
        let space = CellSpace { operator: 0x0102, state: 3 };
        let mut key = Vec::new();
        write_key(&mut key, space, KeyGroup(0x7f), b"ann", b"item");
        assert_eq!(key, b"\x01\x02\x7f\x03\x03annitem");
        let mut fact = Vec::new();
        write_fact_key(&mut fact, space, KeyGroup(0x7f), GroupFact::LivesSince);
        assert_eq!(fact, b"\x01\x02\x7f\x03\x80\x00\x02");
        assert!(is_fact_key(&fact));
        assert_eq!(
            read_key(&fact).map(|key| (key.space, key.group, key.user_key)),
            Some((space, KeyGroup(0x7f), &[][..]))
        );
        let mut plain = Vec::new();
        write_value(&mut plain, 300, b"seen");
        assert_eq!(plain, b"\xac\x02seen");
        let mut timed = Vec::new();
        write_timed_value(&mut timed, 300, Some(0x0102_0304_0506), b"seen");
        assert_eq!(timed, b"\x80\x00\xac\x02\x00\x00\x01\x02\x03\x04\x05\x06seen");
    }
}
