//! Tells where two runs differ.

use super::run::Outcome;
use std::fmt::Debug;

/// The first difference, as "x is … but …", if there is one.
pub(crate) fn compare(ports: &[&str], single: &Outcome, other: &Outcome) -> Option<String> {
    if single.stopped.is_some() || other.stopped.is_some() {
        return one("the reason to stop", &single.stopped, &other.stopped);
    }
    let mut outputs = ports.iter().zip(single.outputs.iter().zip(&other.outputs));
    outputs
        .find_map(|(port, (single, other))| sequence(&format!("output {port:?}"), single, other))
        .or_else(|| sequence("the rejected records", &single.rejected, &other.rejected))
        .or_else(|| one("the state", &single.states, &other.states))
        .or_else(|| one("the timers", &single.timers, &other.timers))
        .or_else(|| one("the counters", &single.counters, &other.counters))
        .or_else(|| one("the gauges", &single.gauges, &other.gauges))
        .or_else(|| one("the histograms", &single.histograms, &other.histograms))
}

fn one<T: PartialEq + Debug>(what: &str, single: &T, other: &T) -> Option<String> {
    (single != other).then(|| format!("{what} is\n  {single:?}\nbut\n  {other:?}\n"))
}

fn sequence<T: PartialEq + Debug>(what: &str, single: &[T], other: &[T]) -> Option<String> {
    let longest = single.len().max(other.len());
    let position = (0..longest).find(|&position| single.get(position) != other.get(position))?;
    let show = |entries: &[T]| match entries.get(position) {
        Some(entry) => format!("{entry:?}"),
        None => "nothing more".to_owned(),
    };
    Some(format!("{what} at position {position} is\n  {}\nbut\n  {}\n", show(single), show(other)))
}
