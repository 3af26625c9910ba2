//! What the workers' sweeps come to: which versions no value has any more, and what people are shown.

use super::MigrationStatus;
use super::plan::OlderVersions;
use millstream_model::descriptor::StateDescriptor;
use millstream_model::ids::{Generation, OperatorIndex};
use millstream_model::plan::{OperatorNode, Plan};
use std::collections::BTreeMap;

/// Those of the versions that may lie about which the operator migrates.
#[must_use]
pub fn to_migrate(state: &StateDescriptor, older: &[u32]) -> Vec<u32> {
    older
        .iter()
        .copied()
        .filter(|version| *version != state.version && state.migrates_versions.contains(version))
        .collect()
}

/// How far one worker has come with the state of one operator, as of a cut: everything counted is in this epoch or in those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepPart {
    /// The operator's position in the plan.
    pub operator: OperatorIndex,
    /// The generation that sweeps.
    pub generation: Generation,
    /// Parts of the state gone through, of how many: one for each key group and state.
    pub places_done: u32,
    /// All of them.
    pub places: u32,
    /// Cells looked at.
    pub cells_seen: u64,
    /// Cells migrated.
    pub cells_migrated: u64,
    /// Cells that stay as they are, as `migrate` has refused them: by state and version; for each version that is swept there is an entry.
    pub cells_left: BTreeMap<(u32, u32), u64>,
}

impl SweepPart {
    /// Whether the worker has gone through all it owns.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.places_done == self.places
    }
}

/// The sweeps of one operator that belong to its generation in the plan; `None` if there are none.
fn of_operator<'a>(at: usize, node: &OperatorNode, workers: &'a [Vec<SweepPart>]) -> Option<Vec<&'a SweepPart>> {
    let of = |part: &&SweepPart| part.operator.at() == at && part.generation == node.generation;
    let parts: Vec<&SweepPart> = workers.iter().flatten().filter(of).collect();
    (!parts.is_empty()).then_some(parts)
}

/// Takes out of `older` what no value is of once the epoch is committed in which the workers, each of which has one entry in `workers`, came that far.
pub fn finish(plan: &Plan, workers: &[Vec<SweepPart>], older: &mut BTreeMap<String, OlderVersions>) {
    for (at, node) in plan.operators.iter().enumerate() {
        let Some(parts) = of_operator(at, node, workers) else { continue };
        if parts.len() < workers.len() || !parts.iter().all(|part| part.is_done()) {
            continue;
        }
        let mut left: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for (&of, cells) in parts.iter().flat_map(|part| &part.cells_left) {
            *left.entry(of).or_default() += cells;
        }
        for ((state, version), _) in left.into_iter().filter(|(_, cells)| *cells == 0) {
            if let Some(state) = node.descriptor.states.get(state as usize) {
                after_sweep(older, &node.id, &state.name, version);
            }
        }
    }
}

fn after_sweep(older: &mut BTreeMap<String, OlderVersions>, operator: &str, state: &str, version: u32) {
    let Some(states) = older.get_mut(operator) else { return };
    if let Some(versions) = states.get_mut(state) {
        versions.retain(|&other| other != version);
    }
    states.retain(|_, versions| !versions.is_empty());
    older.retain(|_, states| !states.is_empty());
}

/// What people are shown of an operator's sweep; `None`: there is none.
#[must_use]
pub fn status(plan: &Plan, at: usize, workers: &[Vec<SweepPart>]) -> Option<MigrationStatus> {
    let parts = of_operator(at, plan.operators.get(at)?, workers)?;
    let sum = |of: fn(&SweepPart) -> u64| parts.iter().map(|part| of(part)).sum::<u64>();
    let (done, places_done) = (sum(|part| part.cells_seen), sum(|part| part.places_done.into()));
    let total = u128::from(done) * u128::from(sum(|part| part.places.into()));
    let total = total.checked_div(u128::from(places_done)).and_then(|cells| u64::try_from(cells).ok());
    let (migrated, refused) = (sum(|part| part.cells_migrated), sum(|part| part.cells_left.values().sum()));
    Some(MigrationStatus { done, total, migrated, refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_model::descriptor::{Descriptor, StateDescriptor, StateKind};
    use millstream_model::limits::BatchLimits;

    fn plan() -> Plan {
        let state = |name: &str| StateDescriptor {
            version: 3,
            migrates_versions: vec![1, 2],
            ..StateDescriptor::new(name, StateKind::Value)
        };
        let descriptor = Descriptor { states: vec![state("seen"), state("last")], ..Descriptor::default() };
        let node = OperatorNode {
            id: "count".to_owned(),
            config: "{}".to_owned(),
            name: "count".to_owned(),
            digest: Default::default(),
            generation: Generation(2),
            descriptor,
            keyed: true,
            stage: 1,
            outputs: Vec::new(),
            limits: Default::default(),
            on_error: Default::default(),
            retries: 0,
            null_key: Default::default(),
            output_time: None,
            windows: None,
            late: Vec::new(),
        };
        Plan {
            id: "test".to_owned(),
            sources: Vec::new(),
            operators: vec![node],
            sinks: Vec::new(),
            dead_letters: None,
            workers: 2,
            batch: BatchLimits::default(),
            commit: Default::default(),
            checkpoint_interval_ms: None,
            state_memory_bytes: 0,
        }
    }

    /// A worker's part with so many of four places done.
    fn part(places_done: u32, left: &[((u32, u32), u64)]) -> SweepPart {
        SweepPart {
            operator: OperatorIndex(0),
            generation: Generation(2),
            places_done,
            places: 4,
            cells_seen: u64::from(places_done) * 10,
            cells_migrated: u64::from(places_done),
            cells_left: left.iter().copied().collect(),
        }
    }

    fn older() -> BTreeMap<String, OlderVersions> {
        [("count".to_owned(), [("seen".to_owned(), vec![1, 2]), ("last".to_owned(), vec![1])].into())].into()
    }

    fn finished(workers: &[Vec<SweepPart>]) -> BTreeMap<String, OlderVersions> {
        let mut older = older();
        finish(&plan(), workers, &mut older);
        older
    }

    #[test]
    fn a_version_is_gone_when_all_workers_have_gone_through_and_nobody_left_a_cell_of_it() {
        let left = [((0, 1), 0), ((0, 2), 0), ((1, 1), 0)];
        assert_eq!(finished(&[vec![part(4, &left)], vec![part(3, &left)]]), older());
        assert_eq!(finished(&[vec![part(4, &left)], vec![]]), older());
        assert_eq!(finished(&[vec![part(4, &left)], vec![part(4, &left)]]), BTreeMap::new());
        let refused = [((0, 1), 0), ((0, 2), 5), ((1, 1), 0)];
        let rest = finished(&[vec![part(4, &left)], vec![part(4, &refused)]]);
        assert_eq!(rest, [("count".to_owned(), [("seen".to_owned(), vec![2])].into())].into());
    }

    #[test]
    fn what_an_earlier_generation_swept_means_nothing() {
        let left = [((0, 1), 0)];
        let before = SweepPart { generation: Generation(1), ..part(4, &left) };
        assert_eq!(finished(&[vec![part(4, &left)], vec![before.clone()]]), older());
        assert_eq!(status(&plan(), 0, &[vec![before]]), None);
    }

    #[test]
    fn the_number_of_cells_is_estimated_from_those_seen() {
        let left = [((0, 1), 3)];
        let of = |done: [u32; 2]| status(&plan(), 0, &done.map(|done| vec![part(done, &left)]));
        let expected = |done, total, migrated| Some(MigrationStatus { done, total, migrated, refused: 6 });
        assert_eq!(of([0, 0]), expected(0, None, 0));
        assert_eq!(of([1, 3]), expected(40, Some(80), 4));
        assert_eq!(of([4, 4]), expected(80, Some(80), 8));
    }

    #[test]
    fn what_is_read_as_it_is_is_not_migrated() {
        let plan = plan();
        let state = plan.operators.first().and_then(|node| node.descriptor.states.first());
        assert_eq!(state.map(|state| to_migrate(state, &[0, 1, 2, 3])), Some(vec![1, 2]));
    }
}
