//! Planted bugs: each leaves out or twists one thing the protocol does, by a port that does not do as it is told. Nothing of this is in the
//! engine itself.

use millstream_engine::commit::codec::decode_open;
use millstream_engine::fakes::{FakeLog, FakeState};
use millstream_engine::ports::{ChangeSet, CommitsKey, LogError, LogErrorKind, Meta, StateBackend, TransactionLog};
use millstream_model::ids::{Incarnation, SinkIndex};
use millstream_model::record::RecordBatch;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// No `begin` record opens the bracket.
    NoBracket,
    /// `begin` is not acknowledged before the rest is produced.
    BeginNotAwaited,
    /// The commit record is produced before every other delivery is acknowledged.
    CommitRecordBeforeFlush,
    /// Changes reach the store before the commit is Ok.
    ApplyBeforeOk,
    /// Changes and `applied` are two writes.
    ApplyInTwoWrites,
    /// An error of the commit is taken for an abort.
    ErrorMeansAborted,
    /// An error of the commit is taken for a success.
    ErrorMeansCommitted,
    /// The log is read before the producer is made anew.
    ReadBeforeInit,
    /// Whoever opened later is not seen.
    YoungerOpenIgnored,
    /// The producer is kept after a lost connection.
    ProducerKept,
    /// Positions are one too far.
    PositionsAhead,
    /// Positions are one short.
    PositionsBehind,
    /// What is being committed is evicted as if it were in the store.
    DirtyEviction,
    /// Overlays survive a rollback.
    OverlayKept,
    /// A restore does not say that it is under way.
    RestoreUnmarked,
    /// Removed cells are left out of the changelog.
    TombstonesForgotten,
    /// Without a log, the commit is not synced.
    CommitUnsynced,
    /// A file's length is told before it is durable.
    SinkNotDurable,
    /// What was written behind the committed length stays.
    SinkNotCutOff,
}

impl Mutant {
    pub(crate) const ALL: [Self; 19] = [
        Self::NoBracket,
        Self::BeginNotAwaited,
        Self::CommitRecordBeforeFlush,
        Self::ApplyBeforeOk,
        Self::ApplyInTwoWrites,
        Self::ErrorMeansAborted,
        Self::ErrorMeansCommitted,
        Self::ReadBeforeInit,
        Self::YoungerOpenIgnored,
        Self::ProducerKept,
        Self::PositionsAhead,
        Self::PositionsBehind,
        Self::DirtyEviction,
        Self::OverlayKept,
        Self::RestoreUnmarked,
        Self::TombstonesForgotten,
        Self::CommitUnsynced,
        Self::SinkNotDurable,
        Self::SinkNotCutOff,
    ];
}

type Commits = Vec<(CommitsKey, Vec<u8>)>;

/// A log that leaves something out.
pub(crate) struct MutantLog {
    mutant: Mutant,
    log: FakeLog,
    state: FakeState,
    /// What was produced last to the commits.
    last: Option<CommitsKey>,
    changes: Vec<ChangeSet>,
    own: Incarnation,
    /// The commits, read too early.
    stale: Option<Commits>,
    /// What was produced to the commits in this transaction.
    produced: Commits,
    /// The same of the last transaction that was Ok.
    committed: Commits,
    has_failed: bool,
}

impl MutantLog {
    pub(crate) fn new(mutant: Mutant, log: FakeLog, state: FakeState) -> Self {
        let own = Incarnation(0);
        Self {
            mutant,
            log,
            state,
            last: None,
            changes: Vec::new(),
            own,
            stale: None,
            produced: Vec::new(),
            committed: Vec::new(),
            has_failed: false,
        }
    }
}

impl TransactionLog for MutantLog {
    fn init(&mut self) -> Result<(), LogError> {
        if self.mutant == Mutant::ReadBeforeInit {
            self.stale = self.log.read_commits().ok();
        }
        self.log.init()
    }

    fn read_commits(&mut self) -> Result<Commits, LogError> {
        let mut read = self.log.read_commits()?;
        match self.mutant {
            Mutant::ReadBeforeInit => return Ok(self.stale.take().unwrap_or(read)),
            Mutant::ErrorMeansAborted if std::mem::take(&mut self.has_failed) => {
                // As if the epoch had left nothing.
                read.retain(|entry| entry.0 == CommitsKey::Open || !self.produced.contains(entry));
                if read.iter().all(|(key, _)| *key != CommitsKey::Commit) {
                    read.extend_from_slice(&self.committed);
                }
            }
            Mutant::YoungerOpenIgnored if self.own.0 > 0 => read.retain(|(key, value)| {
                let open = decode_open(value).ok().filter(|_| *key == CommitsKey::Open);
                open.is_none_or(|open| open.incarnation <= self.own)
            }),
            _ => {}
        }
        Ok(read)
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.changes.clear();
        self.produced.clear();
        self.has_failed = false;
        self.log.begin()
    }

    fn produce_commits(&mut self, key: CommitsKey, value: &[u8]) -> Result<(), LogError> {
        self.last = Some(key);
        self.produced.push((key, value.to_vec()));
        match (self.mutant, key) {
            (Mutant::NoBracket, CommitsKey::Begin) => return Ok(()),
            (Mutant::YoungerOpenIgnored, CommitsKey::Open) => {
                self.own = decode_open(value).map(|open| open.incarnation).unwrap_or_default();
            }
            (Mutant::ApplyBeforeOk, CommitsKey::Commit) => {
                // Dead or not, the protocol goes on as it would.
                let _ = self.state.write(&self.changes, &[(Meta::Applied, Some(value))], false);
            }
            _ => {}
        }
        self.log.produce_commits(key, value)
    }

    fn produce_outputs(&mut self, sink: SinkIndex, records: &RecordBatch) -> Result<(), LogError> {
        self.last = None;
        self.log.produce_outputs(sink, records)
    }

    fn produce_changes(&mut self, changes: &ChangeSet) -> Result<(), LogError> {
        self.last = None;
        self.changes.push(changes.clone());
        if self.mutant == Mutant::TombstonesForgotten {
            let mut kept = ChangeSet::default();
            for (key, value) in changes.keys.iter().zip(changes.values.iter()).filter(|(_, value)| value.is_some()) {
                kept.keys.push(key);
                kept.values.push(value);
            }
            return self.log.produce_changes(&kept);
        }
        self.log.produce_changes(changes)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        match self.mutant {
            Mutant::BeginNotAwaited if self.last == Some(CommitsKey::Begin) => Ok(()),
            Mutant::CommitRecordBeforeFlush if self.last.is_none() => Ok(()),
            _ => self.log.flush(),
        }
    }

    fn end(&mut self) -> Result<(), LogError> {
        let ended = self.log.end();
        match &ended {
            Err(error) if self.mutant == Mutant::ErrorMeansCommitted && error.kind == LogErrorKind::Unknown => Ok(()),
            Err(error) => {
                self.has_failed = error.kind != LogErrorKind::Retriable;
                ended
            }
            Ok(()) => {
                self.committed.clone_from(&self.produced);
                self.committed.retain(|(key, _)| *key != CommitsKey::Open);
                ended
            }
        }
    }

    fn connections_lost(&self) -> u64 {
        if self.mutant == Mutant::ProducerKept { 0 } else { self.log.connections_lost() }
    }

    fn read_changes(&mut self, visit: &mut dyn FnMut(&ChangeSet) -> Result<(), LogError>) -> Result<(), LogError> {
        self.log.read_changes(visit)
    }
}
