use super::codec::{encode_begin, encode_commit};
use super::cut::{CutEpoch, is_worth_a_commit};
use super::decide;
use super::seed::Seeded;
use super::sums::{sum_changes, sum_outputs};
use super::{CommitPorts, CommitterSettings, EpochEnd, EpochLost, Identity, SinkPort, Stop};
use crate::planted::Bug;
use crate::ports::{ChangeSet, CommitsKey, LogError, LogErrorKind, Meta, TransactionLog};
use crate::swap::plan::OlderVersions;
use millstream_model::commit::{
    BeginRecord, Catalog, CatalogEntry, CommitRecord, OperatorCommit, OutputTotal, PartitionPosition,
};
use millstream_model::ids::{EpochNumber, Incarnation, Lineage, SinkIndex, Token};
use millstream_model::record::RecordBatch;
use std::collections::BTreeMap;

/// No version of any state lies about.
static NONE: BTreeMap<String, OlderVersions> = BTreeMap::new();

/// Longest pause before the end of a transaction is asked for again, in milliseconds.
const END_PAUSE_MS_MAX: u64 = 200;

/// Makes the commits of a pipeline. See the module for the protocol.
pub struct Committer {
    pub(super) ports: CommitPorts,
    pub(super) identity: Identity,
    pub(super) settings: CommitterSettings,
    pub(super) lineage: Lineage,
    pub(super) incarnation: Incarnation,
    /// Numbers of operators and states; a swap adds to it before its first commit.
    pub(super) catalog: Catalog,
    pub(super) applied: Option<CommitRecord>,
    pub(super) open: Transaction,
    /// When the last commit was, on the monotonic clock.
    pub(super) committed_ms: u64,
    pub(super) resolves: u32,
    /// Why there is no going on, found where only an [`EpochLost`] could be returned.
    pub(super) fatal: Option<Stop>,
}

/// The epoch that is being written.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) is_begun: bool,
    /// Connections lost when it began.
    connections_lost: u64,
    outputs: Vec<OutputTotal>,
    /// Cells that are in the changelog already: of the checkpoint that the history begins with.
    pub(super) seeded: Seeded,
    /// The commit record produced for it, and the changes to apply.
    pub(super) decided: Option<(CommitRecord, Vec<ChangeSet>)>,
    pub(super) may_be_fenced: bool,
    pub(super) lost_because: String,
    /// Whether the producer must be made anew before the next begin.
    pub(super) needs_init: bool,
}

impl Transaction {
    pub(super) fn new(sinks: usize) -> Self {
        Self { outputs: vec![OutputTotal::default(); sinks], ..Self::default() }
    }
}

impl Committer {
    pub(super) fn new(
        ports: CommitPorts,
        identity: Identity,
        settings: CommitterSettings,
        (lineage, incarnation): (Lineage, Incarnation),
        applied: Option<CommitRecord>,
    ) -> Self {
        let committed_ms = ports.clock.monotonic_ms();
        Self {
            open: Transaction::new(ports.sinks.len()),
            ports,
            identity,
            settings,
            lineage,
            incarnation,
            catalog: Catalog::default(),
            applied,
            committed_ms,
            resolves: 0,
            fatal: None,
        }
    }

    /// The newest commit; the store holds exactly the fold of all commits up to it.
    #[must_use]
    pub fn applied(&self) -> Option<&CommitRecord> {
        self.applied.as_ref()
    }

    /// Gives numbers to states that an operator has from the next commit on; `None` when the numbers are used up. A number given to an epoch that is
    /// lost stays given: nothing is stored under it.
    pub fn enter_states(&mut self, operator: &str, states: &[&str]) -> Option<CatalogEntry> {
        self.catalog.enter(operator, states).cloned()
    }

    /// Writes outputs of the open epoch.
    ///
    /// # Errors
    /// When the epoch cannot be committed any more.
    pub fn write(&mut self, sink: SinkIndex, records: &RecordBatch) -> Result<(), EpochLost> {
        if records.is_empty() {
            return Ok(());
        }
        if let Some(total) = self.open.outputs.get_mut(sink.at()) {
            sum_outputs(total, records);
        }
        if let Some(SinkPort::Local(local)) = self.ports.sinks.get_mut(sink.at()) {
            let written = local.write(records);
            return written.map_err(|error| self.lose(error.to_string(), None));
        }
        self.begin()?;
        self.with_log(|log| log.produce_outputs(sink, records))
    }

    /// Commits the epoch, and applies its changes to the store. `None`: it was not worth a commit, and there was nothing to apply.
    ///
    /// # Errors
    /// When the epoch is not committed, or that is unknown: [`Committer::resolve`] tells.
    pub fn commit(&mut self, end: EpochEnd) -> Result<Option<CommitRecord>, EpochLost> {
        if !is_worth_a_commit(&self.judge(&end)) {
            return Ok(None);
        }
        self.begin()?;
        for changes in &end.changes {
            if !changes.is_empty() {
                self.with_log(|log| log.produce_changes(changes))?;
            }
        }
        let file_lengths = self.prepare_sinks()?;
        let (record, changes) = self.make_record(end, file_lengths)?;
        if self.ports.log.is_some() {
            self.with_log(|log| log.flush())?;
            fail::fail_point!("before_commit_record");
            self.open.decided = Some((record.clone(), changes));
            let bytes = encode_commit(&record);
            self.with_log(|log| log.produce_commits(CommitsKey::Commit, &bytes))?;
            self.with_log(|log| log.flush())?;
            fail::fail_point!("before_end_txn");
            self.end()?;
        } else {
            self.open.decided = Some((record.clone(), changes));
        }
        self.apply().map_err(|stop| self.lose(stop.to_string(), Some(stop)))?;
        self.resolves = 0;
        Ok(Some(record))
    }

    fn judge(&self, end: &EpochEnd) -> CutEpoch {
        let before = self.applied.as_ref();
        let moved = |position: &PartitionPosition| {
            let then = before.and_then(|before| decide::find(&before.positions, position));
            then.is_none_or(|then| then.next != position.next)
        };
        let switches = |operator: &OperatorCommit| {
            let then = before.and_then(|before| before.operators.iter().find(|then| then.id == operator.id));
            then.is_some_and(|then| then.generation != operator.generation)
        };
        let older_versions = before.map_or(&NONE, |before| &before.older_versions);
        let was_finished = before.is_some_and(|before| before.finished);
        let has_outputs = self.open.outputs.iter().any(|total| total.records > 0);
        CutEpoch {
            has_effects: has_outputs
                || end.changes.iter().any(|changes| !changes.is_empty())
                || !end.gaps.is_empty()
                || end.older_versions != *older_versions
                || end.operators.iter().any(switches)
                || (end.finished && !was_finished),
            has_moved: end.positions.iter().any(moved),
            is_forced: end.force,
            since_commit_ms: self.ports.clock.monotonic_ms().saturating_sub(self.committed_ms),
        }
    }

    /// Opens the transaction, if it is not: `begin` is acknowledged before anything else can join.
    fn begin(&mut self) -> Result<(), EpochLost> {
        if self.open.is_begun || self.ports.log.is_none() {
            return Ok(());
        }
        if self.open.needs_init {
            self.take_over_again()?;
        }
        self.with_log(|log| log.begin())?;
        self.open.is_begun = true;
        self.open.connections_lost = self.ports.log.as_ref().map_or(0, |log| log.connections_lost());
        let begin = encode_begin(&BeginRecord { token: self.next_token() });
        self.with_log(|log| log.produce_commits(CommitsKey::Begin, &begin))?;
        self.with_log(|log| log.flush())?;
        fail::fail_point!("after_begin");
        Ok(())
    }

    /// A request of the last transaction may still be under way on a connection that was lost; a new producer makes it harmless. Whoever took the
    /// pipeline meanwhile is seen here and not fenced in return.
    fn take_over_again(&mut self) -> Result<(), EpochLost> {
        self.with_log(|log| log.init())?;
        let owned = self.read_log().and_then(|found| decide::check_owner(&found, self.lineage, self.incarnation));
        owned.map_err(|stop| match stop {
            Stop::Log(error) => self.lose_by_log(&error),
            stop => self.lose(stop.to_string(), Some(stop)),
        })?;
        self.open.needs_init = false;
        Ok(())
    }

    fn next_token(&self) -> Token {
        let epoch = self.applied.as_ref().map_or(0, |applied| applied.token.epoch.0) + 1;
        Token { lineage: self.lineage, incarnation: self.incarnation, epoch: EpochNumber(epoch) }
    }

    fn prepare_sinks(&mut self) -> Result<BTreeMap<String, u64>, EpochLost> {
        let mut lengths = BTreeMap::new();
        let mut failed = None;
        for (sink, id) in self.ports.sinks.iter_mut().zip(&self.identity.sink_ids) {
            if let SinkPort::Local(local) = sink {
                match local.prepare() {
                    Ok(length) => drop(lengths.insert(id.clone(), length)),
                    Err(error) => failed = Some(error),
                }
            }
        }
        match failed {
            // A sink that failed to make its records durable is not to be used again in this process.
            Some(error) => Err(self.lose(error.to_string(), Some(Stop::Sink(error)))),
            None => Ok(lengths),
        }
    }

    fn make_record(
        &mut self,
        end: EpochEnd,
        file_lengths: BTreeMap<String, u64>,
    ) -> Result<(CommitRecord, Vec<ChangeSet>), EpochLost> {
        let positions = decide::adjoin(self.applied.as_ref(), end.positions);
        let positions = positions.map_err(|stop| self.lose(stop.to_string(), Some(stop)))?;
        let before = self.applied.as_ref();
        let mut output_totals = before.map(|before| before.output_totals.clone()).unwrap_or_default();
        for (id, epoch) in self.identity.sink_ids.iter().zip(&self.open.outputs) {
            if epoch.records > 0 {
                let total = output_totals.entry(id.clone()).or_default();
                total.records += epoch.records;
                total.checksum = total.checksum.wrapping_add(epoch.checksum);
            }
        }
        let seeded = self.open.seeded;
        let record = CommitRecord {
            token: self.next_token(),
            previous: before.map(|before| before.token),
            committed_ms: self.ports.clock.now_ms(),
            positions,
            operators: end.operators,
            file_lengths,
            output_totals,
            changes: end.changes.iter().fold(seeded.cells, |cells, changes| cells + changes.len() as u64),
            changes_checksum: end
                .changes
                .iter()
                .fold(seeded.checksum, |sum, changes| sum.wrapping_add(sum_changes(changes))),
            gaps: end.gaps,
            finished: end.finished,
            catalog: self.catalog.clone(),
            older_versions: end.older_versions,
        };
        Ok((record, end.changes))
    }

    /// Ends the transaction, however often it takes: a retriable error leaves it as it was.
    fn end(&mut self) -> Result<(), EpochLost> {
        let started_ms = self.ports.clock.monotonic_ms();
        let mut pause_ms = 5;
        loop {
            let Some(log) = &mut self.ports.log else { return Ok(()) };
            let Err(error) = log.end() else { return Ok(()) };
            let waited_ms = self.ports.clock.monotonic_ms().saturating_sub(started_ms);
            if error.kind != LogErrorKind::Retriable || waited_ms > 2 * self.settings.transaction_timeout_ms {
                return Err(self.lose_by_log(&error));
            }
            self.ports.clock.pause(pause_ms);
            pause_ms = (pause_ms * 2).min(END_PAUSE_MS_MAX);
        }
    }

    /// Brings the store up to the epoch that was decided.
    pub(super) fn apply(&mut self) -> Result<(), Stop> {
        let Some((record, changes)) = self.open.decided.take() else { return Ok(()) };
        fail::fail_point!("before_apply");
        let bytes = encode_commit(&record);
        let is_only_copy = self.ports.log.is_none();
        // What was seeded from a checkpoint is a fold of this history's commits from its first one on.
        let seeded = [(Meta::Applied, Some(bytes.as_slice())), (Meta::Restoring, None)];
        let meta = seeded.get(..if record.previous.is_none() { 2 } else { 1 }).unwrap_or_default();
        self.ports.state.write(&changes, meta, is_only_copy)?;
        fail::fail_point!("after_apply");
        for sink in &mut self.ports.sinks {
            if let SinkPort::Local(local) = sink {
                local.committed();
            }
        }
        let connections_lost = self.ports.log.as_ref().map_or(0, |log| log.connections_lost());
        let needs_init = connections_lost != self.open.connections_lost && !Bug::KeepProducer.is_planted();
        self.open = Transaction { needs_init, ..Transaction::new(self.ports.sinks.len()) };
        self.applied = Some(record);
        self.committed_ms = self.ports.clock.monotonic_ms();
        Ok(())
    }

    fn with_log(
        &mut self,
        step: impl FnOnce(&mut dyn TransactionLog) -> Result<(), LogError>,
    ) -> Result<(), EpochLost> {
        let Some(log) = &mut self.ports.log else { return Ok(()) };
        let done = step(log.as_mut());
        done.map_err(|error| self.lose_by_log(&error))
    }

    fn lose_by_log(&mut self, error: &LogError) -> EpochLost {
        self.open.may_be_fenced |= error.kind == LogErrorKind::MaybeFenced;
        let fatal = (error.kind == LogErrorKind::Fatal).then(|| Stop::Log(error.clone()));
        self.lose(error.to_string(), fatal)
    }

    pub(super) fn lose(&mut self, reason: String, fatal: Option<Stop>) -> EpochLost {
        self.open.lost_because.clone_from(&reason);
        self.fatal = fatal;
        EpochLost { reason }
    }
}
