use super::codec::{decode_commit, decode_entry, encode_commit, encode_open};
use super::decide::{self, Begin, Found, KEY_GROUPS, StoreFacts};
use super::{CommitPorts, Committer, CommitterSettings, Identity, Started, Stop, restore};
use crate::ports::{Clock, CommitsKey, LogError, LogErrorKind, Meta, StateBackend, TransactionLog};
use millstream_model::commit::{Catalog, CommitRecord, OpenRecord};
use millstream_model::ids::Incarnation;

/// Attempts at writing the `open` record.
const OPEN_ATTEMPTS: u32 = 10;

/// Least pause between two of them, in milliseconds; chance adds up to as much.
const OPEN_PAUSE_MS: u64 = 500;

/// How often the end of the transaction that holds it is asked for, and the pause in between, in milliseconds.
const END_ATTEMPTS: u32 = 100;
const END_PAUSE_MS: u64 = 100;

/// The newest records of the commits partition.
pub(super) fn read_log(log: &mut dyn TransactionLog) -> Result<Found, Stop> {
    let entries = log.read_commits()?;
    let entries = entries.iter().map(|(key, value)| decode_entry(*key, value)).collect::<Result<Vec<_>, _>>()?;
    Ok(Found::newest(entries))
}

impl Committer {
    /// Takes the pipeline over: fences whoever had it, decides by log and store where to go on, says so in an `open` record, and brings
    /// store and sinks up to the newest commit.
    ///
    /// # Errors
    /// See [`Stop`]; nothing but an `open` record has been written then.
    pub fn start(
        mut ports: CommitPorts,
        identity: Identity,
        settings: CommitterSettings,
    ) -> Result<(Self, Started), Stop> {
        let store = store_facts(ports.state.as_ref(), settings.from_checkpoint)?;
        let found = match &mut ports.log {
            Some(log) => {
                log.init()?;
                read_log(log.as_mut())?
            }
            None => found_in_store(ports.state.as_ref(), &store)?,
        };
        let begin = decide::at_start(&identity, &found, &store, ports.clock.now_ms())?;
        let checkpointed = match begin {
            Begin::Seed => checkpoint_catalog(ports.state.as_ref())?,
            _ => None,
        };
        let open = make_open(&identity, found.open.as_ref(), checkpointed, ports.clock.now_ms())?;
        let bytes = encode_open(&open);
        let needs_init = match &mut ports.log {
            Some(log) => write_open(log.as_mut(), ports.clock.as_ref(), &open, &bytes)?,
            None => false,
        };
        let newest = if begin == Begin::Seed { None } else { found.commit };
        let owner = (open.lineage, open.incarnation);
        let mut committer = Self::new(ports, identity, settings, owner, newest);
        committer.open.needs_init = needs_init;
        let restored_cells = committer.bring_up(begin, store.applied)?;
        let has_log = committer.ports.log.is_some();
        committer.ports.state.write(&[], &[(Meta::Open, Some(&bytes))], !has_log)?;
        committer.recover_sinks()?;
        let newest = committer.applied.as_ref();
        let started = Started {
            positions: newest.map(|newest| newest.positions.clone()).unwrap_or_default(),
            catalog: open.catalog,
            token: newest.map(|newest| newest.token),
            lineage: open.lineage,
            incarnation: open.incarnation,
            finished: newest.is_some_and(|newest| newest.finished),
            restored_cells,
        };
        Ok((committer, started))
    }

    /// Brings the store to the newest commit.
    fn bring_up(&mut self, begin: Begin, seed: Option<CommitRecord>) -> Result<u64, Stop> {
        match begin {
            Begin::Resume => Ok(0),
            Begin::Fresh => {
                self.ports.state.clear()?;
                Ok(0)
            }
            Begin::Seed => {
                if let Some(seed) = seed {
                    restore::seed(self, seed)?;
                }
                Ok(0)
            }
            Begin::RestoreForward | Begin::RestoreEmpty => {
                let bytes = self.applied.as_ref().map(encode_commit).unwrap_or_default();
                let Some(log) = &mut self.ports.log else { return Ok(0) };
                let is_empty = begin == Begin::RestoreEmpty;
                restore::from_changelog(log.as_mut(), self.ports.state.as_ref(), is_empty, &bytes)
            }
        }
    }
}

fn store_facts(state: &dyn StateBackend, is_from_checkpoint: bool) -> Result<StoreFacts, Stop> {
    let applied = state.meta(Meta::Applied)?;
    Ok(StoreFacts {
        applied: applied.map(|bytes| decode_commit(&bytes)).transpose()?,
        is_restoring: state.meta(Meta::Restoring)?.is_some(),
        is_from_checkpoint,
    })
}

/// Without a log the store is the log.
fn found_in_store(state: &dyn StateBackend, store: &StoreFacts) -> Result<Found, Stop> {
    if store.is_from_checkpoint {
        return Ok(Found::default());
    }
    let open = state.meta(Meta::Open)?;
    let open = open.map(|bytes| super::codec::decode_open(&bytes)).transpose()?;
    Ok(Found { open, begin: None, commit: store.applied.clone() })
}

/// The numbers in the cell keys of a store that came from a checkpoint.
fn checkpoint_catalog(state: &dyn StateBackend) -> Result<Option<Catalog>, Stop> {
    let open = state.meta(Meta::Open)?;
    let open = open.map(|bytes| super::codec::decode_open(&bytes)).transpose()?;
    Ok(open.map(|open| open.catalog))
}

fn make_open(
    identity: &Identity,
    before: Option<&OpenRecord>,
    checkpointed: Option<Catalog>,
    started_ms: i64,
) -> Result<OpenRecord, Stop> {
    let mut catalog = checkpointed.or_else(|| before.map(|before| before.catalog.clone())).unwrap_or_default();
    for (operator, states) in &identity.operators {
        let states: Vec<&str> = states.iter().map(String::as_str).collect();
        if catalog.enter(operator, &states).is_none() {
            return Err(Stop::Config(format!(
                "the numbers for states of operator `{operator}` are used up: this lineage has named 256 of them; `millstream reset {}` begins a new one",
                identity.id
            )));
        }
    }
    let sink_starts = before.map_or_else(
        || identity.sink_ends.clone(),
        |before| {
            let mut starts = before.sink_starts.clone();
            for (sink, ends) in &identity.sink_ends {
                starts.entry(sink.clone()).or_insert_with(|| ends.clone());
            }
            starts
        },
    );
    Ok(OpenRecord {
        lineage: before.map_or(identity.fresh_lineage, |before| before.lineage),
        incarnation: Incarnation(before.map_or(0, |before| before.incarnation.0) + 1),
        host: identity.host.clone(),
        pid: identity.pid,
        started_ms,
        cluster_id: identity.cluster_id.clone(),
        topics: identity.topics.clone(),
        changelog: identity.changelog,
        catalog,
        digests: identity.digests.clone(),
        key_groups: KEY_GROUPS.to_owned(),
        sink_starts,
    })
}

/// Commits the `open` record, and tells whether a request of it may still be under way. An attempt of unknown outcome is looked up, never repeated over
/// somebody else's.
fn write_open(log: &mut dyn TransactionLog, clock: &dyn Clock, open: &OpenRecord, bytes: &[u8]) -> Result<bool, Stop> {
    for _ in 0..OPEN_ATTEMPTS {
        let error = match try_open(log, clock, bytes) {
            Ok(is_late) => return Ok(is_late),
            Err(error) => error,
        };
        if error.kind == LogErrorKind::Fatal {
            return Err(error.into());
        }
        // Two starts at a time would fence each other in step.
        clock.pause(OPEN_PAUSE_MS + clock.now_ms().unsigned_abs() % OPEN_PAUSE_MS);
        log.init()?;
        match read_log(log)?.open {
            Some(newest) if newest == *open => return Ok(false),
            Some(newest) if newest.lineage != open.lineage || newest.incarnation >= open.incarnation => {
                return Err(Stop::Fenced { by: Box::new(newest) });
            }
            _ => {}
        }
    }
    Err(Stop::Log(LogError {
        kind: LogErrorKind::Unknown,
        during: "taking the pipeline over".to_owned(),
        reason: format!("{OPEN_ATTEMPTS} attempts at writing the `open` record failed"),
    }))
}

fn try_open(log: &mut dyn TransactionLog, clock: &dyn Clock, bytes: &[u8]) -> Result<bool, LogError> {
    let connections_lost = log.connections_lost();
    log.begin()?;
    log.produce_commits(CommitsKey::Open, bytes)?;
    log.flush()?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        match log.end() {
            Ok(()) => return Ok(log.connections_lost() != connections_lost),
            Err(error) if error.kind == LogErrorKind::Retriable && attempt < END_ATTEMPTS => {
                clock.pause(END_PAUSE_MS);
            }
            Err(error) => return Err(error),
        }
    }
}
