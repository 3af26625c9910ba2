//! The operator's own metrics. They are effects: what a rejected record counted is taken back.

use crate::{
    host::{Host, Platform},
    setup::MetricNames,
};

/// A counter, declared by [`Setup::counter`](crate::Setup::counter).
#[derive(Debug, Clone, Copy)]
pub struct Counter(pub(crate) usize);

/// A gauge, declared by [`Setup::gauge`](crate::Setup::gauge).
#[derive(Debug, Clone, Copy)]
pub struct Gauge(pub(crate) usize);

/// A histogram, declared by [`Setup::histogram`](crate::Setup::histogram).
#[derive(Debug, Clone, Copy)]
pub struct Histogram(pub(crate) usize);

/// How a metric was before the record in hand touched it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before {
    Counted(usize, u64),
    Gauged(usize, Option<f64>),
    Observed(usize, usize),
}

/// The metrics of a call, staged once at its end.
#[derive(Debug, Default)]
pub(crate) struct MetricBuffers {
    names: MetricNames,
    counted: Vec<u64>,
    gauged: Vec<Option<f64>>,
    observed: Vec<Vec<f64>>,
    undo: Vec<Before>,
}

impl MetricBuffers {
    pub(crate) fn new(names: MetricNames) -> Self {
        Self {
            counted: vec![0; names.counters.len()],
            gauged: vec![None; names.gauges.len()],
            observed: vec![Vec::new(); names.histograms.len()],
            undo: Vec::new(),
            names,
        }
    }

    pub(crate) fn count(&mut self, Counter(index): Counter, delta: u64) {
        if let Some(total) = self.counted.get_mut(index) {
            self.undo.push(Before::Counted(index, *total));
            *total = total.saturating_add(delta);
        }
    }

    pub(crate) fn gauge(&mut self, Gauge(index): Gauge, value: f64) {
        if let Some(last) = self.gauged.get_mut(index) {
            self.undo.push(Before::Gauged(index, last.replace(value)));
        }
    }

    pub(crate) fn observe(&mut self, Histogram(index): Histogram, value: f64) {
        if let Some(values) = self.observed.get_mut(index) {
            self.undo.push(Before::Observed(index, values.len()));
            values.push(value);
        }
    }

    /// The record in hand is done: what it did stays.
    pub(crate) fn keep_record(&mut self) {
        self.undo.clear();
    }

    /// The record in hand is refused: what it did goes.
    pub(crate) fn undo_record(&mut self) {
        for before in self.undo.drain(..).rev() {
            match before {
                Before::Counted(index, total) => self.counted.get_mut(index).into_iter().for_each(|now| *now = total),
                Before::Gauged(index, last) => self.gauged.get_mut(index).into_iter().for_each(|now| *now = last),
                Before::Observed(index, length) => {
                    self.observed.get_mut(index).into_iter().for_each(|values| values.truncate(length))
                }
            }
        }
    }

    pub(crate) fn stage(&mut self) {
        for (name, total) in self.names.counters.iter().zip(&mut self.counted) {
            match std::mem::take(total) {
                0 => {}
                total => Platform::count(name, total),
            }
        }
        for (name, last) in self.names.gauges.iter().zip(&mut self.gauged) {
            if let Some(value) = last.take() {
                Platform::gauge(name, value);
            }
        }
        for (name, values) in self.names.histograms.iter().zip(&mut self.observed) {
            if !values.is_empty() {
                Platform::observe(name, values);
                values.clear();
            }
        }
    }

    /// Forgets a call that came to no end.
    pub(crate) fn clear(&mut self) {
        self.undo.clear();
        self.counted.fill(0);
        self.gauged.fill(None);
        self.observed.iter_mut().for_each(Vec::clear);
    }
}
