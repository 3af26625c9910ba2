use super::*;
use millstream_model::ids::OperatorIndex;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Step {
    /// A batch, and what it writes.
    Call {
        keys: Vec<u8>,
        writes: Vec<(Cell, Option<String>)>,
        fails: bool,
    },
    Sweep,
    Cut,
    Applied,
    Lose,
    /// The process dies and another goes on.
    Restart,
    Trim {
        bytes: usize,
    },
}

fn key(number: u8) -> Vec<u8> {
    // Some longer than what is held in place.
    vec![b'a' + number; if number.is_multiple_of(3) { 30 } else { 3 }]
}

fn cell() -> impl Strategy<Value = Cell> {
    let entry = (0u8..10, 0u8..4).prop_map(|(number, entry)| (ITEMS, key(number), vec![b'x'; entry.into()]));
    prop_oneof![(0u8..10).prop_map(|number| (COUNT, key(number), Vec::new())), entry]
}

fn step() -> impl Strategy<Value = Step> {
    let write = (cell(), prop::option::weighted(0.8, "[a-z]{0,30}"));
    let call = (prop::collection::vec(0u8..10, 1..8), prop::collection::vec(write, 0..5), prop::bool::weighted(0.1))
        .prop_map(|(keys, writes, fails)| Step::Call { keys, writes, fails });
    prop_oneof![
        8 => call,
        4 => Just(Step::Sweep),
        4 => Just(Step::Cut),
        4 => Just(Step::Applied),
        1 => Just(Step::Lose),
        1 => Just(Step::Restart),
        2 => prop::sample::select(vec![0usize, 1_000, usize::MAX]).prop_map(|bytes| Step::Trim { bytes }),
    ]
}

/// Cells as two older versions and this one left them.
fn stored() -> impl Strategy<Value = BTreeMap<Cell, (u32, String)>> {
    let text = prop_oneof![
        12 => "[a-z]{0,30}",
        1 => Just("drop".to_owned()),
        2 => prop::sample::select(POISON.to_vec()).prop_map(str::to_owned),
    ];
    prop::collection::btree_map(cell(), (1u32..=3, text), 0..40)
}

/// Cells that a process has written, under what was there before.
type Overlay = BTreeMap<Cell, Option<Vec<u8>>>;

/// State as records see it, in which nothing is ever migrated.
#[derive(Default)]
struct Model {
    applied: BTreeMap<Cell, Vec<u8>>,
    frozen: Option<Overlay>,
    open: Overlay,
    /// Cells whose bytes stay as they are until they are overwritten: which nobody can do.
    poisoned: BTreeSet<Cell>,
}

impl Model {
    fn new(stored: &BTreeMap<Cell, (u32, String)>) -> Self {
        let mut model = Self::default();
        for (cell, (version, text)) in stored {
            let is_read = *version == VERSION || (cell.0 == COUNT && *version == 2);
            if is_read {
                model.applied.insert(cell.clone(), format!("v{version}:{text}").into_bytes());
            } else if POISON.contains(&text.as_str()) {
                model.poisoned.insert(cell.clone());
            } else if text != "drop" {
                model.applied.insert(cell.clone(), format!("v3:{text}").into_bytes());
            }
        }
        model
    }

    fn now(&self) -> BTreeMap<Cell, Vec<u8>> {
        let mut now = self.applied.clone();
        for (cell, value) in self.frozen.iter().flatten().chain(&self.open) {
            match value {
                Some(value) => now.insert(cell.clone(), value.clone()),
                None => now.remove(cell),
            };
        }
        now
    }
}

struct Pair {
    rig: Rig,
    model: Model,
}

impl Pair {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Call { keys, writes, fails } => self.call(&keys, writes, fails)?,
            Step::Sweep => {
                self.rig.task.start_sweep(0, 1);
                if self.rig.task.has_slice() {
                    self.rig.task.sweep().unwrap();
                }
            }
            Step::Cut if self.rig.frozen.is_none() => {
                self.rig.cut();
                self.model.frozen = Some(std::mem::take(&mut self.model.open));
            }
            Step::Cut => {}
            Step::Applied => {
                let open = std::mem::take(&mut self.model.open);
                if self.rig.frozen.is_some() {
                    self.rig.apply();
                    self.model.applied = self.model.now();
                    self.model.frozen = None;
                }
                self.model.open = open;
            }
            Step::Lose | Step::Restart => {
                (self.model.frozen, self.model.open) = (None, Overlay::new());
                if matches!(step, Step::Lose) { self.rig.lose() } else { self.rig.restart() }
            }
            Step::Trim { bytes } => self.rig.task.trim(bytes),
        }
        Ok(())
    }

    /// A batch as the worker takes it through: what is refused is taken out.
    fn call(&mut self, numbers: &[u8], writes: Vec<(Cell, Option<String>)>, fails: bool) -> Result<(), TestCaseError> {
        let keys: Vec<Vec<u8>> = numbers.iter().map(|&number| key(number)).collect();
        let poisoned: BTreeSet<&Vec<u8>> = self.model.poisoned.iter().map(|(_, key, _)| key).collect();
        let good: Vec<&Vec<u8>> = keys.iter().filter(|key| !poisoned.contains(key)).collect();
        let writes: Vec<_> = writes
            .into_iter()
            .map(|(cell, text)| (cell, text.map(|text| format!("v3:{text}").into_bytes())))
            .filter(|((_, key, _), _)| good.contains(&key))
            .collect();
        {
            let mut notes = self.rig.notes.lock().unwrap();
            notes.writes.clone_from(&writes);
            notes.fails = fails;
        }
        // Those that the operator fails on are told first, those that it rejects with the next call.
        let mut left: Vec<&Vec<u8>> = keys.iter().collect();
        while left.iter().any(|key| poisoned.contains(key)) {
            let all: Vec<&[u8]> = left.iter().map(|key| key.as_slice()).collect();
            let refused: BTreeSet<u32> = self.rig.call(&all).into_iter().map(|(row, _)| row).collect();
            prop_assert!(!refused.is_empty());
            for (row, key) in (0u32..).zip(&left).filter(|(row, _)| refused.contains(row)) {
                prop_assert!(poisoned.contains(key), "row {} was refused for nothing", row);
            }
            let mut rows = 0u32..;
            left.retain(|_| !rows.next().is_some_and(|row| refused.contains(&row)));
        }
        prop_assert_eq!(&left, &good);
        if good.is_empty() {
            return Ok(());
        }
        let good: Vec<&[u8]> = good.into_iter().map(Vec::as_slice).collect();
        let applied = match self.rig.attempt(&good) {
            Attempt::Applied(_) => true,
            Attempt::Failed(CallError::Trap { .. }) => false,
            Attempt::Failed(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        prop_assert_eq!(applied, !fails);
        let read: BTreeMap<Cell, Vec<u8>> = {
            let notes = self.rig.notes.lock().unwrap();
            notes.read.iter().filter_map(|(cell, value)| Some((cell.clone(), value.clone()?))).collect()
        };
        let mut expected = self.model.now();
        expected.retain(|(_, key, _), _| good.contains(&key.as_slice()));
        prop_assert_eq!(read, expected);
        if applied {
            self.model.open.extend(writes);
        }
        Ok(())
    }

    /// Sweeps to the end: what lies in the store then is what the model has, all of it of a version that is read.
    fn finish(&mut self, stored: &BTreeMap<Cell, (u32, String)>) -> Result<(), TestCaseError> {
        self.step(Step::Applied)?;
        self.rig.task.start_sweep(0, 1);
        for _ in 0..100 {
            while self.rig.task.has_slice() {
                self.rig.task.sweep().unwrap();
            }
            self.step(Step::Cut)?;
            self.step(Step::Applied)?;
        }
        let part = self.rig.task.sweep_part(OperatorIndex(0)).unwrap();
        prop_assert!(part.is_done());
        prop_assert_eq!(part.cells_left.values().sum::<u64>(), self.model.poisoned.len() as u64);
        let mut cells = cells_of(&self.rig.disk);
        for cell in &self.model.poisoned {
            let (version, text) = &stored[cell];
            let kept = cells.remove(cell);
            let bytes = format!("v{version}:{text}").into_bytes();
            prop_assert_eq!(kept, Some((*version, bytes)));
        }
        for ((state, ..), (version, bytes)) in &cells {
            prop_assert!(*version == VERSION || (*state == COUNT && *version == 2));
            let begins = format!("v{version}:");
            prop_assert!(bytes.starts_with(begins.as_bytes()));
        }
        let cells: BTreeMap<Cell, Vec<u8>> = cells.into_iter().map(|(cell, (_, bytes))| (cell, bytes)).collect();
        prop_assert_eq!(cells, self.model.now());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_read_is_of_a_version_that_is_read_and_after_the_sweep_every_cell_is(
        stored in stored(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut rig = Rig::new(both_older());
        let cells: Vec<_> = stored.iter().map(|(cell, (version, text))| (cell.clone(), *version, text.as_str())).collect();
        rig.store(&cells);
        let mut pair = Pair { rig, model: Model::new(&stored) };
        for step in steps {
            pair.step(step)?;
        }
        pair.finish(&stored)?;
    }
}
