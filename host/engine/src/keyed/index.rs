/// Where a key's slot is: open addressing with linear probing over entries of eight bytes.
///
/// An entry is a tag (32 bits of the key's hash) above the slot's position plus one; 0 is no entry. The tag tells the entry's place in a table of any
/// size, so growing and removing never look at a slot, and as its highest bits tell it, growing reads and writes in order.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<u64>,
    len: usize,
}

const ENTRIES_MIN: usize = 64;

fn entry(tag: u32, slot: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(slot + 1)
}

fn parts(entry: u64) -> Option<(u32, u32)> {
    Some(((entry >> 32) as u32, (entry as u32).checked_sub(1)?))
}

impl Index {
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.len() * size_of::<u64>()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where the search for a tag begins.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.entries.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        if place + 1 < self.entries.len() { place + 1 } else { 0 }
    }

    /// Reads the line of memory in which the search for a tag begins.
    #[inline]
    pub(super) fn touch(&self, tag: u32) -> u64 {
        self.entries.get(self.home(tag)).copied().unwrap_or_default()
    }

    /// The first slot under a tag that `is_it`.
    #[inline]
    pub(super) fn find(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut place = self.home(tag);
        // Ends: at most three quarters of the entries are taken.
        while let Some((of, slot)) = parts(*self.entries.get(place)?) {
            if of == tag && is_it(slot) {
                return Some(slot);
            }
            place = self.after(place);
        }
        None
    }

    pub(super) fn insert(&mut self, tag: u32, slot: u32) {
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        self.len += 1;
        self.place(entry(tag, slot));
    }

    fn place(&mut self, new: u64) {
        let mut place = self.home((new >> 32) as u32);
        while let Some(held) = self.entries.get_mut(place) {
            if *held == 0 {
                *held = new;
                return;
            }
            place = self.after(place);
        }
    }

    fn grow(&mut self) {
        let entries = (self.entries.len() * 2).max(ENTRIES_MIN);
        let before = std::mem::replace(&mut self.entries, vec![0; entries]);
        for held in before.into_iter().filter(|&held| held != 0) {
            self.place(held);
        }
    }

    /// Says that a slot has moved.
    pub(super) fn move_slot(&mut self, tag: u32, from: u32, to: u32) {
        if let Some(place) = self.place_of(tag, from) {
            self.set(place, entry(tag, to));
        }
    }

    fn place_of(&self, tag: u32, slot: u32) -> Option<usize> {
        let wanted = entry(tag, slot);
        let mut place = self.home(tag);
        loop {
            match *self.entries.get(place)? {
                0 => return None,
                held if held == wanted => return Some(place),
                _ => place = self.after(place),
            }
        }
    }

    /// Removes the entry of a slot. Entries behind it that were pushed on by it move up, so that no search ends too early.
    pub(super) fn remove(&mut self, tag: u32, slot: u32) {
        let Some(mut hole) = self.place_of(tag, slot) else {
            return;
        };
        self.len -= 1;
        let mut place = self.after(hole);
        while let Some(held) = self.entries.get(place).copied().filter(|&held| held != 0) {
            let home = self.home((held >> 32) as u32);
            // Whether the hole lies on the way from the entry's home to where it is, round the end.
            let way = |from: usize, to: usize| if to >= from { to - from } else { to + self.entries.len() - from };
            if way(home, place) >= way(hole, place) {
                self.set(hole, held);
                hole = place;
            }
            place = self.after(place);
        }
        self.set(hole, 0);
    }

    fn set(&mut self, place: usize, to: u64) {
        if let Some(held) = self.entries.get_mut(place) {
            *held = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn an_index_finds_what_is_in_it_and_nothing_else(
            steps in prop::collection::vec((any::<bool>(), 0u32..200), 1..600),
            tag_mask in prop::sample::select(vec![0u32, 0x8000_0000, 0xf000_0000, 0xffff_ffff]),
        ) {
            // Masks crowd tags, at the end of the table too; the slot stands for the key.
            let tag = |slot: u32| slot.wrapping_mul(0x9e37_79b9) | !tag_mask;
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            for (inserts, slot) in steps {
                if inserts && model.insert(slot) {
                    index.insert(tag(slot), slot);
                } else if !inserts {
                    model.remove(&slot);
                    index.remove(tag(slot), slot);
                }
                for slot in 0..200 {
                    let found = index.find(tag(slot), |found| found == slot);
                    prop_assert_eq!(found, model.contains(&slot).then_some(slot));
                }
                prop_assert_eq!(index.len, model.len());
            }
        }
    }
}
