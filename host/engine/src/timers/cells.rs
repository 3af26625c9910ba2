//! The bytes of timers. A timer's *name* is the number of its space, its id and its key; its *ordered* form is its time before that.

use crate::call::Fault;
use crate::ports::StateBackend;
use millstream_model::cell::{self, CellSpace};
use millstream_model::commit::CatalogEntry;
use millstream_model::descriptor::TimerDescriptor;
use millstream_model::key_group::{KEY_GROUPS, KeyGroup};

/// Version of the values of both cells.
const VERSION: u32 = 1;

/// Bytes of a time in the order of time.
const TIME_BYTES: usize = 8;

/// Bytes of a name before the key.
const HEAD_BYTES: usize = 9;

pub(super) fn name(number: u8, id: u64, key: &[u8]) -> Box<[u8]> {
    let mut name = Vec::with_capacity(HEAD_BYTES + key.len());
    name.push(number);
    name.extend_from_slice(&id.to_be_bytes());
    name.extend_from_slice(key);
    name.into()
}

/// Number, id and key of a name.
pub(super) fn parts(name: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (number, rest) = name.split_first()?;
    let (id, key) = rest.split_first_chunk()?;
    Some((*number, u64::from_be_bytes(*id), key))
}

pub(super) fn ordered(time_ms: i64, name: &[u8]) -> Box<[u8]> {
    [&order(time_ms), name].concat().into()
}

/// A time as bytes that are ordered like it.
fn order(time_ms: i64) -> [u8; TIME_BYTES] {
    (time_ms.cast_unsigned() ^ 1 << 63).to_be_bytes()
}

pub(super) fn time_of(ordered: &[u8]) -> i64 {
    let time = ordered.first_chunk().copied().unwrap_or_default();
    (u64::from_be_bytes(time) ^ 1 << 63).cast_signed()
}

pub(super) fn name_of(ordered: &[u8]) -> &[u8] {
    ordered.get(TIME_BYTES..).unwrap_or_default()
}

/// Where the cells of a key group lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) operator: u16,
    pub(super) group: KeyGroup,
}

impl Place {
    fn space(self, state: u8) -> CellSpace {
        CellSpace { operator: self.operator, state }
    }

    /// The cell of a timer under its key.
    pub(super) fn write_cell(self, to: &mut Vec<u8>, name: &[u8]) {
        if let Some((number, id, key)) = parts(name) {
            cell::write_key(to, self.space(number), self.group, key, &id.to_be_bytes());
        }
    }

    /// What the cells of a timer's ids begin with.
    pub(super) fn write_cells_of(self, to: &mut Vec<u8>, number: u8, key: &[u8]) {
        cell::write_key(to, self.space(number), self.group, key, &[]);
    }

    /// The cell of a timer in the order of time.
    pub(super) fn write_ordered(self, to: &mut Vec<u8>, index: u8, ordered: &[u8]) {
        let (time, name) = ordered.split_at(TIME_BYTES.min(ordered.len()));
        cell::write_key(to, self.space(index), self.group, time, name);
    }

    /// What all cells in the order of time begin with; what comes behind is the ordered form.
    pub(super) fn index_prefix(self, index: u8) -> Vec<u8> {
        let mut prefix = Vec::new();
        cell::write_key(&mut prefix, self.space(index), self.group, &[0; TIME_BYTES], &[]);
        prefix.truncate(prefix.len() - TIME_BYTES);
        prefix
    }
}

pub(super) fn write_time(to: &mut Vec<u8>, time_ms: i64) {
    cell::write_value(to, VERSION, &time_ms.to_be_bytes());
}

pub(super) fn write_nothing(to: &mut Vec<u8>) {
    cell::write_value(to, VERSION, &[]);
}

pub(super) fn read_time(value: &[u8]) -> Result<i64, Fault> {
    match cell::read_value(value) {
        Some(value) if value.version == VERSION => value.bytes.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    }
    .ok_or_else(|| Fault::Host("the cell of a timer holds no time: the store is damaged".to_owned()))
}

/// Refuses to go on without a timer that still has entries: they would never fire. `entry` is what the catalog has of the operator that declares
/// these timers now.
///
/// # Errors
/// The timer and what to do; or why the store cannot be read.
pub fn check_vanished(
    declared: &[TimerDescriptor],
    entry: &CatalogEntry,
    backend: &dyn StateBackend,
) -> Result<(), String> {
    let known: Vec<String> = declared.iter().map(TimerDescriptor::cells_name).collect();
    let is_timer = |name: &str| name.starts_with(TimerDescriptor::CELLS_PREFIX);
    for (name, number) in entry.states.iter().filter(|(name, _)| is_timer(name) && !known.contains(name)) {
        for group in (0..KEY_GROUPS).map(|group| KeyGroup(group as u8)) {
            let prefix = [&entry.number.to_be_bytes()[..], &[group.0, *number]].concat();
            let mut is_pending = false;
            let looked = backend.scan(&prefix, None, &mut |_, _| {
                is_pending = true;
                false
            });
            looked.map_err(|error| error.to_string())?;
            if is_pending {
                let [_, clock, name] = name.splitn(3, ':').collect::<Vec<_>>().try_into().unwrap_or(["", "", ""]);
                return Err(format!(
                    "timers `{name}` (clock `{clock}`) of an earlier version are pending and this version does not declare them: keep declaring the timer until \
                     they have fired or are cancelled"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_of_bytes_is_the_order_of_time_timer_id_and_key(
            a in (any::<i64>(), 0u8..3, 0u64..3, "[ab]{0,2}"),
            b in (any::<i64>(), 0u8..3, 0u64..3, "[ab]{0,2}"),
        ) {
            let bytes = |(time, number, id, key): &(i64, u8, u64, String)| ordered(*time, &name(*number, *id, key.as_bytes()));
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
            prop_assert_eq!(time_of(&bytes(&a)), a.0);
            let bytes = bytes(&a);
            prop_assert_eq!(parts(name_of(&bytes)), Some((a.1, a.2, a.3.as_bytes())));
        }

        #[test]
        fn both_cells_are_cells_of_the_key_group(time: i64, id: u64, key in prop::collection::vec(any::<u8>(), 0..20)) {
            let place = Place { operator: 3, group: KeyGroup(9) };
            let timer = name(4, id, &key);
            let (mut cell_key, mut index_key) = (Vec::new(), Vec::new());
            place.write_cell(&mut cell_key, &timer);
            place.write_ordered(&mut index_key, 5, &ordered(time, &timer));
            let read = cell::read_key(&cell_key).map(|cell| (cell.space.state, cell.group, cell.user_key.to_vec()));
            prop_assert_eq!(read, Some((4, KeyGroup(9), key)));
            let read = cell::read_key(&index_key).map(|cell| (cell.space.state, cell.group, cell.cell_key.to_vec()));
            prop_assert_eq!(read, Some((5, KeyGroup(9), timer.to_vec())));
            prop_assert_eq!(index_key.strip_prefix(place.index_prefix(5).as_slice()), Some(&*ordered(time, &timer)));
            let mut value = Vec::new();
            write_time(&mut value, time);
            prop_assert_eq!(read_time(&value), Ok(time));
        }
    }

    #[test]
    fn what_is_no_time_is_damage() {
        for value in [&[][..], &[1], &[2, 0, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0]] {
            assert!(matches!(read_time(value), Err(Fault::Host(_))), "{value:?}");
        }
    }
}
