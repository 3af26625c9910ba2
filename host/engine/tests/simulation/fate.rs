//! What befalls processes and directories, and whether a process was right to stop.

use crate::process::Process;
use crate::world::{TIMEOUT_MS, World};
use millstream_engine::commit::Stop;
use millstream_engine::fakes::Life;
use std::sync::PoisonError;

impl World {
    /// What may befall a directory while no process has it.
    pub(crate) fn between_runs(&self, slot: usize) {
        let (Some(disk), Some(copy)) = (self.disks.get(slot), self.copies.get(slot)) else { return };
        if self.cluster.is_none() || !self.has_commit() || self.lock().is_calm {
            return;
        }
        let mut copy = copy.lock().unwrap_or_else(PoisonError::into_inner);
        match self.chance(|chance| chance.below(20)) {
            0 => {
                disk.wipe();
                self.note("wiped");
            }
            1 | 2 => *copy = Some(disk.copy()),
            3 | 4 => {
                if let Some(copy) = copy.as_ref() {
                    disk.replace(copy);
                    self.note("replaced by an old copy");
                }
            }
            5 => {
                self.clock.advance(13 * 3_600 * 1_000);
                self.note("aged");
            }
            _ => {}
        }
    }

    pub(crate) fn live(&self, slot: usize) -> Life {
        let life = Life::default();
        self.plan_fate(slot, &life);
        life
    }

    /// Decides whether the process dies soon, or stands still while others act.
    pub(crate) fn plan_fate(&self, slot: usize, life: &Life) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.is_calm {
            return;
        }
        if state.chance.happens(self.scenario.deaths) {
            life.ends_in(1 + state.chance.below(40));
        }
        if state.chance.happens(self.scenario.pauses) {
            let (step, acts) = (1 + state.chance.below(40), state.chance.below(6));
            let this = self.this.clone();
            life.pauses_in(step, move || {
                if let Some(world) = this.upgrade() {
                    world.stand_still(slot, acts);
                }
            });
        }
    }

    fn stand_still(&self, slot: usize, acts: u64) {
        self.note("stood still");
        if self.chance(|chance| chance.happens(400)) {
            self.clock.advance(self.chance(|chance| chance.below(2 * TIMEOUT_MS)));
        }
        if self.scenario.has_rival {
            (0..acts).for_each(|_| self.act(1 - slot));
        }
    }

    pub(crate) fn die(&self, slot: usize) {
        self.note("deaths");
        if self.chance(|chance| chance.happens(400)) {
            self.note("lost power");
            let mut guard = self.lock();
            if let Some(disk) = self.disks.get(slot) {
                disk.lose_power(&mut guard.chance);
            }
            self.files.iter().for_each(|file| file.lose_power(&mut guard.chance));
        }
    }

    /// Whether a process was right to stop.
    pub(crate) fn judge(&self, stop: &Stop, process: Option<&Process>) {
        let is_calm = self.lock().is_calm;
        match stop {
            Stop::Fenced { by } => {
                self.note("fenced");
                let own = process.and_then(|process| process.committer.applied());
                let is_younger = own.is_none_or(|own| by.incarnation >= own.token.incarnation);
                if !self.scenario.has_rival || !is_younger {
                    self.violate(format!("fenced by nobody: {stop}"));
                }
            }
            Stop::Torn { .. } if self.scenario.has_ghosts() => {
                self.note("torn");
                self.lock().is_torn = true;
            }
            Stop::Log(_) | Stop::ResolvesExhausted { .. } if !is_calm => self.note("stopped by the log"),
            stop => self.violate(format!("stopped without need: {stop}")),
        }
    }
}
