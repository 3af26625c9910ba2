//! Versions of the operator of the simulation: what each does to a record, as a model and over a call.

use crate::check::SINKS;
use crate::model::{Act, Input};
use millstream_engine::call::{Call, OutputColumns};
use millstream_engine::fakes::{Chance, FakeOperator};
use millstream_engine::ports::CallError;
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
}

impl Manner {
    pub(crate) const ALL: [Self; 7] =
        [Self::Good, Self::Traps, Self::Loops, Self::TrapsOnNothing, Self::Rejects, Self::Floods, Self::Estranged];
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
        let state = if manner == Manner::Estranged { 9 } else { 1 + chance.below(2) as u32 };
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
            Manner::Good | Manner::Floods | Manner::Estranged => false,
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
        let state = |name: &str, version, reads: &[u32]| StateDescriptor {
            version,
            reads_versions: reads.to_vec(),
            ..StateDescriptor::new(name, StateKind::Value)
        };
        let sum = match self.state {
            1 => state("sum", 1, &[2]),
            2 => state("sum", 2, &[1]),
            other => state("sum", other, &[]),
        };
        let more = self.has_more.then(|| state("more", 1, &[]));
        Descriptor {
            inputs: vec![InputDescriptor::records("in")],
            outputs: SINKS.map(str::to_owned).to_vec(),
            states: more.into_iter().chain([sum]).collect(),
            ..Descriptor::default()
        }
    }

    pub(crate) fn factory(self) -> FakeOperator {
        FakeOperator::new(self.descriptor(), move |call| self.work(call)).of_module(self.digest())
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
        let read = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        let mut sums: Vec<Option<u64>> = values.iter().map(|value| value.and_then(read)).collect();
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
        let bytes: Vec<_> = sums.iter().map(|sum| sum.map(u64::to_le_bytes)).collect();
        let new: BytesColumn = bytes.iter().map(|sum| sum.as_ref().map(<[u8; 8]>::as_slice)).collect();
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

fn parse(key: &[u8], value: &[u8]) -> Option<Input> {
    let &[act, amount] = value else { return None };
    let acts = [Act::Add, Act::AddAndTell, Act::Remove, Act::Pass];
    let act = acts.into_iter().find(|known| *known as u8 == act)?;
    Some(Input { key: key.to_vec(), amount: amount.into(), act })
}

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}
