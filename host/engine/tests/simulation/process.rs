//! A process of the simulation: one worker with the engine's real keyed state and committer, cut by hand.

use crate::model::{Act, Input, SPACE, step};
use crate::mutants::Mutant;
use millstream_engine::call::{Call, CallRules, Mark};
use millstream_engine::commit::{Acknowledged, Auditor, Committer, EpochEnd, Resolution, Started, Stop};
use millstream_engine::fakes::{Chance, Life};
use millstream_engine::keyed::{KeyedState, StateColumn};
use millstream_engine::ports::{ChangeSet, StateBackend};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::commit::{CommitRecord, PartitionPosition};
use millstream_model::descriptor::{StateDescriptor, StateKind};
use millstream_model::ids::SinkIndex;
use millstream_model::record::{Origin, RecordBatch};
use std::sync::Arc;

/// The source's id.
pub(crate) const SOURCE: &str = "in";

pub(crate) struct Process {
    pub(crate) life: Life,
    pub(crate) committer: Committer,
    /// Where there is a log.
    pub(crate) auditor: Option<Auditor>,
    /// The newest commit of this process that was acknowledged.
    acknowledged: Option<Acknowledged>,
    call: Call,
    seed: u64,
    ends: Vec<i64>,
    next: Vec<i64>,
    /// Outputs that were not written yet, by sink.
    held: [RecordBatch; 2],
    mutant: Option<Mutant>,
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The process goes on.
    Fine,
    /// An epoch was lost, and is committed or not.
    Resolved(bool),
    /// It stops.
    Stopped(Stop),
}

impl Process {
    pub(crate) fn new(
        life: &Life,
        (committer, started): (Committer, &Started),
        state: Arc<dyn StateBackend>,
        (seed, ends): (u64, &[i64]),
        mutant: Option<Mutant>,
    ) -> Self {
        let descriptor = StateDescriptor::new("sum", StateKind::Value);
        let columns = vec![StateColumn { descriptor, space: SPACE }];
        let rules = Arc::new(CallRules::default());
        let call = Call { state: KeyedState::new(columns, state), rules, ..Call::default() };
        let mut process = Self {
            life: life.clone(),
            committer,
            auditor: None,
            acknowledged: None,
            call,
            seed,
            ends: ends.to_vec(),
            next: vec![0; ends.len()],
            held: Default::default(),
            mutant,
        };
        process.seek(&started.positions);
        process
    }

    /// Looks whether the log says what the process believes.
    pub(crate) fn audit(&mut self, now_ms: u64) -> Turn {
        // As if every commit had been acknowledged long ago: what the brokers granted is visible at once here.
        let newest = self.acknowledged;
        match self.auditor.as_mut().map(|auditor| auditor.look(newest, now_ms)) {
            Some(Err(stop)) => Turn::Stopped(stop),
            _ => Turn::Fine,
        }
    }

    fn seek(&mut self, positions: &[PartitionPosition]) {
        for (partition, next) in self.next.iter_mut().enumerate() {
            let position = positions.iter().find(|position| position.partition == partition as i32);
            *next = position.map_or(0, |position| position.next);
        }
    }

    /// Reads some records and processes them in one call. A call whose state cannot be read leaves nothing.
    pub(crate) fn process(&mut self, chance: &mut Chance) {
        let mut batch = RecordBatch::default();
        let mut inputs = Vec::new();
        let before = self.next.clone();
        for _ in 0..=chance.below(6) {
            let partition = chance.below(self.next.len() as u64) as usize;
            let (Some(next), Some(end)) = (self.next.get_mut(partition), self.ends.get(partition)) else { continue };
            if *next < *end {
                let input = crate::model::input(self.seed, partition, *next);
                batch.push(Some(&input.key), None, *next, Origin::default());
                inputs.push(input);
                *next += 1;
            }
        }
        self.call.begin(0, Arc::new(batch), Mark::default(), true);
        if self.run_operator(&inputs).is_none() {
            self.next = before;
        }
    }

    fn run_operator(&mut self, inputs: &[Input]) -> Option<()> {
        let mut values = BytesColumn::default();
        self.call.values(0, &mut values).ok()?;
        let read = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        let mut sums: Vec<Option<u64>> = values.iter().map(|value| value.and_then(read)).collect();
        let mut changed = vec![false; sums.len()];
        for (input, &key_row) in inputs.iter().zip(&self.call.key_rows) {
            let (Some(sum), Some(changed)) = (sums.get_mut(key_row as usize), changed.get_mut(key_row as usize)) else {
                continue;
            };
            let (after, first, second) = step(input, *sum);
            *sum = after;
            *changed |= input.act != Act::Pass;
            for (held, value) in self.held.iter_mut().zip([first, second]) {
                if let Some(value) = value {
                    held.push(Some(&input.key), Some(value.as_bytes()), 0, Origin::default());
                }
            }
        }
        let rows: Vec<u32> = (0..sums.len() as u32).filter(|row| changed.get(*row as usize) == Some(&true)).collect();
        let sums: Vec<_> = rows.iter().map(|row| sums.get(*row as usize).copied().flatten()).collect();
        let bytes: Vec<_> = sums.iter().map(|sum| sum.map(u64::to_le_bytes)).collect();
        let new: BytesColumn = bytes.iter().map(|sum| sum.as_ref().map(<[u8; 8]>::as_slice)).collect();
        let new = ColumnRef { ends: new.ends(), bytes: new.bytes(), absent: new.absent() };
        self.call.put_values(0, &rows, new).ok()?;
        self.call.apply_state();
        Some(())
    }

    /// Writes what was put out so far.
    pub(crate) fn write(&mut self) -> Turn {
        for (sink, batch) in self.held.iter_mut().enumerate() {
            let batch = std::mem::take(batch);
            if self.committer.write(SinkIndex(sink as u16), &batch).is_err() {
                return self.resolve(None);
            }
        }
        Turn::Fine
    }

    /// Ends the epoch and commits it, while the next one has begun.
    pub(crate) fn cut(&mut self, chance: &mut Chance, force: bool) -> Turn {
        match self.write() {
            Turn::Fine => {}
            other => return other,
        }
        let mut changes = ChangeSet::default();
        let frozen = self.call.state.freeze(&mut changes);
        if self.mutant == Some(Mutant::DirtyEviction) {
            self.call.state.applied(frozen);
            self.call.state.evict(0);
        }
        let end = EpochEnd {
            positions: self.positions(),
            changes: vec![changes],
            finished: self.next == self.ends,
            force,
            ..EpochEnd::default()
        };
        if chance.happens(600) {
            self.process(chance);
        }
        match self.committer.commit(end) {
            Ok(record) => {
                let newest = record.map(|record| Acknowledged { token: record.token, since_ms: 0 });
                self.acknowledged = newest.or(self.acknowledged);
                self.call.state.applied(frozen);
                self.call.state.evict(chance.below(2) as usize * 4_000);
                Turn::Fine
            }
            Err(_) => self.resolve(Some(frozen)),
        }
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        let off = match self.mutant {
            Some(Mutant::PositionsAhead) => 1,
            Some(Mutant::PositionsBehind) => -1,
            _ => 0,
        };
        let positions = self.next.iter().zip(&self.ends).enumerate();
        let position = |(partition, (next, end)): (usize, (&i64, &i64))| PartitionPosition {
            source: SOURCE.to_owned(),
            partition: partition as i32,
            from: 0,
            next: (next + off).clamp(0, *end),
            leader_epoch: -1,
            timestamp_ms_max: (*next > 0).then(|| next - 1),
            idle: false,
        };
        positions.map(position).collect()
    }

    fn resolve(&mut self, frozen: Option<u32>) -> Turn {
        if self.life.is_over() {
            return Turn::Fine;
        }
        match self.committer.resolve() {
            Ok(Resolution::Committed(_)) => {
                if let Some(frozen) = frozen {
                    self.call.state.applied(frozen);
                }
                Turn::Resolved(true)
            }
            Ok(Resolution::RolledBack(record)) => {
                self.roll_back(record.as_ref());
                Turn::Resolved(false)
            }
            Err(stop) => Turn::Stopped(stop),
        }
    }

    fn roll_back(&mut self, record: Option<&CommitRecord>) {
        self.held = Default::default();
        if self.mutant != Some(Mutant::OverlayKept) {
            self.call.state.drop_epochs();
        }
        self.seek(record.map(|record| record.positions.as_slice()).unwrap_or_default());
    }
}
