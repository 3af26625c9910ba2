//! Cells of state: (operator, key group, state, user key, cell key) → bytes, laid out alike in RocksDB and in the changelog.
//!
//! Key, version 1: operator u16, key group u8, state u8 (big endian), length of the user key as LEB128, user key, cell key. Cells of one user
//! key are neighbours and ordered by the bytes of their cell keys; an operator's key group is one contiguous range. A value state has one cell
//! with an empty cell key; a map state has one per entry, with the map key as cell key.
//!
//! Value: LEB128 of the version of the state that wrote it, then the bytes of the operator.

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

/// Appends a cell's value.
#[inline]
pub fn write_value(to: &mut Vec<u8>, version: u32, bytes: &[u8]) {
    write_varint(to, version);
    to.extend_from_slice(bytes);
}

/// Takes a cell's value apart into version and bytes; `None` if it is not one.
#[must_use]
pub fn read_value(bytes: &[u8]) -> Option<(u32, &[u8])> {
    read_varint(bytes)
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
        fn values_come_back(version: u32, bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut cell = Vec::new();
            write_value(&mut cell, version, &bytes);
            prop_assert_eq!(read_value(&cell), Some((version, bytes.as_slice())));
        }

        #[test]
        fn noise_is_no_key_or_a_key_but_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = read_key(&noise);
            let _ = read_value(&noise);
        }
    }
}
