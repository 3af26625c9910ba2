//! What to do at a start and after a lost epoch, from what was found. Pure.

use super::{Identity, Stop};
use crate::planted::Bug;
use crate::swap::restart;
use millstream_model::commit::{BeginRecord, CommitRecord, CommitsEntry, OpenRecord, PartitionPosition};
use millstream_model::ids::{Incarnation, Lineage, Token};

/// Function and number of key groups, as `open` records say it.
pub(super) const KEY_GROUPS: &str = "murmur2/128";

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
    /// Keeps the newest of each key; entries come in order of their offsets. An `open` of another history ends the one before: `reset` wrote it.
    #[must_use]
    pub fn newest(entries: impl IntoIterator<Item = CommitsEntry>) -> Self {
        let mut found = Self::default();
        for entry in entries {
            match entry {
                CommitsEntry::Open(open) => {
                    found.begin = found.begin.filter(|begin| begin.token.lineage == open.lineage);
                    found.commit = found.commit.filter(|commit| commit.token.lineage == open.lineage);
                    found.open = Some(open);
                }
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
    /// The run that wrote it last, or took the checkpoint it was filled from.
    pub(super) open: Option<OpenRecord>,
    pub(super) is_restoring: bool,
    pub(super) is_from_checkpoint: bool,
    /// A store older than this, in milliseconds, is no base for a restore: tombstones it has not seen may be gone from the changelog.
    pub(super) base_age_ms_max: u64,
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
        // A checkpoint's cells whose way into this history's first commit was cut off behind it.
        (Some(log), Some(applied)) if store.is_restoring && log.lineage != applied.lineage => {
            return Ok(Begin::RestoreEmpty);
        }
        (Some(log), Some(applied)) => (log, applied),
        (Some(_), None) => return Ok(Begin::RestoreEmpty),
        (None, None) => return Ok(Begin::Fresh),
        (None, Some(_)) if store.is_from_checkpoint => {
            check_checkpoint(identity, store)?;
            return Ok(Begin::Seed);
        }
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
    if log == applied && !store.is_restoring {
        return Ok(Begin::Resume);
    }
    if applied.epoch > log.epoch {
        let advice = "the commits topic has lost records it had acknowledged (unclean leader election, a restored backup?); \
            nothing was changed: `millstream reset` begins anew from a position you choose";
        return Err(tokens("the state directory is ahead of the log", advice.to_owned()));
    }
    let committed_ms = |commit: &Option<CommitRecord>| commit.as_ref().map_or(0, |commit| commit.committed_ms);
    // The newest commit is a clock as well, and may be ahead of this machine's.
    let age_ms = now_ms.max(committed_ms(&found.commit)).saturating_sub(committed_ms(&store.applied));
    // Half a restore over a base is a base still: what it wrote, the next one writes again.
    let is_base = u64::try_from(age_ms).unwrap_or(0) < store.base_age_ms_max || Bug::AnyBase.is_planted();
    Ok(if is_base { Begin::RestoreForward } else { Begin::RestoreEmpty })
}

/// Checks that the pipeline still reads what its history is about.
fn check_identity(identity: &Identity, open: &OpenRecord) -> Result<(), Stop> {
    let id = &identity.id;
    let is_other_cluster = open.cluster_id != identity.cluster_id;
    match difference(identity, open, is_other_cluster) {
        None => Ok(()),
        Some(Difference::Cluster) => Err(Stop::Config(format!(
            "pipeline `{id}` ran against Kafka cluster `{}` and this is cluster `{}`: positions do not carry over; check `kafka.brokers`, or `millstream reset {id}`",
            open.cluster_id, identity.cluster_id
        ))),
        Some(Difference::Layout) => Err(Stop::Config(format!(
            "the state of pipeline `{id}` is laid out as {}, this Millstream lays it out as {KEY_GROUPS}: use the version that wrote it",
            open.key_groups
        ))),
        Some(Difference::Source { id: source, problem }) => Err(Stop::Config(format!(
            "source `{source}` {problem}: give the source another id, or begin anew with `millstream reset {id}`"
        ))),
    }
}

/// Checks that positions of a checkpoint mean the same records to this pipeline.
fn check_checkpoint(identity: &Identity, store: &StoreFacts) -> Result<(), Stop> {
    let Some(open) = &store.open else {
        return Err(Stop::Config(
            "the checkpoint does not say which topics its positions are about, so it cannot be begun with: use another one"
                .to_owned(),
        ));
    };
    // Positions in files are the same wherever outputs go.
    let has_topics =
        identity.topics.keys().filter_map(|source| open.topics.get(source)).any(|then| !then.id.is_empty());
    let is_other_cluster = has_topics && open.cluster_id != identity.cluster_id;
    match difference(identity, open, is_other_cluster) {
        None => Ok(()),
        Some(Difference::Cluster) => Err(Stop::Config(format!(
            "the checkpoint was taken on Kafka cluster `{}` and this is {}: its positions mean other records here; check `kafka.brokers`",
            open.cluster_id,
            if identity.cluster_id.is_empty() {
                "none".to_owned()
            } else {
                format!("cluster `{}`", identity.cluster_id)
            },
        ))),
        Some(Difference::Layout) => Err(Stop::Config(format!(
            "the checkpoint's state is laid out as {}, this Millstream lays it out as {KEY_GROUPS}: use the version that took it",
            open.key_groups
        ))),
        Some(Difference::Source { id: source, problem }) => Err(Stop::Config(format!(
            "the checkpoint does not fit: source `{source}` {problem}: give the source another id, with which it begins at its `start`, or use another checkpoint"
        ))),
    }
}

/// Why positions do not carry over.
enum Difference {
    Cluster,
    Layout,
    Source { id: String, problem: String },
}

fn difference(identity: &Identity, open: &OpenRecord, is_other_cluster: bool) -> Option<Difference> {
    if is_other_cluster {
        return Some(Difference::Cluster);
    }
    if open.key_groups != KEY_GROUPS {
        return Some(Difference::Layout);
    }
    identity.topics.iter().find_map(|(source, now)| {
        let then = open.topics.get(source)?;
        let problem = if then.name != now.name {
            format!("read `{}` and is to read `{}` now; positions do not carry over", then.name, now.name)
        } else if !then.id.is_empty() && !now.id.is_empty() && then.id != now.id {
            format!(
                "reads topic `{}`, which was deleted and created again (topic id {} became {}), so positions mean other records",
                now.name, then.id, now.id
            )
        } else if now.partitions < then.partitions {
            format!("reads `{}`, which had {} partitions and has {} now", now.name, then.partitions, now.partitions)
        } else {
            return None;
        };
        Some(Difference::Source { id: source.clone(), problem })
    })
}

/// Checks that the operators are still those that the plan was made for: until the pipeline is taken, an elder may switch them.
pub(super) fn check_versions(identity: &Identity, newest: Option<&CommitRecord>) -> Result<(), Stop> {
    let Some(planned) = &identity.planned_after else { return Ok(()) };
    let now = restart::versions(newest);
    match identity.digests.keys().find(|operator| planned.get(*operator) != now.get(*operator)) {
        Some(operator) => Err(Stop::Overtaken { operator: operator.clone() }),
        None => Ok(()),
    }
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
        Some(open)
            if (open.lineage != lineage || open.incarnation > incarnation) && !Bug::IgnoreYounger.is_planted() =>
        {
            Err(Stop::Fenced { by: Box::new(open.clone()) })
        }
        _ => Ok(()),
    }
}

/// Checks what somebody sees who only reads: nobody has taken the pipeline, and a commit that was acknowledged long ago is visible.
pub(super) fn at_audit(
    found: &Found,
    (lineage, incarnation): (Lineage, Incarnation),
    overdue: Option<Token>,
) -> Result<(), Stop> {
    check_owner(found, lineage, incarnation)?;
    let seen = found.commit.as_ref().map(|commit| commit.token);
    match overdue {
        Some(overdue) if !is_visible(overdue, seen) => Err(Stop::Tokens {
            what: "a commit that the brokers acknowledged is not visible to readers",
            log: text(seen),
            store: overdue.to_string(),
            advice: "does a transaction of another program hold the commits topic open, or have brokers lost what they had? \
                `millstream verify` tells more; start again to go on from what is visible"
                .to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether a commit is among those that are seen, the newest of which is `seen`.
pub(super) fn is_visible(commit: Token, seen: Option<Token>) -> bool {
    seen.is_some_and(|seen| seen.lineage == commit.lineage && seen.epoch >= commit.epoch)
}

/// Joins the positions of an epoch to those of the commit before. A source never goes back but to the positions of a commit.
pub(super) fn adjoin(
    before: Option<&CommitRecord>,
    mut positions: Vec<PartitionPosition>,
) -> Result<Vec<PartitionPosition>, Stop> {
    for position in &mut positions {
        let Some(then) = before.and_then(|before| find(&before.positions, position)) else { continue };
        if position.next < then.next {
            return Err(Stop::Config(format!(
                "source `{}` went back in partition {}, from offset {} to {}: records would count twice; was the topic truncated (unclean leader election)? Nothing was committed",
                position.source, position.partition, then.next, position.next
            )));
        }
        position.from = then.next;
        position.timestamp_ms_max = position.timestamp_ms_max.max(then.timestamp_ms_max);
    }
    // A partition that is not read any more keeps its place, should it come back.
    for then in before.map(|before| before.positions.as_slice()).unwrap_or_default() {
        if find(&positions, then).is_none() {
            positions.push(PartitionPosition { from: then.next, ..then.clone() });
        }
    }
    Ok(positions)
}

/// The position of the same partition.
pub(super) fn find<'a>(positions: &'a [PartitionPosition], like: &PartitionPosition) -> Option<&'a PartitionPosition> {
    positions.iter().find(|position| position.source == like.source && position.partition == like.partition)
}

#[cfg(test)]
mod tests;
