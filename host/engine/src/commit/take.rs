use super::codec::{decode_entry, encode_open};
use super::decide::{self, Begin, Found, KEY_GROUPS, StoreFacts};
use super::{CommitPorts, Identity, Stop};
use crate::ports::{Clock, CommitsKey, LogError, LogErrorKind, TransactionLog};
use crate::swap::restart;
use millstream_model::commit::{Catalog, OpenRecord};
use millstream_model::ids::Incarnation;
use std::collections::BTreeMap;

/// Attempts at writing the `open` record.
const OPEN_ATTEMPTS: u32 = 10;

/// Least pause between two of them, in milliseconds; chance adds up to as much.
const OPEN_PAUSE_MS: u64 = 500;

/// How often the end of the transaction that holds it is asked for, and the pause in between, in milliseconds.
const END_ATTEMPTS: u32 = 100;
const END_PAUSE_MS: u64 = 100;

/// The newest records of the commits partition.
pub(super) fn read_log(log: &mut dyn TransactionLog) -> Result<Found, Stop> {
    decode(&log.read_commits()?)
}

/// The newest of each key among what was read.
pub(super) fn decode(entries: &[(CommitsKey, Vec<u8>)]) -> Result<Found, Stop> {
    let entries = entries.iter().map(|(key, value)| decode_entry(*key, value)).collect::<Result<Vec<_>, _>>()?;
    Ok(Found::newest(entries))
}

/// A pipeline that is ours.
pub(super) struct Taken {
    /// What the log held; nobody else has committed anything since.
    pub(super) found: Found,
    pub(super) begin: Begin,
    pub(super) open: OpenRecord,
    /// Whether a request of the transaction that holds `open` may still be under way.
    pub(super) needs_init: bool,
}

/// Takes the pipeline over: fences whoever had it, looks, decides and says so in an `open` record. Where that is not certain to have been committed, all of it is done
/// again: until then an elder could have gone on.
pub(super) fn take(ports: &mut CommitPorts, identity: &Identity, store: &StoreFacts) -> Result<Taken, Stop> {
    let clock = ports.clock.as_ref();
    let Some(log) = &mut ports.log else {
        let found = found_in_store(store);
        let (begin, open) = decide(identity, &found, store, clock.now_ms())?;
        return Ok(Taken { found, begin, open, needs_init: false });
    };
    let mut tried: Option<OpenRecord> = None;
    let mut failed = None;
    for _ in 0..OPEN_ATTEMPTS {
        log.init()?;
        let found = read_log(log.as_mut())?;
        if let (Some(tried), Some(newest)) = (&tried, &found.open) {
            if newest == tried {
                let begin = decide::at_start(identity, &found, store, clock.now_ms())?;
                return Ok(Taken { open: newest.clone(), found, begin, needs_init: false });
            }
            if newest.lineage != tried.lineage || newest.incarnation >= tried.incarnation {
                return Err(Stop::Fenced { by: Box::new(newest.clone()) });
            }
        }
        let (begin, open) = decide(identity, &found, store, clock.now_ms())?;
        match write_open(log.as_mut(), clock, &open) {
            Ok(needs_init) => return Ok(Taken { found, begin, open, needs_init }),
            Err(error) if error.kind == LogErrorKind::Fatal => return Err(error.into()),
            Err(error) => failed = Some(error),
        }
        tried = Some(open);
        // Two starts at a time would fence each other in step.
        clock.pause(OPEN_PAUSE_MS + clock.now_ms().unsigned_abs() % OPEN_PAUSE_MS);
    }
    Err(Stop::Log(LogError {
        kind: LogErrorKind::Unknown,
        during: format!("taking the pipeline over, {OPEN_ATTEMPTS} times"),
        reason: failed.map(|error| error.to_string()).unwrap_or_default(),
    }))
}

fn decide(identity: &Identity, found: &Found, store: &StoreFacts, now_ms: i64) -> Result<(Begin, OpenRecord), Stop> {
    let begin = decide::at_start(identity, found, store, now_ms)?;
    // The numbers in the cell keys of a store that came from a checkpoint are that one's.
    let (opened, committed) = match begin {
        Begin::Seed => (store.open.as_ref().map(|open| open.catalog.clone()), store.applied.as_ref()),
        _ => (found.open.as_ref().map(|open| open.catalog.clone()), found.commit.as_ref()),
    };
    decide::check_versions(identity, committed)?;
    let mut catalog = opened.unwrap_or_default();
    if let Some(commit) = committed {
        catalog.extend(&commit.catalog);
    }
    let mut open = make_open(identity, found.open.as_ref(), catalog, now_ms)?;
    open.named_since = restart::named_since(&open.digests, found.open.as_ref(), committed);
    Ok((begin, open))
}

/// Commits the `open` record, and tells whether a request of that may still be under way.
fn write_open(log: &mut dyn TransactionLog, clock: &dyn Clock, open: &OpenRecord) -> Result<bool, LogError> {
    let connections_lost = log.connections_lost();
    log.begin()?;
    log.produce_commits(CommitsKey::Open, &encode_open(open))?;
    log.flush()?;
    end(log, clock)?;
    Ok(log.connections_lost() != connections_lost)
}

/// Ends a small transaction, however often that has to be asked for.
pub(super) fn end(log: &mut dyn TransactionLog, clock: &dyn Clock) -> Result<(), LogError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match log.end() {
            Err(error) if error.kind == LogErrorKind::Retriable && attempt < END_ATTEMPTS => clock.pause(END_PAUSE_MS),
            ended => return ended,
        }
    }
}

/// Without a log the store is the log.
fn found_in_store(store: &StoreFacts) -> Found {
    if store.is_from_checkpoint {
        return Found::default();
    }
    Found { open: store.open.clone(), begin: None, commit: store.applied.clone() }
}

fn make_open(
    identity: &Identity,
    before: Option<&OpenRecord>,
    mut catalog: Catalog,
    started_ms: i64,
) -> Result<OpenRecord, Stop> {
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
        named_since: BTreeMap::new(),
    })
}
