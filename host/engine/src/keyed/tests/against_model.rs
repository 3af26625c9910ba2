use super::model::Model;
use super::store::Failure;
use super::{Cell, KINDS, Rig, VERSION, cell_of, cells_of, lend};
use crate::call::{EntryRange, Fault};
use crate::ports::ChangeSet;
use millstream_model::cell;
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::StateKind;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One thing that happens within a call. Key rows are taken modulo the number there are.
#[derive(Debug, Clone)]
enum Effect {
    ReadValues { state: u32 },
    PutValues { state: u32, values: Vec<(u32, Option<Vec<u8>>)> },
    ReadEntry { state: u32, key_row: u32, map_key: Vec<u8> },
    PutEntry { state: u32, key_row: u32, map_key: Vec<u8>, value: Option<Vec<u8>> },
    Scan { state: u32, key_row: u32, prefix: Vec<u8>, after: Option<Vec<u8>>, count_max: usize },
    Clear { state: u32, key_row: u32 },
}

#[derive(Debug, Clone)]
enum Step {
    /// Calls with `keys`; effects count if `applies`; the store answers so during the call.
    Call {
        keys: Vec<Vec<u8>>,
        effects: Vec<Effect>,
        applies: bool,
        failure: Failure,
    },
    Freeze,
    Applied,
    DropEpochs,
    Evict {
        bytes: usize,
    },
}

/// Few enough to meet again, and of all the lengths that are kept differently.
fn user_key() -> impl Strategy<Value = Vec<u8>> {
    (0u8..24, prop::sample::select(vec![0usize, 1, 8, 15, 16, 22, 23, 24, 25, 300]))
        .prop_map(|(letter, len)| vec![letter % 6; len])
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let len = prop::sample::select(vec![0usize, 1, 8, 14, 15, 16, 22, 23, 24, 100]);
    prop::option::weighted(0.75, (any::<u8>(), len).prop_map(|(byte, len)| vec![byte; len]))
}

fn map_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..3, 0..4)
}

fn effect() -> impl Strategy<Value = Effect> {
    let value_state = prop::sample::select(vec![super::COUNT, super::LAST]);
    let map_state = prop::sample::select(vec![super::ITEMS, super::TAGS]);
    let key_row = 0u32..64;
    prop_oneof![
        value_state.clone().prop_map(|state| Effect::ReadValues { state }),
        (value_state, prop::collection::vec((0u32..64, value()), 0..6))
            .prop_map(|(state, values)| Effect::PutValues { state, values }),
        (map_state.clone(), key_row.clone(), map_key()).prop_map(|(state, key_row, map_key)| Effect::ReadEntry {
            state,
            key_row,
            map_key
        }),
        (map_state.clone(), key_row.clone(), map_key(), value())
            .prop_map(|(state, key_row, map_key, value)| Effect::PutEntry { state, key_row, map_key, value }),
        (map_state, key_row.clone(), map_key(), prop::option::of(map_key()), 0usize..9).prop_map(
            |(state, key_row, prefix, after, count_max)| Effect::Scan { state, key_row, prefix, after, count_max }
        ),
        (0u32..4, key_row).prop_map(|(state, key_row)| Effect::Clear { state, key_row }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![8 => Just(Failure::None), 1 => Just(Failure::Error), 1 => Just(Failure::Short)];
    let call = (
        prop::collection::vec(user_key(), 1..12),
        prop::collection::vec(effect(), 0..12),
        prop::bool::weighted(0.8),
        failure,
    )
        .prop_map(|(keys, effects, applies, failure)| Step::Call { keys, effects, applies, failure });
    prop_oneof![
        12 => call,
        3 => Just(Step::Freeze),
        3 => Just(Step::Applied),
        1 => Just(Step::DropEpochs),
        2 => prop::sample::select(vec![0usize, 500, 2_000, usize::MAX]).prop_map(|bytes| Step::Evict { bytes }),
    ]
}

/// The state beside its model.
struct Pair {
    rig: Rig,
    model: Model,
    frozen: Option<(u32, ChangeSet)>,
    failure: Failure,
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
            Step::Freeze if self.frozen.is_none() => {
                let (frozen, changes) = self.rig.freeze();
                prop_assert_eq!(&cells_of(&changes), self.model.freeze());
                prop_assert_eq!(self.rig.call.state.dirty_count(), 0);
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
            Step::Evict { bytes } => {
                state.evict(bytes);
                let (count, held) = (state.key_count(), self.model.keys_held().len());
                prop_assert!(count >= held, "{} keys kept, {} are in no store", count, held);
                if bytes == 0 {
                    prop_assert_eq!(count, held, "what is in the store goes when nothing may be kept");
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
        for effect in effects {
            goes_on = goes_on && self.effect(effect, &distinct)?;
        }
        self.rig.store.fail(Failure::None);
        let applies = applies && goes_on;
        if applies {
            self.rig.call.apply_state();
        }
        self.model.end_call(applies);
        Ok(())
    }

    /// False: the call has failed.
    fn effect(&mut self, effect: Effect, keys: &[&Vec<u8>]) -> Result<bool, TestCaseError> {
        let row = |key_row: u32| key_row as usize % keys.len();
        let cell = |state, key_row, map_key: &[u8]| -> Cell { (state, keys[row(key_row)].clone(), map_key.to_vec()) };
        let (call, failure) = (&mut self.rig.call, self.failure);
        match effect {
            Effect::ReadValues { state } => {
                let model = (0..keys.len() as u32).map(|row| self.model.read(&cell(state, row, &[]))).collect();
                return agree(failure, self.rig.values(state), model);
            }
            Effect::PutValues { state, values } => {
                let rows: Vec<u32> = values.iter().map(|(key_row, _)| row(*key_row) as u32).collect();
                let column: BytesColumn = values.iter().map(|(_, value)| value.as_deref()).collect();
                call.put_values(state, &rows, lend(&column)).unwrap();
                for (key_row, value) in values {
                    self.model.put(cell(state, key_row, &[]), value);
                }
            }
            Effect::ReadEntry { state, key_row, map_key } => {
                let read = call.entry(state, row(key_row) as u32, &map_key);
                return agree(failure, read, self.model.read(&cell(state, key_row, &map_key)));
            }
            Effect::PutEntry { state, key_row, map_key, value } => {
                call.put_entry(state, row(key_row) as u32, &map_key, value.as_deref()).unwrap();
                self.model.put(cell(state, key_row, &map_key), value);
            }
            Effect::Scan { state, key_row, prefix, after, count_max } => {
                let range = EntryRange { prefix: &prefix, after: after.as_deref(), count_max };
                let read = call.entry_keys(state, row(key_row) as u32, range);
                let mut model = self.model.map_keys(state, keys[row(key_row)]);
                model.retain(|key| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| key > after));
                model.truncate(count_max);
                return agree(failure, read, model);
            }
            Effect::Clear { state, key_row } => {
                let cleared = call.clear_state(state, &[row(key_row) as u32]);
                let goes_on = agree(failure, cleared, ())?;
                if goes_on {
                    self.model.clear(state, keys[row(key_row)]);
                }
                return Ok(goes_on);
            }
        }
        Ok(true)
    }

    fn check_store(&self) -> Result<(), TestCaseError> {
        let cells = self.rig.store.cells();
        let stored: BTreeMap<Cell, Vec<u8>> = cells
            .iter()
            .map(|(key, value)| (cell_of(key), cell::read_value(value).unwrap()))
            .map(|(cell, (version, bytes))| {
                assert_eq!(version, VERSION);
                (cell, bytes.to_vec())
            })
            .collect();
        prop_assert_eq!(&stored, &self.model.applied);
        Ok(())
    }

    /// Every cell that ever was reads as the model has it.
    fn check_all(&mut self) -> Result<(), TestCaseError> {
        let mut cells: Vec<Cell> = self.model.applied.keys().chain(self.model.open.keys()).cloned().collect();
        cells.extend(self.model.frozen.iter().flat_map(|frozen| frozen.keys().cloned()));
        for cell in cells {
            self.rig.begin(&[&cell.1]);
            let read = match KINDS[cell.0 as usize] {
                StateKind::Value => self.rig.values(cell.0).unwrap().remove(0),
                StateKind::Map => self.rig.call.entry(cell.0, 0, &cell.2).unwrap(),
            };
            prop_assert_eq!(read, self.model.read(&cell), "{:?}", cell);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn keyed_state_is_a_store_under_epochs_under_a_call(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair { rig: Rig::new(), model: Model::default(), frozen: None, failure: Failure::None };
        for step in steps {
            pair.step(step)?;
        }
        pair.check_all()?;
    }
}
