//! The background migration of a task's state: a walk through the store, slice by slice, for what no record has touched.
//!
//! What a slice migrates is a change of the open epoch like any other, so how far the walk has come belongs to an epoch, too: an epoch that is lost takes both back. A walk that begins anew
//! passes over what is migrated at the speed of a scan.

use super::Task;
use crate::keyed::StateColumn;
use crate::ports::CallError;
use crate::swap::plan::OlderVersions;
use crate::swap::sweep::SweepPart;
use millstream_model::ids::OperatorIndex;
use millstream_model::key_group::{KEY_GROUPS, KeyGroup};
use std::collections::BTreeMap;

/// Cells that a slice looks at: some milliseconds.
const SLICE_CELLS: u64 = 1_024;

/// Bytes of migrated cells, the slots that hold them included, that a sweep adds to an epoch: they are produced, written and held until the commit. A slice is made in every
/// epoch.
const EPOCH_BYTES_MAX: usize = 8 << 20;

/// What a migrated cell costs beside its key and value, nearly, in bytes.
const CELL_BYTES: usize = 100;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// States and key groups to go through.
    places: Vec<(u32, KeyGroup)>,
    now: Position,
    /// As of the last cut, which is being committed.
    cut: Position,
    /// As of the last commit.
    committed: Position,
    /// Bytes migrated in the open epoch.
    epoch_bytes: usize,
}

/// How far a sweep has come.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Position {
    place: usize,
    /// The cell to go on behind.
    after: Option<Vec<u8>>,
    cells_seen: u64,
    cells_migrated: u64,
    /// By state and version.
    cells_left: BTreeMap<(u32, u32), u64>,
}

impl Sweep {
    /// A sweep of the states that have versions to migrate, over the key groups of one of `workers` workers.
    fn new(states: &[StateColumn], versions: impl Fn(u32) -> Vec<u32>, worker: usize, workers: usize) -> Self {
        let groups = (0..KEY_GROUPS as u8).map(KeyGroup);
        let own: Vec<_> = groups.filter(|group| group.part_of(workers as u32) as usize == worker).collect();
        let mut sweep = Self::default();
        for state in 0..states.len() as u32 {
            let versions = versions(state);
            if !versions.is_empty() {
                sweep.places.extend(own.iter().map(|&group| (state, group)));
                sweep.now.cells_left.extend(versions.into_iter().map(|version| ((state, version), 0)));
            }
        }
        sweep.cut.clone_from(&sweep.now);
        sweep.committed.clone_from(&sweep.now);
        sweep
    }

    /// Whether there is something to do in this epoch.
    fn is_due(&self) -> bool {
        self.now.place < self.places.len() && self.epoch_bytes < EPOCH_BYTES_MAX
    }

    fn went_on(&mut self, after: Option<Vec<u8>>) {
        self.now.place += usize::from(after.is_none());
        self.now.after = after;
    }

    fn end_epoch(&mut self) {
        self.cut.clone_from(&self.now);
        self.epoch_bytes = 0;
    }

    fn applied(&mut self) {
        self.committed.clone_from(&self.cut);
    }

    fn drop_epochs(&mut self) {
        self.now.clone_from(&self.committed);
        self.cut.clone_from(&self.committed);
        self.epoch_bytes = 0;
    }
}

impl Task {
    /// Begins to migrate in the background what older versions wrote in the key groups of one of `workers` workers, if there is such and it has not begun.
    pub fn start_sweep(&mut self, worker: usize, workers: usize) {
        let Some(call) = self.call.as_ref().filter(|call| call.state.is_migrating()) else { return };
        if self.sweep.is_none() {
            let versions = |state| call.state.versions_to_migrate(state).to_vec();
            self.sweep = Some(Sweep::new(call.state.states(), versions, worker, workers));
        }
    }

    /// Whether values of older versions may lie in the store that have to be migrated.
    #[must_use]
    pub fn is_migrating(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.state.is_migrating())
    }

    /// Whether a slice of the sweep may be made in this epoch.
    #[must_use]
    pub fn has_slice(&self) -> bool {
        self.sweep.as_ref().is_some_and(Sweep::is_due)
    }

    /// Migrates a slice of what no record has touched.
    ///
    /// # Errors
    /// When the store cannot be read, or the operator must not go on.
    pub fn sweep(&mut self) -> Result<(), CallError> {
        let (Some(mut call), Some(mut sweep)) = (self.call.take(), self.sweep.take()) else { return Ok(()) };
        let swept = self.sweep_places(&mut call, &mut sweep);
        self.call = Some(call);
        self.sweep = Some(sweep);
        swept
    }

    fn sweep_places(&mut self, call: &mut crate::call::Call, sweep: &mut Sweep) -> Result<(), CallError> {
        let mut cells_left = SLICE_CELLS;
        while let Some(&(state, group)) = sweep.places.get(sweep.now.place).filter(|_| cells_left > 0) {
            let slice = call.state.stale_cells((state, group), sweep.now.after.as_deref(), cells_left)?;
            for stale in &slice.stale {
                let before = self.migrated;
                self.migrate(call, stale, |_, _| {})?;
                let refused = self.migrated.refused - before.refused;
                *sweep.now.cells_left.entry((state, stale.from_version)).or_default() += refused;
                sweep.now.cells_migrated += self.migrated.values - before.values;
                sweep.epoch_bytes += stale.bytes_len() + stale.len() * CELL_BYTES;
            }
            for (version, cells) in slice.refused {
                *sweep.now.cells_left.entry((state, version)).or_default() += cells;
            }
            sweep.now.cells_seen += slice.seen;
            // An empty place costs a look, too.
            cells_left = cells_left.saturating_sub(slice.seen.max(1));
            sweep.went_on(slice.after);
        }
        Ok(())
    }

    /// How far the sweep is, to be told with the part of an epoch that was just ended.
    #[must_use]
    pub fn sweep_part(&self, operator: OperatorIndex) -> Option<SweepPart> {
        let Sweep { places, cut, .. } = self.sweep.as_ref()?;
        Some(SweepPart {
            operator,
            generation: self.parts.node.generation,
            places_done: cut.place as u32,
            places: places.len() as u32,
            cells_seen: cut.cells_seen,
            cells_migrated: cut.cells_migrated,
            cells_left: cut.cells_left.clone(),
        })
    }

    /// Takes over what a commit of this task's generation says of versions that lie about; a sweep that has nothing to migrate any more is over.
    pub fn set_older_versions(&mut self, older: &OlderVersions) {
        let Some(call) = &mut self.call else { return };
        call.state.set_older_versions(older);
        if !call.state.is_migrating() {
            self.sweep = None;
        }
    }

    pub(super) fn sweep_ends_epoch(&mut self) {
        if let Some(sweep) = &mut self.sweep {
            sweep.end_epoch();
        }
    }

    pub(super) fn sweep_applied(&mut self) {
        if let Some(sweep) = &mut self.sweep {
            sweep.applied();
        }
    }

    pub(super) fn sweep_drops_epochs(&mut self) {
        if let Some(sweep) = &mut self.sweep {
            sweep.drop_epochs();
        }
    }
}
