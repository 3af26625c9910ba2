use super::slots::Slots;

/// Beyond what has to go, this share of the budget is made free as well, so that not every batch has to make room.
const ROOM_SHARE: usize = 64;

/// Slots looked at for each one that has to go, before slots seen of late go too.
const STEPS_PER_SLOT: usize = 4;

/// A map that takes more than this share of the budget is cut down to what the store does not have.
const MAP_SHARE: usize = 64;

impl Slots {
    /// Frees clean slots until at most `bytes` are held, going round the slab as the hand of a clock: at first those that no batch has seen since
    /// the round before began, for some steps; then any, but those of the last batch last.
    pub(super) fn evict(&mut self, bytes: usize) {
        if self.memory_bytes() <= bytes {
            return;
        }
        let target = bytes - bytes / ROOM_SHARE;
        let excess = (self.memory_bytes() - target) / self.slot_bytes() + 1;
        self.sweep(target, excess.saturating_mul(STEPS_PER_SLOT), |slots, batch| batch < slots.rounds.0);
        self.sweep(target, usize::MAX, |slots, batch| batch < slots.batch);
        self.sweep(target, usize::MAX, |_, _| true);
        if self.free.len() > self.slot_count / 2 {
            self.compact();
        }
    }

    /// Moves the slots at the end of the slab into free ones and gives the end back. What is done here was paid for by as many slots freed before.
    fn compact(&mut self) {
        let mut holes = std::mem::take(&mut self.free);
        holes.sort_unstable_by(|a, b| b.cmp(a));
        // By `from`, descending.
        let mut moved = Vec::new();
        for from in (0..self.slot_count as u32).rev() {
            if self.key(from).is_none() {
                continue;
            }
            let Some(to) = holes.pop().filter(|&to| to < from) else {
                break;
            };
            self.move_slot(from, to);
            moved.push((from, to));
        }
        self.truncate(self.index.len());
        for at in &mut self.dirty {
            let found = moved.binary_search_by(|(from, _)| (*at).cmp(from)).ok();
            if let Some(&(_, to)) = found.and_then(|found| moved.get(found)) {
                *at = to;
            }
        }
        self.hand = 0;
    }

    fn sweep(&mut self, target: usize, steps_max: usize, may_go: impl Fn(&Self, u32) -> bool) {
        let mut steps = steps_max.min(self.slot_count);
        while steps > 0 && self.memory_bytes() > target {
            steps -= 1;
            let at = self.hand as u32;
            self.hand += 1;
            if self.hand >= self.slot_count {
                self.hand = 0;
                self.rounds = (self.rounds.1, self.batch);
            }
            let Some(slot) = self.slot(at) else {
                continue;
            };
            let (in_store, is_free) = (slot.dirty == 0 && slot.changed <= self.applied, slot.key.is_unknown());
            if in_store && !is_free && may_go(self, slot.batch) {
                self.free_slot(at);
            } else if !is_free {
                // A key that stays may have a map of which only little changed.
                self.trim_maps(at, target / MAP_SHARE);
            }
        }
    }
}
