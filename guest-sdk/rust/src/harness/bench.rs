//! The host's side of a call: answers what the operator asks and keeps what it stages.

use super::{Emitted, Message, Rejected, run::Outcome};
use crate::{
    Level,
    column::{Column, HeaderColumn},
    descriptor::Descriptor,
    host::{Emission, Host},
};
use std::{cell::RefCell, collections::BTreeMap};

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
    /// Per state: values by key row.
    states: Vec<Column>,
    clock: (Option<i64>, i64),
    staged: Staged,
}

#[derive(Debug, Default)]
struct Staged {
    emitted: Vec<(u32, u32, Emitted)>,
    written: Vec<(u32, u32, Option<Vec<u8>>)>,
    rejected: Vec<(u32, String)>,
    counted: Vec<(String, u64)>,
    gauged: Vec<(String, f64)>,
    observed: Vec<(String, Vec<f64>)>,
}

impl Seat {
    pub(crate) fn new(
        descriptor: &Descriptor,
        states: &[BTreeMap<Vec<u8>, Vec<u8>>],
        batch: &[(usize, &Message)],
        clock: (Option<i64>, i64),
    ) -> Self {
        let mut seat = Self { clock, ..Self::default() };
        let keyed = !descriptor.states.is_empty();
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
        for state in states {
            let mut column = Column::default();
            for key in &seat.keys {
                let stored = key.as_ref().and_then(|key| state.get(key));
                column.push(stored.map(Vec::as_slice));
            }
            seat.states.push(column);
        }
        seat
    }

    fn emit(&mut self, records: &Emission<'_>) {
        let Emission { parents, .. } = records;
        assert!(parents.is_sorted(), "parents descend: {parents:?}");
        let fits = |column: &Column| column.has_rows(parents.len());
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

    fn put_values(&mut self, state: u32, key_rows: &[u32], values: &Column) {
        assert!(values.has_rows(key_rows.len()), "a column of another length was staged");
        for (row, &key_row) in key_rows.iter().enumerate() {
            assert!(self.keys.len() > key_row as usize, "a key row that does not exist was staged");
            let value = values.get(row as u32).map(<[u8]>::to_vec);
            self.staged.written.push((state, key_row, value));
        }
    }

    /// Applies all that was staged.
    pub(crate) fn apply(self, outcome: &mut Outcome) {
        for (row, _) in &self.staged.rejected {
            let left = self.staged.emitted.iter().any(|(_, parent, _)| parent == row);
            assert!(!left, "a rejected record left an output");
        }
        for (port, _, emitted) in self.staged.emitted {
            if let Some(output) = outcome.outputs.get_mut(port as usize) {
                output.push(emitted);
            }
        }
        for (state, key_row, value) in self.staged.written {
            let key = self.keys.get(key_row as usize).cloned().flatten();
            let Some((values, key)) = outcome.states.get_mut(state as usize).zip(key) else {
                continue;
            };
            if let Some(versions) = outcome.versions.get_mut(state as usize) {
                versions.remove(&key);
            }
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.remove(&key)),
            }
        }
        for (row, reason) in self.staged.rejected {
            let position = self.positions.get(row as usize).copied().unwrap_or_default();
            let value = self.values.get(row).map(<[u8]>::to_vec);
            outcome.rejected.push(Rejected { position, value, reason });
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
        Self::with(|seat| {
            assert!(seat.staged.written.is_empty(), "the SDK reads a state once, before it stages");
            seat.states.get(state as usize).cloned().unwrap_or_default()
        })
    }
    fn emit(records: Emission<'_>) {
        Self::with(|seat| seat.emit(&records));
    }
    fn put_values(state: u32, key_rows: &[u32], values: &Column) {
        Self::with(|seat| seat.put_values(state, key_rows, values));
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
