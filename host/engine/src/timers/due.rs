use super::cells::{self, Place};
use super::{Due, Timers, bound};
use crate::call::{Fault, Mark};
use millstream_model::descriptor::TimerClock;
use millstream_model::key_group::{KeyGroup, key_group};
use std::collections::{BTreeMap, BTreeSet};

/// Timers of a key group that are read from the store at a time.
const CHUNK: usize = 512;

/// What is being picked to fire together.
struct Picking {
    due: Vec<Due>,
    keys: BTreeSet<Box<[u8]>>,
    rows_max: usize,
    /// Timers looked at: many may be of keys that were picked already.
    looks_left: usize,
}

impl Picking {
    fn is_full(&self) -> bool {
        self.due.len() >= self.rows_max || self.looks_left == 0
    }
}

impl Timers {
    /// Timers that are due, the earliest of each key, at most `rows_max`; none if none is. They stay where they are until they are consumed.
    ///
    /// # Errors
    /// [`Fault::Host`] when the store cannot be read, or holds a timer that the operator does not declare.
    pub(crate) fn due(&mut self, mark: Mark, rows_max: usize) -> Result<Vec<Due>, Fault> {
        let mut picking =
            Picking { due: Vec::new(), keys: BTreeSet::new(), rows_max, looks_left: rows_max * 2 + CHUNK };
        for clock in TimerClock::ALL {
            let Some(until_ms) = bound(clock, mark) else { continue };
            for at in 0..self.groups[clock as usize].len() {
                if picking.is_full() {
                    return Ok(picking.due);
                }
                if self.first_ms[clock as usize].get(at).is_some_and(|first_ms| *first_ms <= until_ms) {
                    self.pick(clock, at, until_ms, &mut picking)?;
                }
            }
        }
        Ok(picking.due)
    }

    /// Picks timers of one key group.
    fn pick(&mut self, clock: TimerClock, at: usize, until_ms: i64, picking: &mut Picking) -> Result<(), Fault> {
        let mut seen: Option<Box<[u8]>> = None;
        loop {
            let Some(group) = self.groups[clock as usize].get(at) else { return Ok(()) };
            let from = seen.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let near = group.near.range::<[u8], _>((from, std::ops::Bound::Unbounded));
            let mut last = None;
            for ordered in near.take_while(|ordered| cells::time_of(ordered) <= until_ms) {
                if picking.is_full() {
                    return Ok(());
                }
                picking.looks_left -= 1;
                last = Some(ordered.clone());
                let due = self.due_of_cell(clock, ordered)?;
                if picking.keys.insert(due.key.clone()) {
                    picking.due.push(due);
                }
            }
            seen = last.or(seen);
            if group.has_all() || group.far_ms() > until_ms {
                return Ok(());
            }
            self.load_group(clock, at)?;
        }
    }

    fn due_of_cell(&self, clock: TimerClock, ordered: &[u8]) -> Result<Due, Fault> {
        let parts = cells::parts(cells::name_of(ordered));
        let found = parts.and_then(|(number, id, key)| {
            let is_it = |column: &super::TimerColumn| column.number == number && column.clock == clock;
            Some((self.columns.iter().position(is_it)?, id, key))
        });
        let Some((timer, id, key)) = found else {
            return Err(Fault::Host("a stored timer is none of those that the operator declares".to_owned()));
        };
        Ok(Due { timer: timer as u32, id, time_ms: cells::time_of(ordered), key: key.into() })
    }

    /// Brings the next timers of a key group from the store.
    fn load_group(&mut self, clock: TimerClock, at: usize) -> Result<(), Fault> {
        let place = self.place(at);
        let Some(group) = self.groups[clock as usize].get_mut(at) else { return Ok(()) };
        let prefix = place.index_prefix(self.indexes[clock as usize]);
        let after = group.loaded_to().map(|last| [&prefix, last].concat());
        let mut stored: Vec<Box<[u8]>> = Vec::new();
        if let Some(backend) = &self.backend {
            let visit = &mut |key: &[u8], _: &[u8]| {
                stored.push(key.get(prefix.len()..).unwrap_or_default().into());
                stored.len() < CHUNK
            };
            backend.scan(&prefix, after.as_deref(), visit).map_err(|error| Fault::Host(error.to_string()))?;
        }
        let is_end = stored.len() < CHUNK;
        group.take_in(stored, is_end, CHUNK);
        if let Some(first_ms) = self.first_ms[clock as usize].get_mut(at) {
            *first_ms = group.first_ms();
        }
        Ok(())
    }

    fn place(&self, at: usize) -> Place {
        Place { operator: self.operator, group: KeyGroup(self.owned.start as u8 + at as u8) }
    }

    /// The earliest due timer of each of some keys. Looks for them key by key: for when records of these keys cannot wait until everything that is due has fired.
    ///
    /// # Errors
    /// As [`Timers::due`].
    pub(crate) fn due_of<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, mark: Mark) -> Result<Vec<Due>, Fault> {
        let mut by_group: BTreeMap<usize, BTreeMap<&[u8], Option<Due>>> = BTreeMap::new();
        for key in keys {
            if let Some(at) = self.position(key_group(key)) {
                by_group.entry(at).or_default().insert(key, None);
            }
        }
        let mut due = Vec::new();
        for (at, mut earliest) in by_group {
            for clock in TimerClock::ALL {
                let first_ms = self.first_ms[clock as usize].get(at).copied();
                let until_ms =
                    bound(clock, mark).filter(|until_ms| first_ms.is_some_and(|first_ms| first_ms <= *until_ms));
                if let Some(until_ms) = until_ms {
                    self.earliest_in(clock, at, until_ms, &mut earliest)?;
                }
            }
            due.extend(earliest.into_values().flatten());
        }
        Ok(due)
    }

    /// Finds the earliest due timer of each key that has none yet, among the timers of one key group.
    fn earliest_in(
        &self,
        clock: TimerClock,
        at: usize,
        until_ms: i64,
        earliest: &mut BTreeMap<&[u8], Option<Due>>,
    ) -> Result<(), Fault> {
        let Some(group) = self.groups[clock as usize].get(at) else { return Ok(()) };
        let mut found: BTreeSet<Box<[u8]>> = BTreeSet::new();
        let is_due = |ordered: &&Box<[u8]>| cells::time_of(ordered) <= until_ms;
        let near = group.near.iter().take_while(is_due);
        let open = group.open.keys().take_while(is_due);
        for ordered in near.chain(open).chain(group.frozen.keys().take_while(is_due)) {
            let name = cells::name_of(ordered);
            let is_wanted = cells::parts(name).is_some_and(|(_, _, key)| earliest.contains_key(key));
            // What is known says whether a change still stands.
            if is_wanted && self.known.get(name).is_none_or(|now| now == Some(cells::time_of(ordered))) {
                found.insert(ordered.clone());
            }
        }
        for key in earliest.keys() {
            for column in self.columns.iter().filter(|column| column.clock == clock) {
                self.stored_of(at, column.number, key, &mut |name, time_ms| {
                    let stands = self.known.get(&name).is_none_or(|now| now == Some(time_ms));
                    if stands && time_ms <= until_ms {
                        found.insert(cells::ordered(time_ms, &name));
                    }
                })?;
            }
        }
        for ordered in found {
            let due = self.due_of_cell(clock, &ordered)?;
            if let Some(place @ None) = earliest.get_mut(&*due.key) {
                *place = Some(due);
            }
        }
        Ok(())
    }

    /// The timers of one kind that a key has in the store: name and time.
    fn stored_of(&self, at: usize, number: u8, key: &[u8], found: &mut dyn FnMut(Box<[u8]>, i64)) -> Result<(), Fault> {
        let Some(backend) = &self.backend else { return Ok(()) };
        let mut prefix = Vec::new();
        self.place(at).write_cells_of(&mut prefix, number, key);
        let mut damage = None;
        let visit = &mut |cell_key: &[u8], value: &[u8]| {
            let id = cell_key.get(prefix.len()..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
            match (id, cells::read_time(value)) {
                (Some(id), Ok(time_ms)) => found(cells::name(number, id, key), time_ms),
                (_, Err(fault)) => damage = Some(fault),
                // Of another key that begins with this one's bytes: its length differs, so it cannot be.
                (None, Ok(_)) => {}
            }
            damage.is_none()
        };
        backend.scan(&prefix, None, visit).map_err(|error| Fault::Host(error.to_string()))?;
        damage.map_or(Ok(()), Err)
    }
}
