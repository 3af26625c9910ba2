//! What to do at a start and after a lost epoch, from what was found. Pure.

use super::{Identity, Stop};
use millstream_model::commit::{BeginRecord, CommitRecord, CommitsEntry, OpenRecord};
use millstream_model::ids::{Incarnation, Lineage, Token};

/// Function and number of key groups, as `open` records say it.
pub(super) const KEY_GROUPS: &str = "murmur2/128";

/// A store older than this is no base for a restore: tombstones it has not seen may be gone from the changelog. Half the changelog's
/// `delete.retention.ms`, in milliseconds.
const BASE_AGE_MS_MAX: i64 = 12 * 3_600 * 1_000;

/// The newest record of each key in a commits partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The process that took the pipeline last.
    pub open: Option<OpenRecord>,
    /// The newest transaction of which something is visible.
    pub begin: Option<BeginRecord>,
    /// The newest commit.
    pub commit: Option<CommitRecord>,
}

impl Found {
    /// Keeps the newest of each key; entries come in order of their offsets.
    #[must_use]
    pub fn newest(entries: impl IntoIterator<Item = CommitsEntry>) -> Self {
        let mut found = Self::default();
        for entry in entries {
            match entry {
                CommitsEntry::Open(open) => found.open = Some(open),
                CommitsEntry::Begin(begin) => found.begin = Some(begin),
                CommitsEntry::Commit(commit) => found.commit = Some(commit),
            }
        }
        found
    }

    fn check_whole(&self) -> Result<(), Stop> {
        let Some(begin) = &self.begin else { return Ok(()) };
        let newest = self.commit.as_ref().map(|commit| commit.token);
        if newest == Some(begin.token) {
            return Ok(());
        }
        Err(Stop::Torn { begun: begin.token.to_string(), newest: text(newest) })
    }
}

fn text(token: Option<Token>) -> String {
    token.map_or_else(|| "none".to_owned(), |token| token.to_string())
}

/// What the store says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StoreFacts {
    pub(super) applied: Option<CommitRecord>,
    pub(super) is_restoring: bool,
    pub(super) is_from_checkpoint: bool,
}

/// How to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// A new history with empty state.
    Fresh,
    /// A new history with the state and positions in the store.
    Seed,
    /// The store is at the newest commit.
    Resume,
    /// The store is behind: the changelog is laid over it.
    RestoreForward,
    /// There is no store to begin with: the changelog fills an empty one.
    RestoreEmpty,
}

/// Decides how to begin with what the log and the store hold.
pub(super) fn at_start(identity: &Identity, found: &Found, store: &StoreFacts, now_ms: i64) -> Result<Begin, Stop> {
    found.check_whole()?;
    let log = found.commit.as_ref().map(|commit| commit.token);
    let applied = store.applied.as_ref().map(|commit| commit.token);
    let tokens = |what, advice: String| Stop::Tokens { what, log: text(log), store: text(applied), advice };
    let id = &identity.id;
    if let Some(open) = &found.open {
        check_identity(identity, open)?;
    }
    let (log, applied) = match (log, applied) {
        (Some(log), Some(applied)) => (log, applied),
        (Some(_), None) => return Ok(Begin::RestoreEmpty),
        (None, None) => return Ok(Begin::Fresh),
        (None, Some(_)) if store.is_from_checkpoint => return Ok(Begin::Seed),
        (None, Some(_)) => {
            return Err(tokens(
                "the state directory holds commits and the log none",
                format!(
                    "was the commits topic deleted? `millstream reset {id}` begins anew; `run --from-checkpoint` goes on from a checkpoint"
                ),
            ));
        }
    };
    if log.lineage != applied.lineage {
        return Err(if store.is_from_checkpoint {
            Stop::Config(format!(
                "pipeline `{id}` has a history of its own and the checkpoint is of another: give the pipeline a new id, or `millstream reset {id}` first"
            ))
        } else {
            tokens(
                "the state directory is of another history of the pipeline",
                "was the pipeline reset, or the directory copied? Move the state directory away; the state is restored from the changelog".to_owned(),
            )
        });
    }
    if log == applied {
        return Ok(Begin::Resume);
    }
    if applied.epoch > log.epoch {
        let advice = "the commits topic has lost records it had acknowledged (unclean leader election, a restored backup?); \
            nothing was changed: `millstream reset` begins anew from a position you choose";
        return Err(tokens("the state directory is ahead of the log", advice.to_owned()));
    }
    let age_ms = store.applied.as_ref().map_or(0, |applied| now_ms.saturating_sub(applied.committed_ms));
    let is_base = !store.is_restoring && age_ms < BASE_AGE_MS_MAX;
    Ok(if is_base { Begin::RestoreForward } else { Begin::RestoreEmpty })
}

/// Checks that the pipeline still reads what its history is about.
fn check_identity(identity: &Identity, open: &OpenRecord) -> Result<(), Stop> {
    let id = &identity.id;
    if open.cluster_id != identity.cluster_id {
        return Err(Stop::Config(format!(
            "pipeline `{id}` ran against Kafka cluster `{}` and this is cluster `{}`: positions do not carry over; check `kafka.brokers`, or `millstream reset {id}`",
            open.cluster_id, identity.cluster_id
        )));
    }
    if open.key_groups != KEY_GROUPS {
        return Err(Stop::Config(format!(
            "the state of pipeline `{id}` is laid out as {}, this Millstream lays it out as {KEY_GROUPS}: use the version that wrote it",
            open.key_groups
        )));
    }
    for (source, now) in &identity.topics {
        let Some(then) = open.topics.get(source) else { continue };
        let problem = if then.name != now.name {
            format!(
                "read `{}` and is to read `{}` now; positions do not carry over: give the source another id",
                then.name, now.name
            )
        } else if !then.id.is_empty() && !now.id.is_empty() && then.id != now.id {
            format!(
                "reads topic `{}`, which was deleted and created again (topic id {} became {})",
                now.name, then.id, now.id
            )
        } else if now.partitions < then.partitions {
            format!("reads `{}`, which had {} partitions and has {} now", now.name, then.partitions, now.partitions)
        } else {
            continue;
        };
        return Err(Stop::Config(format!("source `{source}` {problem}, or begin anew with `millstream reset {id}`")));
    }
    Ok(())
}

/// Who resolves, and what was under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolving {
    pub(super) lineage: Lineage,
    pub(super) incarnation: Incarnation,
    pub(super) in_flight: Option<Token>,
    pub(super) applied: Option<Token>,
}

/// What became of the epoch in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    RolledBack,
}

/// Decides what became of an epoch from what the log holds once nothing of ours can be open any more.
pub(super) fn at_resolve(found: &Found, ours: &Resolving) -> Result<Outcome, Stop> {
    check_owner(found, ours.lineage, ours.incarnation)?;
    found.check_whole()?;
    let log = found.commit.as_ref().map(|commit| commit.token);
    if log.is_some() && log == ours.in_flight {
        return Ok(Outcome::Committed);
    }
    if log == ours.applied {
        return Ok(Outcome::RolledBack);
    }
    Err(Stop::Tokens {
        what: "the log holds a commit that this process did not make",
        log: text(log),
        store: text(ours.applied),
        advice:
            "is another program writing to the commits topic? Nothing was changed; start again to go on from the log"
                .to_owned(),
    })
}

/// Checks that nobody has taken the pipeline since.
pub(super) fn check_owner(found: &Found, lineage: Lineage, incarnation: Incarnation) -> Result<(), Stop> {
    match &found.open {
        Some(open) if open.lineage != lineage || open.incarnation > incarnation => {
            Err(Stop::Fenced { by: Box::new(open.clone()) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "tests")]
    use super::*;
    use millstream_model::commit::TopicIdentity;
    use millstream_model::ids::EpochNumber;
    use std::collections::BTreeMap;

    fn token(lineage: u8, epoch: u64) -> Token {
        Token { lineage: Lineage([lineage; 16]), incarnation: Incarnation(1), epoch: EpochNumber(epoch) }
    }

    fn commit(lineage: u8, epoch: u64) -> CommitRecord {
        CommitRecord { token: token(lineage, epoch), committed_ms: 1_000, ..CommitRecord::default() }
    }

    fn open(incarnation: u64) -> OpenRecord {
        OpenRecord {
            lineage: Lineage([1; 16]),
            incarnation: Incarnation(incarnation),
            host: "h".to_owned(),
            pid: 1,
            started_ms: 0,
            cluster_id: "c".to_owned(),
            topics: BTreeMap::from([("in".to_owned(), topic("lines", "T1", 4))]),
            changelog: 0,
            catalog: Default::default(),
            digests: BTreeMap::new(),
            key_groups: KEY_GROUPS.to_owned(),
            sink_starts: BTreeMap::new(),
        }
    }

    fn topic(name: &str, id: &str, partitions: i32) -> TopicIdentity {
        TopicIdentity { name: name.to_owned(), id: id.to_owned(), partitions }
    }

    fn identity() -> Identity {
        Identity {
            id: "words".to_owned(),
            host: "h".to_owned(),
            pid: 2,
            cluster_id: "c".to_owned(),
            topics: BTreeMap::from([("in".to_owned(), topic("lines", "T1", 4))]),
            changelog: 0,
            digests: BTreeMap::new(),
            operators: Vec::new(),
            sink_ids: Vec::new(),
            sink_ends: BTreeMap::new(),
            fresh_lineage: Lineage([9; 16]),
        }
    }

    fn start(log: Option<CommitRecord>, store: Option<CommitRecord>, is_from_checkpoint: bool) -> Result<Begin, Stop> {
        let begin = log.as_ref().map(|commit| BeginRecord { token: commit.token });
        let found = Found { open: Some(open(1)), begin, commit: log };
        let store = StoreFacts { applied: store, is_restoring: false, is_from_checkpoint };
        at_start(&identity(), &found, &store, 2_000)
    }

    #[test]
    fn a_start_goes_on_where_log_and_store_are() {
        assert_eq!(at_start(&identity(), &Found::default(), &StoreFacts::default(), 0), Ok(Begin::Fresh));
        assert_eq!(start(None, None, false), Ok(Begin::Fresh));
        assert_eq!(start(Some(commit(1, 3)), Some(commit(1, 3)), false), Ok(Begin::Resume));
        assert_eq!(start(Some(commit(1, 3)), Some(commit(1, 2)), false), Ok(Begin::RestoreForward));
        assert_eq!(start(Some(commit(1, 3)), None, false), Ok(Begin::RestoreEmpty));
        assert_eq!(start(None, Some(commit(2, 7)), true), Ok(Begin::Seed));
        assert_eq!(start(Some(commit(1, 3)), Some(commit(1, 1)), true), Ok(Begin::RestoreForward));
    }

    #[test]
    fn a_store_too_old_or_half_restored_is_no_base() {
        let found = Found { commit: Some(commit(1, 3)), begin: Some(BeginRecord { token: token(1, 3) }), open: None };
        let store = StoreFacts { applied: Some(commit(1, 2)), ..StoreFacts::default() };
        let late = 1_000 + BASE_AGE_MS_MAX;
        assert_eq!(at_start(&identity(), &found, &store, late), Ok(Begin::RestoreEmpty));
        let store = StoreFacts { is_restoring: true, ..store };
        assert_eq!(at_start(&identity(), &found, &store, 2_000), Ok(Begin::RestoreEmpty));
    }

    #[test]
    fn a_start_never_rewinds_and_never_mixes_histories() {
        assert!(matches!(start(Some(commit(1, 3)), Some(commit(1, 4)), false), Err(Stop::Tokens { .. })));
        assert!(matches!(start(Some(commit(1, 3)), Some(commit(2, 3)), false), Err(Stop::Tokens { .. })));
        assert!(matches!(start(Some(commit(1, 3)), Some(commit(2, 3)), true), Err(Stop::Config(_))));
        assert!(matches!(start(None, Some(commit(1, 3)), false), Err(Stop::Tokens { .. })));
    }

    #[test]
    fn a_begin_without_its_commit_is_torn() {
        let found = Found { open: None, begin: Some(BeginRecord { token: token(1, 4) }), commit: Some(commit(1, 3)) };
        assert!(matches!(at_start(&identity(), &found, &StoreFacts::default(), 0), Err(Stop::Torn { .. })));
    }

    #[test]
    fn other_topics_than_those_of_the_history_are_named() {
        let check = |change: fn(&mut Identity), expected: &str| {
            let mut identity = identity();
            change(&mut identity);
            let Err(Stop::Config(text)) = check_identity(&identity, &open(1)) else { panic!("nothing found") };
            assert!(text.contains(expected) && text.contains("millstream reset words"), "{text}");
        };
        let put = |identity: &mut Identity, topic| identity.topics.insert("in".to_owned(), topic);
        check(|identity| identity.cluster_id = "d".to_owned(), "cluster `d`");
        check(|identity| drop(identity.topics.insert("in".to_owned(), topic("lines", "T2", 4))), "created again");
        check(|identity| drop(identity.topics.insert("in".to_owned(), topic("lines", "T1", 3))), "had 4 partitions");
        check(|identity| drop(identity.topics.insert("in".to_owned(), topic("other", "T1", 4))), "another id");
        let mut grown = identity();
        put(&mut grown, topic("lines", "T1", 5));
        assert_eq!(check_identity(&grown, &open(1)), Ok(()));
    }

    #[test]
    fn a_resolve_believes_the_log_alone() {
        let found = |epoch, incarnation| Found {
            open: Some(open(incarnation)),
            begin: Some(BeginRecord { token: token(1, epoch) }),
            commit: Some(commit(1, epoch)),
        };
        let ours = Resolving {
            lineage: Lineage([1; 16]),
            incarnation: Incarnation(1),
            in_flight: Some(token(1, 5)),
            applied: Some(token(1, 4)),
        };
        assert_eq!(at_resolve(&found(5, 1), &ours), Ok(Outcome::Committed));
        assert_eq!(at_resolve(&found(4, 1), &ours), Ok(Outcome::RolledBack));
        assert!(matches!(at_resolve(&found(6, 1), &ours), Err(Stop::Tokens { .. })));
        assert!(matches!(at_resolve(&found(4, 2), &ours), Err(Stop::Fenced { .. })));
        assert!(matches!(at_resolve(&found(5, 2), &ours), Err(Stop::Fenced { .. })));
    }
}
