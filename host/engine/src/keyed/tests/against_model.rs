use super::model::Model;
use super::steps::{Effect, Step, step};
use super::store::Failure;
use super::{BROADCAST, COUNT, Cell, KINDS, RULES, Rig, cell_of, cells_of, kind_of, lend, owned, ttl_of};
use crate::call::{EntryPage, EntryRange, Fault, MapRange, Mark};
use crate::ports::ChangeSet;
use millstream_model::cell;
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::StateKind;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The state beside its model.
struct Pair {
    rig: Rig,
    model: Model,
    frozen: Option<(u32, ChangeSet)>,
    failure: Failure,
    /// Last revision seen of the broadcast state, and what it stood for.
    seen: Option<(u64, Vec<(Vec<u8>, Vec<u8>)>)>,
}

/// A read that fails is a fault of the host, and only a failing store makes one.
fn agree<T: PartialEq + std::fmt::Debug>(
    failure: Failure,
    read: Result<T, Fault>,
    model: T,
) -> Result<bool, TestCaseError> {
    match read {
        Ok(read) => prop_assert_eq!(read, model),
        Err(fault) => {
            prop_assert!(matches!(fault, Fault::Host(_)), "{:?}", fault);
            prop_assert_ne!(failure, Failure::None);
            return Ok(false);
        }
    }
    Ok(true)
}

impl Pair {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let state = &mut self.rig.call.state;
        match step {
            Step::Call { keys, effects, applies, failure } => self.run(&keys, effects, applies, failure)?,
            Step::Broadcast { puts, clears, applies } => self.broadcast(puts, clears, applies)?,
            Step::Pass { watermark_ms, now_ms } => {
                let Mark { watermark_ms: before_ms, now_ms: then_ms } = self.rig.mark;
                // The first one leaves the watermark where it is: nowhere.
                let watermark_ms = before_ms.map_or((watermark_ms > 3).then_some(100), |b| Some(b + watermark_ms));
                self.rig.at(watermark_ms, then_ms + now_ms);
                self.model.mark = self.rig.mark;
            }
            Step::Freeze if self.frozen.is_none() => {
                let (frozen, changes) = self.rig.freeze();
                cells_of(&changes);
                prop_assert_eq!(self.rig.call.state.dirty_count(), 0);
                self.model.freeze();
                self.frozen = Some((frozen, changes));
            }
            Step::Applied => {
                if let Some((frozen, changes)) = self.frozen.take() {
                    self.rig.store.apply(&changes);
                    state.applied(frozen);
                    self.model.apply();
                    self.check_store()?;
                }
            }
            Step::Freeze => {}
            Step::DropEpochs => {
                state.drop_epochs();
                self.frozen = None;
                self.model.drop_epochs();
                prop_assert_eq!((state.key_count(), state.dirty_count()), (0, 0));
            }
            Step::Restart => {
                let mark = self.rig.mark;
                self.rig = Rig::over(self.rig.store.clone(), ..KINDS.len() as u32);
                self.rig.mark = mark;
                self.frozen = None;
                self.seen = None;
                self.model.drop_epochs();
            }
            Step::Evict { bytes } => {
                state.evict(bytes);
                let (count, held) = (state.key_count(), self.model.keys_held());
                if bytes == 0 {
                    prop_assert!(count <= held, "{count} keys kept, {held} may be in no store");
                }
            }
        }
        Ok(())
    }

    fn run(
        &mut self,
        keys: &[Vec<u8>],
        effects: Vec<Effect>,
        applies: bool,
        failure: Failure,
    ) -> Result<(), TestCaseError> {
        let borrowed: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        self.rig.begin(&borrowed);
        self.model.begin_call(KINDS.len() as u32);
        let mut distinct: Vec<&Vec<u8>> = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            let key_row = distinct.iter().position(|&seen| seen == key).unwrap_or_else(|| {
                distinct.push(key);
                distinct.len() - 1
            });
            prop_assert_eq!(self.rig.call.key_rows[row] as usize, key_row);
        }
        let first = |key: &&Vec<u8>| keys.iter().position(|k| k == *key).unwrap() as u32;
        prop_assert_eq!(&self.rig.call.first_rows, &distinct.iter().map(first).collect::<Vec<_>>());
        self.rig.store.fail(failure);
        self.failure = failure;
        let mut goes_on = true;
        let mut marks = 0;
        for effect in effects {
            goes_on = goes_on && self.effect(effect, &distinct, &mut marks)?;
        }
        self.rig.store.fail(Failure::None);
        let applies = applies && goes_on;
        if applies {
            self.rig.call.apply_state();
        } else {
            self.rig.call.discard();
        }
        self.model.end_call(applies);
        Ok(())
    }

    /// False: the call has failed.
    fn effect(&mut self, effect: Effect, keys: &[&Vec<u8>], marks: &mut usize) -> Result<bool, TestCaseError> {
        let row = |key_row: u32| (key_row as usize % keys.len()) as u32;
        let key = |key_row: u32| keys[row(key_row) as usize].as_slice();
        let cell = |state, key_row, map_key: &[u8]| -> Cell { (state, key(key_row).to_vec(), map_key.to_vec()) };
        let (call, model, failure) = (&mut self.rig.call, &mut self.model, self.failure);
        match effect {
            Effect::ReadValues { state } => {
                let expected = (0..keys.len() as u32).map(|row| model.read(&cell(state, row, &[]))).collect();
                return agree(failure, self.rig.values(state), expected);
            }
            Effect::PutValues { state, values } => {
                let rows: Vec<u32> = values.iter().map(|(key_row, _)| row(*key_row)).collect();
                let column: BytesColumn = values.iter().map(|(_, value)| value.as_deref()).collect();
                let put = call.put_values(state, &rows, lend(&column));
                if !agree(failure, put, ())? {
                    return Ok(false);
                }
                values.into_iter().for_each(|(key_row, value)| model.put(cell(state, key_row, &[]), value));
            }
            Effect::ReadEntries { state, entries } => {
                let rows: Vec<u32> = entries.iter().map(|(key_row, _)| row(*key_row)).collect();
                let map_keys: BytesColumn = entries.iter().map(|(_, map_key)| Some(map_key.as_slice())).collect();
                let expected = entries.iter().map(|(key_row, map_key)| model.read(&cell(state, *key_row, map_key)));
                let mut values = BytesColumn::default();
                let read = call.entries(state, &rows, lend(&map_keys), &mut values);
                return agree(failure, read.map(|()| owned(&values)), expected.collect());
            }
            Effect::PutEntry { state, key_row, map_key, value } => {
                if !agree(failure, call.put_entry(state, row(key_row), &map_key, value.as_deref()), ())? {
                    return Ok(false);
                }
                model.put(cell(state, key_row, &map_key), value);
            }
            Effect::Names { state, key_row, prefix, after, count_max } => {
                let range = EntryRange { prefix: &prefix, after: after.as_deref(), count_max };
                let read = call.entry_keys(state, row(key_row), range);
                let mut expected: Vec<_> = model.entries(state, key(key_row)).into_iter().map(|(key, _)| key).collect();
                expected.retain(|key| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| key > after));
                expected.truncate(count_max);
                return agree(failure, read, expected);
            }
            Effect::Scan { state, key_row, start, end, descending, bytes_max } => {
                let mut expected = model.entries(state, key(key_row));
                expected.retain(|(key, _)| *key >= start && end.as_ref().is_none_or(|end| key < end));
                if descending {
                    expected.reverse();
                }
                let read = self.scan((state, row(key_row)), (start, end), descending, bytes_max);
                return agree(failure, read, expected);
            }
            Effect::Append { state, elements } => {
                let rows: Vec<u32> = elements.iter().map(|(key_row, _)| row(*key_row)).collect();
                let column: BytesColumn = elements.iter().map(|(_, element)| Some(element.as_slice())).collect();
                if !agree(failure, call.append_elements(state, &rows, lend(&column)), ())? {
                    return Ok(false);
                }
                elements.into_iter().for_each(|(key_row, element)| model.append(state, key(key_row), element));
            }
            Effect::Elements { state, key_row, bytes_max } => {
                let expected = model.elements(state, key(key_row));
                return agree(failure, self.rig.elements(state, row(key_row), bytes_max), expected);
            }
            Effect::Touch { state, key_row, map_key } => {
                let map_keys: BytesColumn = [Some(map_key.as_slice())].into_iter().collect();
                let is_map = kind_of(state) == StateKind::Map;
                let touched = call.touch(state, &[row(key_row)], is_map.then(|| lend(&map_keys)));
                if !agree(failure, touched, ())? {
                    return Ok(false);
                }
                model.touch(&cell(state, key_row, if is_map { &map_key } else { &[] }));
            }
            Effect::Clear { state, key_row } => {
                let goes_on = agree(failure, call.clear_state(state, &[row(key_row)]), ())?;
                if goes_on {
                    model.clear(state, key(key_row));
                }
                return Ok(goes_on);
            }
            Effect::Mark => {
                prop_assert_eq!(call.mark_staged() as usize, *marks);
                model.set_mark();
                *marks += 1;
            }
            Effect::UndoTo { mark } => {
                let undone = call.undo_to(mark as u32);
                prop_assert_eq!(undone.is_ok(), mark < *marks);
                if undone.is_ok() {
                    model.undo_to(mark);
                    *marks = mark + 1;
                }
            }
            Effect::ReadBroadcast { map_key } => {
                let map_keys: BytesColumn = [Some(map_key.as_slice())].into_iter().collect();
                let mut values = BytesColumn::default();
                let read = call.broadcast_entries(RULES, lend(&map_keys), &mut values);
                let expected = vec![model.read(&(RULES, Vec::new(), map_key))];
                return agree(failure, read.map(|()| owned(&values)), expected);
            }
        }
        Ok(true)
    }

    /// A whole range, in pages of so many bytes.
    fn scan(
        &mut self,
        of: (u32, u32),
        (mut start, mut end): (Vec<u8>, Option<Vec<u8>>),
        descending: bool,
        bytes_max: u32,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Fault> {
        let mut entries = Vec::new();
        loop {
            let mut page = EntryPage::default();
            let range = MapRange { start: &start, end: end.as_deref(), descending };
            self.rig.call.scan(of, range, bytes_max, &mut page)?;
            assert!(!page.more || !page.map_keys.is_empty(), "a page without entries that goes on");
            let map_keys = owned(&page.map_keys).into_iter().flatten();
            entries.extend(map_keys.zip(owned(&page.values).into_iter().flatten()));
            let Some((last, _)) = entries.last().filter(|_| page.more) else { return Ok(entries) };
            if descending {
                end = Some(last.clone());
            } else {
                start = [last.as_slice(), &[0]].concat();
            }
        }
    }

    fn broadcast(
        &mut self,
        puts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        clears: bool,
        applies: bool,
    ) -> Result<(), TestCaseError> {
        self.rig.begin_at(BROADCAST, &[b"", b"any"]);
        self.model.begin_call(KINDS.len() as u32);
        if clears {
            self.rig.call.clear_broadcast(RULES).unwrap();
            self.model.clear(RULES, &[]);
        }
        let map_keys: BytesColumn = puts.iter().map(|(map_key, _)| Some(map_key.as_slice())).collect();
        let values: BytesColumn = puts.iter().map(|(_, value)| value.as_deref()).collect();
        self.rig.call.put_broadcast(RULES, lend(&map_keys), lend(&values)).unwrap();
        puts.into_iter().for_each(|(map_key, value)| self.model.put((RULES, Vec::new(), map_key), value));
        self.check_revision()?;
        if applies {
            self.rig.call.apply_state();
        } else {
            self.rig.call.discard();
        }
        self.model.end_call(applies);
        // No slot is held for it.
        self.rig.begin(&[]);
        self.model.begin_call(KINDS.len() as u32);
        let checked = self.check_revision();
        self.model.end_call(false);
        checked
    }

    /// As long as the revision stays, so do the entries; it never goes back.
    fn check_revision(&mut self) -> Result<(), TestCaseError> {
        let revision = self.rig.call.revision(RULES).unwrap();
        let mut page = EntryPage::default();
        self.rig.call.broadcast_scan(RULES, MapRange::default(), u32::MAX, &mut page).unwrap();
        let entries: Vec<_> =
            owned(&page.map_keys).into_iter().flatten().zip(owned(&page.values).into_iter().flatten()).collect();
        prop_assert_eq!(&entries, &self.model.entries(RULES, &[]));
        if let Some((before, then)) = self.seen.take() {
            prop_assert!(revision >= before, "revision {} after {}", revision, before);
            prop_assert!(revision > before || then == entries, "other entries under revision {}", revision);
        }
        self.seen = Some((revision, entries));
        Ok(())
    }

    /// The store holds what the model has, less what had expired, in the same order.
    fn check_store(&self) -> Result<(), TestCaseError> {
        let cells = self.rig.store.cells();
        let mut lists: BTreeMap<(u32, Vec<u8>), Vec<(Vec<u8>, Option<i64>)>> = BTreeMap::new();
        let mut found = BTreeSet::new();
        for (key, stored) in cells.iter().filter(|(key, _)| !cell::is_fact_key(key)) {
            let (cell, value) = (cell_of(key), cell::read_value(stored).unwrap());
            let item = (value.bytes.to_vec(), value.refreshed_ms);
            if kind_of(cell.0) == StateKind::List {
                lists.entry((cell.0, cell.1)).or_default().push(item);
                continue;
            }
            let model = self.model.applied.cells.get(&cell).map(|item| (item.bytes.clone(), item.refreshed_ms));
            prop_assert_eq!(Some(item), model, "{:?}", cell);
            found.insert(cell);
        }
        for (cell, item) in self.model.applied.cells.iter().filter(|(cell, _)| !found.contains(*cell)) {
            prop_assert!(!self.model.applied.lives(cell.0, item, self.rig.mark), "{:?} is lost", cell);
        }
        for (list, items) in &self.model.applied.lists {
            let mut stored = lists.remove(list).unwrap_or_default().into_iter().peekable();
            for item in items {
                let is_here = stored.next_if_eq(&(item.bytes.clone(), item.refreshed_ms)).is_some();
                prop_assert!(
                    is_here || !self.model.applied.lives(list.0, item, self.rig.mark),
                    "an element of {:?} is lost",
                    list
                );
            }
            prop_assert_eq!(stored.next(), None, "elements of {:?} that nobody appended", list);
        }
        prop_assert!(lists.values().all(Vec::is_empty), "lists that nobody has: {:?}", lists);
        Ok(())
    }

    /// Everything that ever was reads as the model has it.
    fn check_all(&mut self) -> Result<(), TestCaseError> {
        let layers = [Some(&self.model.open), self.model.frozen.as_ref(), Some(&self.model.applied)];
        let layers: Vec<_> = layers.into_iter().flatten().collect();
        let keyed = |state: u32| kind_of(state) != StateKind::Broadcast;
        let cells = layers.iter().flat_map(|layer| layer.cells.keys().map(|(state, key, _)| (*state, key.clone())));
        let lists = layers.iter().flat_map(|layer| layer.lists.keys().cloned());
        let all: BTreeSet<(u32, Vec<u8>)> = cells.chain(lists).filter(|(state, _)| keyed(*state)).collect();
        for (state, key) in all {
            self.rig.begin(&[&key]);
            self.model.begin_call(KINDS.len() as u32);
            match kind_of(state) {
                StateKind::Value => {
                    let expected = self.model.read(&(state, key.clone(), Vec::new()));
                    prop_assert_eq!(self.rig.values(state).unwrap().remove(0), expected);
                }
                StateKind::List => {
                    let expected = self.model.elements(state, &key);
                    prop_assert_eq!(self.rig.elements(state, 0, 50).unwrap(), expected);
                }
                _ => {
                    let expected = self.model.entries(state, &key);
                    let read = self.scan((state, 0), (Vec::new(), None), false, 50).unwrap();
                    prop_assert_eq!(read, expected);
                }
            }
            self.model.end_call(false);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn keyed_state_is_a_store_under_epochs_under_a_call(steps in prop::collection::vec(step(), 1..60)) {
        assert!(ttl_of(COUNT).is_none());
        let (model, failure) = (Model::default(), Failure::None);
        let mut pair = Pair { rig: Rig::whole(), model, frozen: None, failure, seen: None };
        for step in steps {
            pair.step(step)?;
        }
        pair.check_all()?;
    }
}
