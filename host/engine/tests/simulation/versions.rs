//! Versions of the operator of the simulation: what each does to a record, as a model and over a call.

use crate::check::SINKS;
use crate::model::{Act, Input};
use millstream_engine::call::{Call, OutputColumns};
use millstream_engine::fakes::{Chance, FakeOperator};
use millstream_engine::ports::{CallError, OldValues};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{Descriptor, InputDescriptor, StateDescriptor, StateKind};
use millstream_model::ids::Digest;
use std::sync::Arc;

/// What a version does otherwise than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nothing.
    Good,
    /// It traps on some records.
    Traps,
    /// It runs too long on some records.
    Loops,
    /// It traps on some records that have no effect anyway.
    TrapsOnNothing,
    /// It rejects some records.
    Rejects,
    /// It puts everything out ten times.
    Floods,
    /// It writes a version of its state that no other reads.
    Estranged,
    /// It traps on some old values when it is to migrate them, and nobody else could.
    MigratesBadly,
}

impl Manner {
    pub(crate) const ALL: [Self; 8] = [
        Self::Good,
        Self::Traps,
        Self::Loops,
        Self::TrapsOnNothing,
        Self::Rejects,
        Self::Floods,
        Self::Estranged,
        Self::MigratesBadly,
    ];
}

/// A version: all there is to know of it is in its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// 0: the first one, which is not told from others in its outputs.
    pub(crate) number: u32,
    pub(crate) manner: Manner,
    /// Version of its state.
    pub(crate) state: u32,
    /// Whether it has another state before that.
    has_more: bool,
}

/// What a record comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The sum of its key afterwards.
    pub(crate) sum: Option<u64>,
    /// What goes to each sink.
    pub(crate) outputs: [Vec<String>; 2],
}

impl Version {
    pub(crate) const FIRST: Self = Self { number: 0, manner: Manner::Good, state: 1, has_more: false };

    /// The `number`-th one, as chance has it.
    pub(crate) fn random(number: u32, chance: &mut Chance) -> Self {
        let manner =
            if chance.happens(400) { Manner::Good } else { *chance.pick(&Manner::ALL).unwrap_or(&Manner::Good) };
        let state = match (manner, chance.below(12)) {
            (Manner::Estranged, _) => 9,
            (Manner::MigratesBadly, _) => 5,
            (_, 0..5) => 1,
            (_, 5..10) => 2,
            (_, 10) => 3,
            _ => 4,
        };
        Self { number, manner, state, has_more: chance.happens(250) }
    }

    pub(crate) fn digest(self) -> Digest {
        if self == Self::FIRST {
            return Digest::default();
        }
        let mut bytes = [0; 32];
        let manner = Manner::ALL.iter().position(|manner| *manner == self.manner).unwrap_or_default();
        let facts = [1, manner as u8, self.state as u8, u8::from(self.has_more)];
        for (place, byte) in bytes.iter_mut().zip(facts.into_iter().chain(self.number.to_be_bytes())) {
            *place = byte;
        }
        Digest(bytes)
    }

    pub(crate) fn of(digest: &Digest) -> Option<Self> {
        let [is_there, manner, state, has_more, a, b, c, d, ..] = digest.0;
        if is_there == 0 {
            return Some(Self::FIRST);
        }
        let (number, manner) = (u32::from_be_bytes([a, b, c, d]), *Manner::ALL.get(manner as usize)?);
        Some(Self { number, manner, state: state.into(), has_more: has_more == 1 })
    }

    /// What its outputs end with.
    pub(crate) fn tag(self) -> String {
        if self.number == 0 { String::new() } else { format!("@{}", self.number) }
    }

    /// Whether it cannot, or will not, process a record.
    fn is_bad(self, input: &Input) -> bool {
        let is_chosen = input.amount % 4 == 1;
        match self.manner {
            Manner::Traps | Manner::Loops | Manner::Rejects => is_chosen && input.act != Act::Pass,
            Manner::TrapsOnNothing => is_chosen && input.act == Act::Pass,
            Manner::Good | Manner::Floods | Manner::Estranged | Manner::MigratesBadly => false,
        }
    }

    /// What a record does to a sum; `None`: it is refused, and leaves nothing.
    pub(crate) fn step(self, input: &Input, sum: Option<u64>) -> Option<Effect> {
        if self.is_bad(input) {
            return None;
        }
        let (sum, first, second) = crate::model::step(input, sum);
        let times = if self.manner == Manner::Floods { 10 } else { 1 };
        let many = |text: Option<String>| {
            let text = text.map(|text| text + &self.tag());
            text.into_iter().flat_map(|text| vec![text; times]).collect()
        };
        Some(Effect { sum, outputs: [many(first), many(second)] })
    }

    pub(crate) fn descriptor(self) -> Descriptor {
        let state = |name: &str, version, reads: &[u32], migrates: &[u32]| StateDescriptor {
            name: name.to_owned(),
            kind: StateKind::Value,
            version,
            reads_versions: reads.to_vec(),
            migrates_versions: migrates.to_vec(),
        };
        let sum = match self.state {
            1 => state("sum", 1, &[2], &[]),
            2 => state("sum", 2, &[1], &[]),
            4 => state("sum", 4, &[], &[3]),
            3 | 5 => state("sum", self.state, &[], &[1, 2]),
            other => state("sum", other, &[], &[]),
        };
        let more = self.has_more.then(|| state("more", 1, &[], &[]));
        Descriptor {
            inputs: vec![InputDescriptor { name: "in".to_owned() }],
            outputs: SINKS.map(str::to_owned).to_vec(),
            states: more.into_iter().chain([sum]).collect(),
        }
    }

    pub(crate) fn factory(self) -> FakeOperator {
        FakeOperator::new(self.descriptor(), move |call| self.work(call))
            .of_module(self.digest())
            .migrating(move |old| self.migrate(old))
    }

    /// Whether it is at fault for an old sum that it was to migrate: it stays as it is, and records of its key are refused.
    pub(crate) fn cannot_migrate(self, sum: u64, written_by: u32) -> bool {
        self.manner == Manner::MigratesBadly && written_by != self.state && sum % 4 == 1
    }

    fn migrate(self, old: OldValues<'_>) -> Result<BytesColumn, CallError> {
        let sums = old.values.iter().map(|value| sum_in(old.from_version, value?));
        let sums: Option<Vec<u64>> = sums.collect();
        let Some(sums) = sums else {
            return Err(CallError::Host(format!("version {} is not what it says", old.from_version)));
        };
        if sums.iter().any(|sum| self.cannot_migrate(*sum, old.from_version)) {
            return Err(CallError::Trap { reason: "unreachable".to_owned(), backtrace: None });
        }
        let bytes: Vec<Vec<u8>> = sums.iter().map(|sum| bytes_of(self.state, *sum)).collect();
        Ok(bytes.iter().map(|bytes| Some(bytes.as_slice())).collect())
    }

    /// The version over a call.
    fn work(self, call: &mut Call) -> Result<(), CallError> {
        let state = u32::from(self.has_more);
        let batch = Arc::clone(&call.batch);
        let inputs: Vec<Option<Input>> =
            batch.keys.iter().zip(batch.values.iter()).map(|(key, value)| parse(key?, value?)).collect();
        self.refuse(&inputs)?;
        let mut values = BytesColumn::default();
        call.values(state, &mut values)?;
        let read =
            |bytes| sum_in(self.state, bytes).ok_or_else(|| CallError::Host("a sum of another version".to_owned()));
        let mut sums: Vec<Option<u64>> =
            values.iter().map(|value| value.map(read).transpose()).collect::<Result<_, _>>()?;
        let mut outputs = [(Vec::new(), BytesColumn::default()), (Vec::new(), BytesColumn::default())];
        for ((row, key_row), input) in (0..).zip(&call.key_rows).zip(&inputs) {
            let (Some(input), Some(sum)) = (input, sums.get_mut(*key_row as usize)) else { continue };
            let Some(effect) = self.step(input, *sum) else { continue };
            *sum = effect.sum;
            for ((parents, values), texts) in outputs.iter_mut().zip(&effect.outputs) {
                for text in texts {
                    parents.push(row);
                    values.push(Some(text.as_bytes()));
                }
            }
        }
        for (port, (parents, values)) in (0..).zip(&outputs) {
            let values = Some(lend(values));
            call.emit(OutputColumns { port, parents, keys: None, values, timestamps_ms: None, headers: None })?;
        }
        let bytes: Vec<_> = sums.iter().map(|sum| sum.map(|sum| bytes_of(self.state, sum))).collect();
        let new: BytesColumn = bytes.iter().map(Option::as_deref).collect();
        let rows: Vec<u32> = (0..sums.len() as u32).collect();
        call.put_values(state, &rows, lend(&new))?;
        Ok(())
    }

    /// Fails as it does, if there is a record on which it does.
    fn refuse(self, inputs: &[Option<Input>]) -> Result<(), CallError> {
        let bad = (0u32..).zip(inputs).filter(|(_, input)| input.as_ref().is_some_and(|input| self.is_bad(input)));
        let bad: Vec<u32> = bad.map(|(row, _)| row).collect();
        match self.manner {
            _ if bad.is_empty() => Ok(()),
            Manner::Loops => Err(CallError::Timeout { limit_ms: 1, last_words: None }),
            Manner::Rejects => {
                Err(CallError::Reject(bad.into_iter().map(|row| (row, "not mine".to_owned())).collect()))
            }
            _ => Err(CallError::Trap { reason: "unreachable".to_owned(), backtrace: None }),
        }
    }
}

/// The bytes of a sum as a version of the state has them. Versions 1 and 2 are read by one another's code.
pub(crate) fn bytes_of(state: u32, sum: u64) -> Vec<u8> {
    let begins = if (3..=5).contains(&state) { vec![state as u8] } else { Vec::new() };
    [begins, sum.to_le_bytes().to_vec()].concat()
}

/// The sum that bytes of a version stand for.
pub(crate) fn sum_in(state: u32, bytes: &[u8]) -> Option<u64> {
    let (begins, sum) = bytes.split_last_chunk()?;
    let sum = u64::from_le_bytes(*sum);
    (bytes_of(state, sum).len() == bytes.len() && begins.iter().all(|byte| u32::from(*byte) == state)).then_some(sum)
}

fn parse(key: &[u8], value: &[u8]) -> Option<Input> {
    let &[act, amount] = value else { return None };
    let acts = [Act::Add, Act::AddAndTell, Act::Remove, Act::Pass];
    let act = acts.into_iter().find(|known| *known as u8 == act)?;
    Some(Input { key: key.to_vec(), amount: amount.into(), act })
}

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}
