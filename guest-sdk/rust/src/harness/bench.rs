//! The host's side of a call: answers what the operator asks and keeps what it stages.

use super::{
    Emitted, Message, Rejected,
    kept::{Clock, Kept},
    run::Outcome,
    timers::Due,
};
use crate::{
    Level,
    column::{Column, ElementPage, EntryPage, HeaderColumn},
    descriptor::{Descriptor, Kind, State},
    host::{Emission, Host, Within},
};
use std::cell::RefCell;

thread_local! {
    /// The call in hand: imports have no receiver, as in the component.
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// The harness as the operator's host.
#[derive(Debug)]
pub(crate) struct Bench;

/// A call: what it may read, and what it staged.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    pub(crate) key_rows: Vec<u32>,
    pub(crate) values: Column,
    pub(crate) log: Vec<(Level, String)>,
    positions: Vec<usize>,
    timestamps_ms: Vec<i64>,
    /// Keys by key row.
    keys: Vec<Option<Vec<u8>>>,
    headers: HeaderColumn,
    states: Vec<State>,
    /// Per state, changed in place.
    kept: Vec<Kept>,
    /// Value states that were asked for.
    asked: Vec<u32>,
    clock: Clock,
    /// Of timers: those that fire.
    fired: Vec<Due>,
    staged: Staged,
    /// All that had come of the call at each mark.
    marks: Vec<(Vec<Kept>, Staged)>,
}

#[derive(Debug, Default, Clone)]
struct Staged {
    emitted: Vec<(u32, u32, Emitted)>,
    /// Timer, key row, id and time.
    timers: Vec<(u32, u32, u64, Option<i64>)>,
    rejected: Vec<(u32, String)>,
    counted: Vec<(String, u64)>,
    gauged: Vec<(String, f64)>,
    observed: Vec<(String, Vec<f64>)>,
}

impl Seat {
    /// `keyed`: rows with the same key share a key row.
    pub(crate) fn new(states: &[State], kept: &[Kept], keyed: bool, batch: &[(usize, &Message)], clock: Clock) -> Self {
        let mut seat = Self { states: states.to_vec(), kept: kept.to_vec(), clock, ..Self::default() };
        for (row, (position, message)) in batch.iter().enumerate() {
            let known = seat.keys.iter().position(|key| keyed && *key == message.key);
            seat.key_rows.push(known.unwrap_or(seat.keys.len()) as u32);
            if known.is_none() {
                seat.keys.push(message.key.clone());
            }
            seat.positions.push(*position);
            seat.timestamps_ms.push(message.timestamp_ms);
            seat.values.push(message.value.as_deref());
            for (name, value) in &message.headers {
                seat.headers.push(row as u32, name, value.as_deref());
            }
        }
        seat
    }

    /// Timers that fire at a step: each has a key row of its own.
    pub(crate) fn of_timers(states: &[State], kept: &[Kept], position: usize, fired: &[Due], clock: Clock) -> Self {
        let mut seat = Self { states: states.to_vec(), kept: kept.to_vec(), clock, ..Self::default() };
        seat.fired = fired.to_vec();
        for (row, due) in (0u32..).zip(fired) {
            seat.key_rows.push(row);
            seat.keys.push(Some(due.key.clone()));
            seat.positions.push(position);
            seat.timestamps_ms.push(due.time_ms);
            seat.values.push(None);
        }
        seat
    }

    fn change_timers(&mut self, timer: u32, changes: impl Iterator<Item = (u32, u64, Option<i64>)>) {
        for (key_row, id, time_ms) in changes {
            assert!(self.keys.len() > key_row as usize, "a key row that does not exist was named");
            self.staged.timers.push((timer, key_row, id, time_ms));
        }
    }

    /// A state with what it holds.
    fn state(&mut self, state: u32, kind: Kind) -> (&State, &mut Kept) {
        let found = self.states.get(state as usize).zip(self.kept.get_mut(state as usize));
        match found {
            Some((state, kept)) if state.kind == kind => (state, kept),
            _ => panic!("a {kind:?} state {state} was asked for, and there is none"),
        }
    }

    fn key(&self, key_row: u32) -> Vec<u8> {
        match self.keys.get(key_row as usize) {
            Some(key) => key.clone().unwrap_or_default(),
            None => panic!("a key row that does not exist was named"),
        }
    }

    fn values(&mut self, state: u32) -> Column {
        assert!(!self.asked.contains(&state), "the SDK asks for a state once per call");
        self.asked.push(state);
        let keys: Vec<_> = (0..self.keys.len() as u32).map(|key_row| self.key(key_row)).collect();
        let clock = self.clock;
        let (state, kept) = self.state(state, Kind::Value);
        let mut column = Column::default();
        keys.iter().for_each(|key| column.push(kept.get((state, clock), key, &[])));
        column
    }

    fn entries(&mut self, state: u32, key_rows: &[u32], map_keys: &Column) -> Column {
        assert!(map_keys.has_rows(key_rows.len()), "map keys of another number were named");
        let mut column = Column::default();
        for (row, &key_row) in (0u32..).zip(key_rows) {
            let (key, clock) = (self.key(key_row), self.clock);
            let (state, kept) = self.state(state, Kind::Map);
            column.push(kept.get((state, clock), &key, map_keys.get(row).unwrap_or_default()));
        }
        column
    }

    /// A page of a map: of a key, or of a broadcast state.
    fn page(&mut self, of: (u32, Kind), key: &[u8], within: Within<'_>, bytes_max: u32) -> EntryPage {
        let clock = self.clock;
        let (state, kept) = self.state(of.0, of.1);
        let is_in =
            |key: &[u8]| within.start.is_none_or(|start| key >= start) && within.end.is_none_or(|end| key < end);
        let mut entries: Vec<_> = kept.of((state, clock), key).filter(|(key, _)| is_in(key)).collect();
        if within.descending {
            entries.reverse();
        }
        let (mut page, mut bytes) = (EntryPage::default(), 0);
        for (map_key, value) in entries {
            bytes += map_key.len() + value.len();
            page.more = bytes > bytes_max as usize && !page.map_keys.ends.is_empty();
            if page.more {
                break;
            }
            page.map_keys.push(Some(map_key));
            page.values.push(Some(value));
        }
        page
    }

    fn elements(&mut self, (state, key_row): (u32, u32), first: u64, bytes_max: u32) -> ElementPage {
        let (key, clock) = (self.key(key_row), self.clock);
        let (state, kept) = self.state(state, Kind::List);
        let (mut page, mut bytes) = (ElementPage::default(), 0);
        for (_, element) in kept.of((state, clock), &key).skip(first as usize) {
            bytes += element.len();
            page.more = bytes > bytes_max as usize && !page.elements.ends.is_empty();
            if page.more {
                break;
            }
            page.elements.push(Some(element));
        }
        page
    }

    fn put(&mut self, of: (u32, Kind), key: &[u8], map_key: &[u8], value: Option<&[u8]>) {
        let clock = self.clock;
        let (state, kept) = self.state(of.0, of.1);
        kept.put((state, clock), key, map_key, value);
    }

    fn put_values(&mut self, state: u32, key_rows: &[u32], values: &Column) {
        assert!(values.has_rows(key_rows.len()), "a column of another length was staged");
        for (row, &key_row) in (0u32..).zip(key_rows) {
            self.put((state, Kind::Value), &self.key(key_row), &[], values.get(row));
        }
    }

    fn put_entries(&mut self, state: u32, key_rows: &[u32], map_keys: &Column, values: &Column) {
        let rows = key_rows.len();
        assert!(map_keys.has_rows(rows) && values.has_rows(rows), "a column of another length was staged");
        for (row, &key_row) in (0u32..).zip(key_rows) {
            let map_key = map_keys.get(row).unwrap_or_default();
            self.put((state, Kind::Map), &self.key(key_row), map_key, values.get(row));
        }
    }

    fn append(&mut self, state: u32, key_rows: &[u32], elements: &Column) {
        assert!(elements.has_rows(key_rows.len()), "a column of another length was staged");
        for (row, &key_row) in (0u32..).zip(key_rows) {
            let (key, clock) = (self.key(key_row), self.clock);
            let (state, kept) = self.state(state, Kind::List);
            kept.append((state, clock), &key, elements.get(row).unwrap_or_default());
        }
    }

    fn clear(&mut self, state: u32, key_rows: &[u32]) {
        for &key_row in key_rows {
            let key = self.key(key_row);
            if let Some(kept) = self.kept.get_mut(state as usize) {
                kept.clear(&key);
            }
        }
    }

    fn touch(&mut self, state: u32, key_rows: &[u32], map_keys: Option<&Column>) {
        for (row, &key_row) in (0u32..).zip(key_rows) {
            let (key, clock) = (self.key(key_row), self.clock);
            let Some((described, kept)) = self.states.get(state as usize).zip(self.kept.get_mut(state as usize)) else {
                continue;
            };
            if described.touch.is_none() {
                continue;
            }
            match map_keys {
                Some(map_keys) => kept.touch((described, clock), &key, map_keys.get(row).unwrap_or_default()),
                None => {
                    let all: Vec<_> = kept.of((described, clock), &key).map(|(map_key, _)| map_key.to_vec()).collect();
                    all.iter().for_each(|map_key| kept.touch((described, clock), &key, map_key));
                }
            }
        }
    }

    fn mark(&mut self) -> u32 {
        self.marks.push((self.kept.clone(), self.staged.clone()));
        self.marks.len() as u32 - 1
    }

    fn undo_to(&mut self, mark: u32) {
        self.marks.truncate(mark as usize + 1);
        match self.marks.last() {
            Some((kept, staged)) if self.marks.len() == mark as usize + 1 => {
                self.kept.clone_from(kept);
                self.staged.clone_from(staged);
            }
            _ => panic!("there is no mark {mark}"),
        }
    }

    fn emit(&mut self, records: &Emission<'_>) {
        let Emission { parents, .. } = records;
        assert!(parents.is_sorted(), "parents descend: {parents:?}");
        let fits = |column: &Column| column.has_rows(parents.len());
        assert!(
            self.fired.is_empty() || records.values.is_some(),
            "a timer has no value that a record could take over"
        );
        assert!(
            records.keys.is_none_or(fits) && records.values.is_none_or(fits),
            "a column of another length was staged"
        );
        assert!(
            records.timestamps_ms.is_none_or(|times| times.len() == parents.len()),
            "timestamps of another length were staged"
        );
        for (row, &parent) in parents.iter().enumerate() {
            assert!(self.key_rows.len() > parent as usize, "a parent that does not exist was staged");
            let emitted = self.emitted(records, row as u32, parent);
            self.staged.emitted.push((records.port, parent, emitted));
        }
    }

    fn emitted(&self, records: &Emission<'_>, row: u32, parent: u32) -> Emitted {
        let key_row = self.key_rows.get(parent as usize).copied().unwrap_or_default();
        let parent_key = self.keys.get(key_row as usize).and_then(Option::as_deref);
        let times = records.timestamps_ms.unwrap_or(&self.timestamps_ms);
        let time_row = if records.timestamps_ms.is_some() { row } else { parent };
        let headers = match records.headers {
            Some(own) => own.of(row),
            None => self.headers.of(parent),
        };
        Emitted {
            key: records.keys.map_or(parent_key, |keys| keys.get(row)).map(<[u8]>::to_vec),
            value: records.values.map_or(self.values.get(parent), |values| values.get(row)).map(<[u8]>::to_vec),
            timestamp_ms: times.get(time_row as usize).copied().unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
        }
    }

    /// Applies all that was staged.
    pub(crate) fn apply(self, outcome: &mut Outcome, descriptor: &Descriptor) {
        for (row, _) in &self.staged.rejected {
            let left = self.staged.emitted.iter().any(|(_, parent, _)| parent == row);
            assert!(!left, "a rejected record left an output");
        }
        for (port, _, emitted) in self.staged.emitted {
            if let Some(output) = outcome.outputs.get_mut(port as usize) {
                output.push(emitted);
            }
        }
        for due in &self.fired {
            outcome.timers.remove(&(due.key.clone(), due.timer, due.id));
        }
        for (timer, key_row, id, time_ms) in self.staged.timers {
            let key = self.keys.get(key_row as usize).cloned().flatten().unwrap_or_default();
            match time_ms {
                Some(time_ms) => drop(outcome.timers.insert((key, timer, id), time_ms)),
                None => drop(outcome.timers.remove(&(key, timer, id))),
            }
        }
        outcome.states = self.kept;
        for (row, reason) in self.staged.rejected {
            let position = self.positions.get(row as usize).copied().unwrap_or_default();
            let value = self.values.get(row).map(<[u8]>::to_vec);
            let timer = self.fired.get(row as usize).map(|due| due.shown(descriptor));
            outcome.rejected.push(Rejected { position, value, reason, timer });
        }
        for (name, delta) in self.staged.counted {
            *outcome.counters.entry(name).or_default() += delta;
        }
        outcome.gauges.extend(self.staged.gauged);
        for (name, values) in self.staged.observed {
            outcome.histograms.entry(name).or_default().extend(values);
        }
    }
}

impl Bench {
    /// Makes a call with this seat; returns it with what was staged.
    pub(crate) fn during<T>(seat: Seat, call: impl FnOnce() -> T) -> (Seat, T) {
        SEAT.set(Some(seat));
        let result = call();
        (SEAT.take().unwrap_or_default(), result)
    }

    fn with<T>(ask: impl FnOnce(&mut Seat) -> T) -> T {
        SEAT.with_borrow_mut(|seat| match seat {
            Some(seat) => ask(seat),
            None => panic!("an operator may ask about a call, and log, only within one"),
        })
    }
}

impl Host for Bench {
    fn enter(_: u32) {}
    fn keys() -> Column {
        Self::with(|seat| {
            let mut column = Column::default();
            seat.keys.iter().for_each(|key| column.push(key.as_deref()));
            column
        })
    }
    fn headers() -> HeaderColumn {
        Self::with(|seat| seat.headers.clone())
    }
    fn watermark_ms() -> Option<i64> {
        Self::with(|seat| seat.clock.0)
    }
    fn now_ms() -> i64 {
        Self::with(|seat| seat.clock.1)
    }
    fn values(state: u32) -> Column {
        Self::with(|seat| seat.values(state))
    }
    fn entries(state: u32, key_rows: &[u32], map_keys: &Column) -> Column {
        Self::with(|seat| seat.entries(state, key_rows, map_keys))
    }
    fn scan(state: u32, key_row: u32, within: Within<'_>, bytes_max: u32) -> EntryPage {
        Self::with(|seat| seat.page((state, Kind::Map), &seat.key(key_row), within, bytes_max))
    }
    fn elements(state: u32, key_row: u32, first: u64, bytes_max: u32) -> ElementPage {
        Self::with(|seat| seat.elements((state, key_row), first, bytes_max))
    }
    fn revision(state: u32) -> u64 {
        Self::with(|seat| seat.state(state, Kind::Broadcast).1.revision)
    }
    fn broadcast_entries(state: u32, map_keys: &Column) -> Column {
        Self::with(|seat| {
            let clock = seat.clock;
            let (state, kept) = seat.state(state, Kind::Broadcast);
            let mut column = Column::default();
            let keys = (0..map_keys.ends.len() as u32).map(|row| map_keys.get(row).unwrap_or_default());
            keys.for_each(|key| column.push(kept.get((state, clock), &[], key)));
            column
        })
    }
    fn broadcast_scan(state: u32, within: Within<'_>, bytes_max: u32) -> EntryPage {
        Self::with(|seat| seat.page((state, Kind::Broadcast), &[], within, bytes_max))
    }
    fn emit(records: Emission<'_>) {
        Self::with(|seat| seat.emit(&records));
    }
    fn put_values(state: u32, key_rows: &[u32], values: &Column) {
        Self::with(|seat| seat.put_values(state, key_rows, values));
    }
    fn put_entries(state: u32, key_rows: &[u32], map_keys: &Column, values: &Column) {
        Self::with(|seat| seat.put_entries(state, key_rows, map_keys, values));
    }
    fn append_elements(state: u32, key_rows: &[u32], elements: &Column) {
        Self::with(|seat| seat.append(state, key_rows, elements));
    }
    fn clear(state: u32, key_rows: &[u32]) {
        Self::with(|seat| seat.clear(state, key_rows));
    }
    fn touch(state: u32, key_rows: &[u32], map_keys: Option<&Column>) {
        Self::with(|seat| seat.touch(state, key_rows, map_keys));
    }
    fn set_timers(timer: u32, key_rows: &[u32], ids: &[u64], times_ms: &[i64]) {
        assert!(key_rows.len() == ids.len() && ids.len() == times_ms.len(), "timers of unequal columns were set");
        let changes = key_rows.iter().zip(ids).zip(times_ms);
        Self::with(|seat| seat.change_timers(timer, changes.map(|((&row, &id), &time_ms)| (row, id, Some(time_ms)))));
    }
    fn cancel_timers(timer: u32, key_rows: &[u32], ids: &[u64]) {
        assert!(key_rows.len() == ids.len(), "timers of unequal columns were cancelled");
        let changes = key_rows.iter().zip(ids);
        Self::with(|seat| seat.change_timers(timer, changes.map(|(&row, &id)| (row, id, None))));
    }
    fn put_broadcast(state: u32, map_keys: &Column, values: &Column) {
        Self::with(|seat| {
            for row in 0..map_keys.ends.len() as u32 {
                let map_key = map_keys.get(row).unwrap_or_default();
                seat.put((state, Kind::Broadcast), &[], map_key, values.get(row));
            }
        });
    }
    fn clear_broadcast(state: u32) {
        Self::with(|seat| seat.state(state, Kind::Broadcast).1.clear(&[]));
    }
    fn mark() -> u32 {
        Self::with(Seat::mark)
    }
    fn undo_to(mark: u32) {
        Self::with(|seat| seat.undo_to(mark));
    }
    fn reject(rows: Vec<(u32, String)>) {
        Self::with(|seat| seat.staged.rejected.extend(rows));
    }
    fn log_enabled(_: Level) -> bool {
        true
    }
    fn log(level: Level, _: Option<u32>, message: &str) {
        Self::with(|seat| seat.log.push((level, message.to_owned())));
    }
    fn count(name: &str, delta: u64) {
        Self::with(|seat| seat.staged.counted.push((name.to_owned(), delta)));
    }
    fn gauge(name: &str, value: f64) {
        Self::with(|seat| seat.staged.gauged.push((name.to_owned(), value)));
    }
    fn observe(name: &str, values: &[f64]) {
        Self::with(|seat| seat.staged.observed.push((name.to_owned(), values.to_vec())));
    }
}
