//! The operator's own metrics: effects like any other. What a call measured counts with the epoch it belongs to, once, or not at all.

use super::{Fault, Metric};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// A metric of the operator's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnMetric {
    /// Only rises.
    Counter(u64),
    /// Goes up and down.
    Gauge(f64),
    /// Observations.
    Histogram {
        /// How many.
        count: u64,
        /// Their sum.
        sum: f64,
    },
}

/// What a metric can be; for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    fn name(&self) -> &str {
        let (Self::Count(name, _) | Self::Gauge(name, _) | Self::Observe(name, _)) = self;
        name
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Count(..) => Kind::Counter,
            Self::Gauge(..) => Kind::Gauge,
            Self::Observe(..) => Kind::Histogram,
        }
    }

    fn measured(&self) -> OwnMetric {
        match self {
            Self::Count(_, delta) => OwnMetric::Counter(*delta),
            Self::Gauge(_, value) => OwnMetric::Gauge(*value),
            Self::Observe(_, values) => {
                OwnMetric::Histogram { count: values.len() as u64, sum: values.iter().sum::<f64>() }
            }
        }
    }
}

impl OwnMetric {
    /// Takes over what was measured later. Of another kind it cannot be: names keep theirs.
    fn add(&mut self, later: &Self) {
        match (self, later) {
            (Self::Counter(sum), Self::Counter(delta)) => *sum = sum.saturating_add(*delta),
            (Self::Histogram { count, sum }, Self::Histogram { count: more, sum: of_more }) => {
                *count += more;
                *sum += of_more;
            }
            (own, later) => own.clone_from(later),
        }
    }
}

/// What was measured and is not yet committed, added up.
#[derive(Debug, Default)]
pub struct Measured(BTreeMap<String, OwnMetric>);

impl Measured {
    fn add(&mut self, name: &str, later: &OwnMetric) {
        match self.0.get_mut(name) {
            Some(known) => known.add(later),
            None => drop(self.0.insert(name.to_owned(), later.clone())),
        }
    }

    /// Takes over what was measured later.
    pub fn append(&mut self, later: Self) {
        later.0.iter().for_each(|(name, metric)| self.add(name, metric));
    }
}

/// All of an operator's own metrics, shared by its tasks: names with their kinds for good, and the values of committed epochs.
#[derive(Debug, Default)]
pub struct OwnMetrics {
    kinds: Mutex<BTreeMap<String, Kind>>,
    values: Mutex<Measured>,
}

impl OwnMetrics {
    /// Counts what an epoch measured that is committed.
    pub fn publish(&self, measured: Measured) {
        if !measured.0.is_empty() {
            self.values.lock().unwrap_or_else(PoisonError::into_inner).append(measured);
        }
    }

    /// Values, by name.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, OwnMetric> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Gives a name its kind, and tells the one it has had before if that is another.
    fn settle(&self, name: &str, kind: Kind) -> Option<Kind> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.get(name) {
            Some(known) => Some(*known).filter(|known| *known != kind),
            None => {
                kinds.insert(name.to_owned(), kind);
                None
            }
        }
    }

    fn look(&self, name: &str) -> (Option<Kind>, usize) {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        (kinds.get(name).copied(), kinds.len())
    }
}

/// A task's view of the names.
#[derive(Debug, Default)]
pub struct MetricNames {
    /// Names that have their kind for good, as far as this task has met them.
    settled: BTreeMap<String, Kind>,
    /// Names that only the call in hand has used.
    fresh: BTreeMap<String, Kind>,
}

impl MetricNames {
    pub(super) fn begin(&mut self) {
        self.fresh.clear();
    }

    /// Checks a measurement that is about to be staged.
    pub(super) fn check(&mut self, own: &OwnMetrics, names_max: u32, metric: &Metric) -> Result<(), Fault> {
        let (name, kind) = (metric.name(), metric.kind());
        let known = match self.settled.get(name).or_else(|| self.fresh.get(name)) {
            Some(known) => *known,
            None => {
                check_name(name)?;
                let (known, names) = own.look(name);
                if known.is_none() && names + self.fresh.len() >= names_max as usize {
                    let reason = format!("`{name}` would be one name of a metric more than the {names_max} allowed");
                    return Err(Fault::Limit { limit: "metrics", reason });
                }
                let names = if known.is_some() { &mut self.settled } else { &mut self.fresh };
                *names.entry(name.to_owned()).or_insert(known.unwrap_or(kind))
            }
        };
        if known != kind {
            let reason = format!("the metric `{name}` is a {} and was used as a {}", known.name(), kind.name());
            return Err(Fault::Misuse(reason));
        }
        Ok(())
    }

    /// Adds what a call that succeeded has staged.
    pub(super) fn apply(&mut self, own: &Arc<OwnMetrics>, staged: &[Metric], measured: &mut Measured) {
        for metric in staged {
            let (name, kind) = (metric.name(), metric.kind());
            if !self.settled.contains_key(name) {
                if let Some(other) = own.settle(name, kind) {
                    // Two workers used a new name as two kinds at once: the first one has it, and the next such call traps.
                    tracing::warn!(name, "left out: used as a {} and, elsewhere, as a {}", kind.name(), other.name());
                    continue;
                }
                self.settled.insert(name.to_owned(), kind);
            }
            measured.add(name, &metric.measured());
        }
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let mut letters = name.bytes();
    let is_good = name.len() <= NAME_BYTES_MAX
        && letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_good {
        return Ok(());
    }
    let shown = name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default();
    Err(Fault::Misuse(format!(
        "`{shown}` ({} bytes) is no name of a metric: [a-z][a-z0-9_]*, at most {NAME_BYTES_MAX} characters",
        name.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, delta: u64) -> Metric {
        Metric::Count(name.to_owned(), delta)
    }

    #[test]
    fn a_name_keeps_its_kind_in_every_task_of_the_operator() {
        let own = Arc::new(OwnMetrics::default());
        let (mut one, mut other) = (MetricNames::default(), MetricNames::default());
        assert_eq!(one.check(&own, 10, &count("seen", 1)), Ok(()));
        one.apply(&own, &[count("seen", 1)], &mut Measured::default());
        let gauge = Metric::Gauge("seen".to_owned(), 1.0);
        for names in [&mut one, &mut other] {
            names.begin();
            let fault = names.check(&own, 10, &gauge);
            assert_eq!(fault, Err(Fault::Misuse("the metric `seen` is a counter and was used as a gauge".to_owned())));
            assert_eq!(names.check(&own, 10, &count("seen", 1)), Ok(()));
        }
    }

    #[test]
    fn names_of_calls_that_failed_do_not_count_against_the_limit() {
        let own = Arc::new(OwnMetrics::default());
        let mut names = MetricNames::default();
        for call in 0..5 {
            names.begin();
            for number in 0..2 {
                assert_eq!(names.check(&own, 2, &count(&format!("x{call}_{number}"), 1)), Ok(()));
            }
            let beyond = names.check(&own, 2, &count("one_more", 1));
            assert!(matches!(beyond, Err(Fault::Limit { limit: "metrics", .. })), "{beyond:?}");
        }
        names.apply(&own, &[count("a", 1), count("b", 1)], &mut Measured::default());
        names.begin();
        assert_eq!(names.check(&own, 2, &count("a", 1)), Ok(()));
        assert!(names.check(&own, 2, &count("c", 1)).is_err());
    }

    #[test]
    fn a_name_two_workers_gave_two_kinds_at_once_stays_with_the_first() {
        let own = Arc::new(OwnMetrics::default());
        let (mut one, mut other) = (MetricNames::default(), MetricNames::default());
        let gauge = Metric::Gauge("x".to_owned(), 2.0);
        assert_eq!((one.check(&own, 9, &count("x", 1)), other.check(&own, 9, &gauge)), (Ok(()), Ok(())));
        let mut measured = Measured::default();
        one.apply(&own, &[count("x", 1)], &mut measured);
        other.apply(&own, &[gauge], &mut measured);
        own.publish(measured);
        assert_eq!(own.values(), BTreeMap::from([("x".to_owned(), OwnMetric::Counter(1))]));
    }

    #[test]
    fn a_long_name_is_refused_and_not_cut() {
        let own = Arc::new(OwnMetrics::default());
        let mut names = MetricNames::default();
        assert_eq!(names.check(&own, 9, &count(&"a".repeat(63), 1)), Ok(()));
        let fault = names.check(&own, 9, &count(&"a".repeat(64), 1));
        assert!(matches!(&fault, Err(Fault::Misuse(reason)) if reason.contains("(64 bytes)")), "{fault:?}");
    }

    #[test]
    fn measurements_add_up_by_kind() {
        let own = Arc::new(OwnMetrics::default());
        let mut names = MetricNames::default();
        let staged = [
            count("n", 2),
            Metric::Gauge("g".to_owned(), 1.0),
            Metric::Observe("h".to_owned(), vec![1.0, 2.0]),
            count("n", 3),
            Metric::Gauge("g".to_owned(), 4.0),
            Metric::Observe("h".to_owned(), vec![3.0]),
        ];
        for _ in 0..2 {
            let mut measured = Measured::default();
            names.apply(&own, &staged, &mut measured);
            own.publish(measured);
        }
        let expected = [
            ("g".to_owned(), OwnMetric::Gauge(4.0)),
            ("h".to_owned(), OwnMetric::Histogram { count: 6, sum: 12.0 }),
            ("n".to_owned(), OwnMetric::Counter(10)),
        ];
        assert_eq!(own.values(), BTreeMap::from(expected));
    }
}
