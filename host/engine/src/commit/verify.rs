//! What `millstream verify` proves, from what was read. Pure.
//!
//! Compaction may have taken old records of the commits topic, and of each key never the newest; so what is left of the commits is one unbroken chain, whose
//! beginning may be gone.

use super::decide::{Found, find};
use crate::ports::{StateBackend, StateError};
use millstream_model::cell;
use millstream_model::commit::{CommitRecord, CommitsEntry, OutputTotal};
use millstream_model::ids::Token;
use std::collections::BTreeSet;

/// Cells read at a time.
const PAGE_CELLS: usize = 4_096;

/// Something that cannot be if Millstream alone wrote what it says it wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A commit is there twice.
    #[error("commit {token} is there more than once: somebody wrote a copy of it")]
    Doubled {
        /// The commit.
        token: Token,
    },
    /// A commit names another one before it than the one that is there.
    #[error("commit {token} follows {}, and before it lies {before}: commits were removed or added in between", shown(.previous))]
    Unlinked {
        /// The commit.
        token: Token,
        /// The one it names.
        previous: Option<Token>,
        /// The one that is there.
        before: Token,
    },
    /// Positions of two commits do not adjoin.
    #[error(
        "commit {token} reads source `{source_id}` partition {partition} from offset {from}, and the one before ended at {ended}"
    )]
    Apart {
        /// The later commit.
        token: Token,
        /// Id of the source.
        source_id: String,
        /// Its partition.
        partition: i32,
        /// Where the later commit begins.
        from: i64,
        /// Where the earlier one ended.
        ended: i64,
    },
    /// A commit without the record that begins its transaction.
    #[error("commit {token} has no `begin` before it: its transaction is not whole")]
    NotBegun {
        /// The commit.
        token: Token,
    },
    /// A transaction that began and has no commit.
    #[error("the transaction of {token} is visible without its commit")]
    Torn {
        /// The transaction.
        token: Token,
    },
    /// A commit of a history that no process has opened.
    #[error("commit {token} is of a history that no `open` record names")]
    Unopened {
        /// The commit.
        token: Token,
    },
    /// The state directory knows of commits that the log does not have.
    #[error("the state directory is at commit {store}, and the newest commit here is {}: commits were removed", shown(.log))]
    Behind {
        /// The newest commit in the log.
        log: Option<Token>,
        /// The newest one applied to the store.
        store: Token,
    },
    /// A topic does not hold what was committed to it.
    #[error(
        "holds {} records of the pipeline's with checksum {:016x}, and {} with checksum {:016x} were committed: {}",
        .found.records, .found.checksum, .committed.records, .committed.checksum, difference(.committed, .found)
    )]
    Outputs {
        /// What the newest commit says.
        committed: OutputTotal,
        /// What is there.
        found: OutputTotal,
    },
    /// Records of a topic are gone that retention cannot have taken.
    #[error(
        "partition {partition} begins at offset {begins}, and the pipeline's records at {start}: they were deleted by hand"
    )]
    Deleted {
        /// The partition.
        partition: i32,
        /// Its first offset now.
        begins: i64,
        /// Its end when the history began.
        start: i64,
    },
    /// A file is shorter than what was committed to it.
    #[error("has {found} bytes, and {committed} were committed")]
    Cut {
        /// What the newest commit says.
        committed: u64,
        /// What is there.
        found: u64,
    },
    /// Changelog and store differ in a cell.
    #[error("differs from the store in {cells} cell(s), first in that of operator {operator}, key {key:?}")]
    Cells {
        /// How many.
        cells: u64,
        /// Number of the operator in the catalog.
        operator: u16,
        /// Key of the first one's records.
        key: String,
    },
}

fn shown(token: &Option<Token>) -> String {
    token.map_or_else(|| "none".to_owned(), |token| token.to_string())
}

fn difference(committed: &OutputTotal, found: &OutputTotal) -> String {
    match found.records.cmp(&committed.records) {
        std::cmp::Ordering::Less => format!("{} are missing", committed.records - found.records),
        std::cmp::Ordering::Greater => {
            format!("{} were added by somebody else", found.records - committed.records)
        }
        std::cmp::Ordering::Equal => "some were replaced".to_owned(),
    }
}

/// What the commits topic says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// The newest of each key, in the newest history.
    pub found: Found,
    /// Commits of that history that are there.
    pub commits: u64,
    /// The oldest of them.
    pub oldest: Option<CommitRecord>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Walks the entries of a commits topic, in order of their offsets.
#[must_use]
pub fn walk(entries: impl IntoIterator<Item = CommitsEntry>) -> Walk {
    let mut walk = Walk::default();
    let mut begun: Option<Token> = None;
    let mut seen = BTreeSet::new();
    // The `begin` of the first commit may have been compacted.
    let mut is_first = true;
    for entry in entries {
        match entry {
            CommitsEntry::Open(open) => {
                if walk.found.open.as_ref().is_none_or(|before| before.lineage != open.lineage) {
                    // What lies before the newest history proves nothing about it; compaction has taken some of it at will.
                    let is_own = |commit: &CommitRecord| commit.token.lineage == open.lineage;
                    if !walk.found.commit.as_ref().is_some_and(is_own) {
                        walk = Walk::default();
                        begun = None;
                    }
                }
                walk.found.open = Some(open);
            }
            CommitsEntry::Begin(begin) => {
                walk.findings.extend(begun.take().map(|token| Finding::Torn { token }));
                begun = Some(begin.token);
                walk.found.begin = Some(begin);
            }
            CommitsEntry::Commit(commit) => {
                let token = commit.token;
                if walk.is_of_an_older_history(token) {
                    walk = Walk { found: Found { open: walk.found.open, ..Found::default() }, ..Walk::default() };
                    is_first = true;
                }
                if !seen.insert((token.lineage.0, token.incarnation, token.epoch)) {
                    walk.findings.push(Finding::Doubled { token });
                    continue;
                }
                match begun.take() {
                    Some(begun) if begun == token => {}
                    None if is_first => {}
                    Some(torn) => {
                        walk.findings.extend([Finding::Torn { token: torn }, Finding::NotBegun { token }]);
                    }
                    None => walk.findings.push(Finding::NotBegun { token }),
                }
                is_first = false;
                walk.take(commit);
            }
        }
    }
    walk.findings.extend(begun.map(|token| Finding::Torn { token }));
    walk
}

impl Walk {
    /// Whether a history began between the newest commit so far and this one, its first `open` compacted away.
    fn is_of_an_older_history(&self, token: Token) -> bool {
        let is_older = self.found.commit.as_ref().is_some_and(|before| before.token.lineage != token.lineage);
        is_older && self.found.open.as_ref().is_none_or(|open| open.lineage == token.lineage)
    }

    fn take(&mut self, commit: CommitRecord) {
        let token = commit.token;
        let opened = self.found.open.as_ref().map(|open| open.lineage);
        if opened.is_some_and(|lineage| lineage != token.lineage) {
            self.findings.push(Finding::Unopened { token });
        }
        match &self.found.commit {
            Some(before) if commit.previous != Some(before.token) => {
                self.findings.push(Finding::Unlinked { token, previous: commit.previous, before: before.token });
            }
            Some(before) => self.findings.extend(apart(before, &commit)),
            None => self.oldest = Some(commit.clone()),
        }
        self.commits += 1;
        self.found.commit = Some(commit);
    }
}

fn apart(before: &CommitRecord, after: &CommitRecord) -> Vec<Finding> {
    let finding = |position: &millstream_model::commit::PartitionPosition| {
        let then = find(&before.positions, position)?;
        (position.from != then.next || position.next < position.from).then(|| Finding::Apart {
            token: after.token,
            source_id: position.source.clone(),
            partition: position.partition,
            from: position.from,
            ended: then.next,
        })
    };
    after.positions.iter().filter_map(finding).collect()
}

/// How the store stands to the newest commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is at it: cells can be compared.
    At,
    /// It is behind, as after a crash: the next start brings it forward.
    Behind {
        /// Where it is.
        store: Option<Token>,
    },
    /// It is of another history.
    Elsewhere {
        /// Where it is.
        store: Token,
    },
    /// It is ahead.
    Ahead(Finding),
}

/// Compares the store's newest commit with the log's.
#[must_use]
pub fn standing(log: Option<Token>, store: Option<Token>) -> Standing {
    match (log, store) {
        (log, store) if log == store => Standing::At,
        (Some(log), Some(store)) if log.lineage != store.lineage => Standing::Elsewhere { store },
        (Some(log), Some(store)) if store.epoch < log.epoch => Standing::Behind { store: Some(store) },
        (_, None) => Standing::Behind { store: None },
        (log, Some(store)) => Standing::Ahead(Finding::Behind { log, store }),
    }
}

/// What a sink's topic holds from where the history began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicFacts {
    /// Sum of its committed records.
    pub total: OutputTotal,
    /// Where each partition ended when the history began.
    pub starts: Vec<i64>,
    /// Where each partition begins now.
    pub begins: Vec<i64>,
    /// Whether it is compacted.
    pub is_compacted: bool,
    /// Records older than that, in milliseconds since 1970, may have been taken by retention; `None` if any may.
    pub kept_since_ms: Option<i64>,
    /// The oldest timestamp among what the pipeline wrote, as far as it can be told, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// What a topic proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It holds what was committed.
    Agrees,
    /// It may or may not: why.
    Impossible(&'static str),
    /// It does not.
    Finding(Finding),
}

/// Compares a topic with what was committed to it.
#[must_use]
pub fn outputs(committed: OutputTotal, topic: &TopicFacts) -> Proof {
    if topic.is_compacted {
        return Proof::Impossible("it is compacted, so that records that were written are gone");
    }
    let lost = topic.begins.iter().zip(0..).find_map(|(begins, partition)| {
        let start = topic.starts.get(partition as usize).copied().unwrap_or(0);
        (*begins > start).then_some((partition, *begins, start))
    });
    match lost {
        None if topic.total == committed => Proof::Agrees,
        None => Proof::Finding(Finding::Outputs { committed, found: topic.total }),
        Some((partition, begins, start)) => match (topic.kept_since_ms, topic.oldest_ms) {
            (Some(kept_since_ms), Some(oldest_ms)) if oldest_ms > kept_since_ms => {
                Proof::Finding(Finding::Deleted { partition, begins, start })
            }
            _ => Proof::Impossible("retention has taken records since the history began"),
        },
    }
}

/// Compares all cells of two stores; the first is what the changelog says. `None`: they are equal. The number is that of equal cells.
///
/// # Errors
/// When a store cannot be read.
pub fn cells(changelog: &dyn StateBackend, store: &dyn StateBackend) -> Result<(u64, Option<Finding>), StateError> {
    let (mut left, mut right) = (Pages::new(changelog), Pages::new(store));
    let (mut equal, mut different, mut first) = (0, 0, None);
    loop {
        let (one, other) = (left.head()?, right.head()?);
        let (key, ordering) = match (&one, &other) {
            (None, None) => break,
            (Some((key, _)), None) => (key.clone(), std::cmp::Ordering::Less),
            (None, Some((key, _))) => (key.clone(), std::cmp::Ordering::Greater),
            (Some((one, _)), Some((other, _))) => (one.min(other).clone(), one.cmp(other)),
        };
        if one == other {
            equal += 1;
        } else {
            different += 1;
            first.get_or_insert(key);
        }
        if ordering.is_le() {
            left.advance();
        }
        if ordering.is_ge() {
            right.advance();
        }
    }
    let finding = first.map(|key| {
        let parts = cell::read_key(&key);
        Finding::Cells {
            cells: different,
            operator: parts.map_or(0, |parts| parts.space.operator),
            key: parts.map(|parts| String::from_utf8_lossy(parts.user_key).into_owned()).unwrap_or_default(),
        }
    });
    Ok((equal, finding))
}

type Cell = (Vec<u8>, Vec<u8>);

/// The cells of a store in order, read a page at a time.
struct Pages<'a> {
    store: &'a dyn StateBackend,
    page: std::collections::VecDeque<Cell>,
    last: Option<Vec<u8>>,
    is_over: bool,
}

impl<'a> Pages<'a> {
    fn new(store: &'a dyn StateBackend) -> Self {
        Self { store, page: Default::default(), last: None, is_over: false }
    }

    fn head(&mut self) -> Result<Option<Cell>, StateError> {
        if self.page.is_empty() && !self.is_over {
            let page = &mut self.page;
            self.store.scan(&[], self.last.as_deref(), &mut |key, value| {
                page.push_back((key.to_vec(), value.to_vec()));
                page.len() < PAGE_CELLS
            })?;
            self.is_over = self.page.len() < PAGE_CELLS;
            self.last = self.page.back().map(|(key, _)| key.clone());
        }
        Ok(self.page.front().cloned())
    }

    fn advance(&mut self) {
        self.page.pop_front();
    }
}

#[cfg(test)]
mod tests;
