//! Timers of one operator on one worker: one per (key, timer, id), in the order of time.
//!
//! A pending timer is two cells of the store: one under its key, to find it again when it is set anew or cancelled, and one in the order of time, to find what is due
//! without looking at anything else. Both are written and removed together. In memory are the changes of the open and the frozen epoch, what was asked for lately
//! (`known`), and of each key group the first few timers in the order of time (`near`); everything else is in the store only.
//!
//! The two epochs are as in `keyed`: changes of the open one are frozen at its cut, stay until the commit is applied to the store, and are forgotten when it is lost.

mod cells;
mod due;
mod group;
mod known;

use crate::call::{Fault, Mark, TimerOp};
use crate::keyed::Share;
use crate::ports::{ChangeSet, StateBackend};
use cells::Place;
pub use cells::check_vanished;
use group::Group;
use known::Known;
use millstream_model::column::BytesColumn;
use millstream_model::commit::CatalogEntry;
use millstream_model::descriptor::{TimerClock, TimerDescriptor};
use millstream_model::key_group::{KEY_GROUPS, KeyGroup, key_group};
use std::ops::Range;
use std::sync::Arc;

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Position of the timer in the descriptor.
    pub timer: u32,
    /// The id it was set with.
    pub id: u64,
    /// The time it was set for, in milliseconds since 1970.
    pub time_ms: i64,
    /// Whose it is.
    pub key: Box<[u8]>,
}

/// A timer and where its cells lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimerColumn {
    clock: TimerClock,
    number: u8,
}

/// The timers of an operator, in the order of the descriptor, and where their cells lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimerColumns {
    operator: u16,
    timers: Vec<TimerColumn>,
    /// By clock: the number of the index.
    indexes: [u8; 2],
}

impl TimerColumns {
    /// The numbers of declared timers, as the catalog has them.
    #[must_use]
    pub fn new(declared: &[TimerDescriptor], entry: Option<&CatalogEntry>) -> Self {
        let Some(entry) = entry else { return Self::default() };
        let number = |name: &str| entry.states.get(name).copied();
        let column =
            |timer: &TimerDescriptor| Some(TimerColumn { clock: timer.clock, number: number(&timer.cells_name())? });
        Self {
            operator: entry.number,
            timers: declared.iter().filter_map(column).collect(),
            indexes: TimerClock::ALL.map(|clock| number(clock.index_name()).unwrap_or_default()),
        }
    }

    fn has(&self, clock: TimerClock) -> bool {
        self.timers.iter().any(|timer| timer.clock == clock)
    }
}

/// See the module.
#[derive(Default)]
pub struct Timers {
    operator: u16,
    columns: Vec<TimerColumn>,
    /// By clock: the number of the index.
    indexes: [u8; 2],
    backend: Option<Arc<dyn StateBackend>>,
    /// Key groups that this worker owns.
    owned: Range<u16>,
    known: Known,
    /// By clock, by owned key group.
    groups: [Vec<Group>; 2],
    /// By clock, by owned key group: no timer is earlier than this. Beside the groups, so that a mark looks at a few lines of memory.
    first_ms: [Vec<i64>; 2],
    /// Number of the open epoch; from 1.
    epoch: u32,
    /// The epoch that was cut and is not applied yet.
    frozen: Option<u32>,
    /// Changes of the open epoch.
    open_count: usize,
}

impl Timers {
    /// Timers with their numbers of the catalog; of all keys, unless [`Timers::share`] says otherwise.
    #[must_use]
    pub fn new(columns: &TimerColumns, backend: Arc<dyn StateBackend>) -> Self {
        let mut timers = Self { backend: Some(backend), owned: 0..KEY_GROUPS, epoch: 1, ..Self::default() };
        timers.take_over(columns);
        timers
    }

    /// Says which key groups are this worker's, before the first call.
    pub fn share(&mut self, share: &Share) {
        if self.owned == share.groups {
            return;
        }
        self.owned = share.groups.clone();
        let count = self.owned.len();
        for (groups, first_ms) in
            self.groups.iter_mut().zip(&mut self.first_ms).filter(|(groups, _)| !groups.is_empty())
        {
            *groups = std::iter::repeat_with(Group::default).take(count).collect();
            *first_ms = vec![i64::MIN; count];
        }
    }

    /// Goes on with what another version declares; what is held of timers that stay, stays.
    pub fn take_over(&mut self, columns: &TimerColumns) {
        self.operator = columns.operator;
        self.columns.clone_from(&columns.timers);
        self.indexes = columns.indexes;
        for clock in TimerClock::ALL.into_iter().filter(|clock| columns.has(*clock)) {
            let count = self.owned.len();
            self.groups[clock as usize].resize_with(count, Group::default);
            self.first_ms[clock as usize].resize(count, i64::MIN);
        }
    }

    /// Whether the operator has any timers.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether a timer is due, as far as is known without looking into the store: a `false` is certain.
    #[must_use]
    pub fn has_due(&self, mark: Mark) -> bool {
        TimerClock::ALL.into_iter().any(|clock| {
            let until_ms = bound(clock, mark);
            self.first_ms[clock as usize].iter().any(|first_ms| until_ms.is_some_and(|until_ms| *first_ms <= until_ms))
        })
    }

    /// Makes the times of all timers known that a call changes, with one read of the store. `keys` has the key of each key row.
    ///
    /// # Errors
    /// [`Fault::Host`] when the store cannot be read.
    pub(crate) fn load<'k>(&mut self, ops: &[TimerOp], key_of: impl Fn(u32) -> &'k [u8]) -> Result<(), Fault> {
        let mut places = Vec::new();
        for op in ops {
            let Some(column) = self.columns.get(op.timer as usize) else { continue };
            let key = key_of(op.key_row);
            let name = cells::name(column.number, op.id, key);
            if !self.known.has(&name) {
                places.push((name, Place { operator: self.operator, group: key_group(key) }));
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let mut wanted = BytesColumn::default();
        for (name, place) in &places {
            wanted.push_with(|to| place.write_cell(to, name));
        }
        let mut found = BytesColumn::default();
        if let Some(backend) = &self.backend {
            backend.read(&wanted, &mut found).map_err(|error| Fault::Host(error.to_string()))?;
        }
        if found.len() != wanted.len() {
            return Err(Fault::Host(format!("the store answered {} of {} cells", found.len(), wanted.len())));
        }
        for (row, (name, _)) in (0u32..).zip(places) {
            let time_ms = found.get(row).map(cells::read_time).transpose()?;
            self.known.learn(name, time_ms);
        }
        Ok(())
    }

    /// Whether a timer is pending; [`Timers::load`] came before.
    pub(crate) fn is_pending(&self, timer: u32, id: u64, key: &[u8]) -> bool {
        let column = self.columns.get(timer as usize);
        column.is_some_and(|column| self.known.get(&cells::name(column.number, id, key)).flatten().is_some())
    }

    /// Merges staged changes into the open epoch; [`Timers::load`] came before.
    pub(crate) fn apply<'k>(&mut self, ops: &[TimerOp], key_of: impl Fn(u32) -> &'k [u8]) {
        for op in ops {
            if let Some(column) = self.columns.get(op.timer as usize).copied() {
                let key = key_of(op.key_row);
                self.put(column, &cells::name(column.number, op.id, key), key, op.time_ms);
            }
        }
    }

    /// A timer has fired, or was refused: it is gone.
    pub(crate) fn consume(&mut self, due: &Due) {
        if let Some(column) = self.columns.get(due.timer as usize).copied() {
            let name = cells::name(column.number, due.id, &due.key);
            if !self.known.has(&name) {
                self.known.learn(name.clone(), Some(due.time_ms));
            }
            self.put(column, &name, &due.key, None);
        }
    }

    fn put(&mut self, column: TimerColumn, name: &[u8], key: &[u8], after: Option<i64>) {
        let clock = column.clock as usize;
        let Some(at) = self.position(key_group(key)) else { return };
        let Some(group) = self.groups[clock].get_mut(at) else { return };
        let Some(change) = self.known.change(name, after, self.epoch) else { return };
        let before = group.open.len();
        if let Some(time_ms) = change.before {
            group.remove(&cells::ordered(time_ms, name), change.stored == Some(time_ms));
        }
        if let Some(time_ms) = after {
            group.add(cells::ordered(time_ms, name), change.stored == Some(time_ms));
        }
        self.open_count = self.open_count + group.open.len() - before;
        if let Some(first_ms) = self.first_ms[clock].get_mut(at) {
            *first_ms = group.first_ms();
        }
    }

    /// Position of a key group among the owned ones.
    fn position(&self, group: KeyGroup) -> Option<usize> {
        let number = u16::from(group.0);
        self.owned.contains(&number).then(|| usize::from(number - self.owned.start))
    }

    /// Ends the open epoch: appends its changed cells to `changes` and begins the next one.
    pub fn freeze(&mut self, changes: &mut ChangeSet) {
        if !self.is_used() {
            return;
        }
        for clock in TimerClock::ALL {
            let index = self.indexes[clock as usize];
            for (group, number) in self.groups[clock as usize].iter_mut().zip(self.owned.clone()) {
                let place = Place { operator: self.operator, group: KeyGroup(number as u8) };
                for (ordered, is_there) in &group.open {
                    changes.keys.push_with(|to| place.write_ordered(to, index, ordered));
                    let name = cells::name_of(ordered);
                    let now = self.known.freeze(name);
                    if *is_there {
                        changes.values.push_with(cells::write_nothing);
                        changes.keys.push_with(|to| place.write_cell(to, name));
                        changes.values.push_with(|to| cells::write_time(to, cells::time_of(ordered)));
                    } else {
                        changes.values.push(None);
                        // One that was moved is written where it is now.
                        if now.is_none() {
                            changes.keys.push_with(|to| place.write_cell(to, name));
                            changes.values.push(None);
                        }
                    }
                }
                group.freeze();
            }
        }
        self.open_count = 0;
        self.frozen = Some(self.epoch);
        self.epoch += 1;
    }

    /// Says that the changes of the frozen epoch are in the store.
    pub fn applied(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.known.applied(frozen);
            self.groups.iter_mut().flatten().for_each(Group::applied);
        }
    }

    /// Forgets everything: the open epoch, the frozen one and what was known.
    pub fn drop_epochs(&mut self) {
        self.known.clear();
        self.groups.iter_mut().flatten().for_each(|group| *group = Group::default());
        self.first_ms.iter_mut().flatten().for_each(|first_ms| *first_ms = i64::MIN);
        self.frozen = None;
        self.open_count = 0;
        self.epoch += 1;
    }

    /// Bytes of memory held, nearly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        if !self.is_used() {
            return 0;
        }
        let cells: usize = self.groups.iter().flatten().map(Group::len).sum();
        self.known.memory_bytes() + cells * group::CELL_BYTES
    }

    /// Bytes changed in the open epoch, nearly.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.open_count * (group::CELL_BYTES + known::ENTRY_BYTES)
    }

    /// Forgets what is in the store and was not asked for lately, if more than `memory_bytes_max` are held.
    pub fn trim(&mut self, memory_bytes_max: usize) {
        if self.known.memory_bytes() > memory_bytes_max {
            self.known.evict(memory_bytes_max);
        }
    }
}

/// Timers of a clock are due up to here.
fn bound(clock: TimerClock, mark: Mark) -> Option<i64> {
    match clock {
        TimerClock::Event => mark.watermark_ms,
        TimerClock::Processing => Some(mark.now_ms),
    }
}

#[cfg(test)]
mod tests;
