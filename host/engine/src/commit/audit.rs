use super::decide::{self, Found};
use super::{Started, Stop};
use crate::ports::{CommitsReader, LogErrorKind};
use millstream_model::ids::{Incarnation, Lineage, Token};

/// How long a commit that was acknowledged may stay invisible to readers, in milliseconds.
const INVISIBLE_MS_MAX: u64 = 10_000;

/// A commit that the brokers acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Which.
    pub token: Token,
    /// Since when, on the monotonic clock, in milliseconds.
    pub since_ms: u64,
}

/// Looks beside the commits whether the log says what this process believes: nobody has taken the pipeline, and what was acknowledged is visible.
/// Reads as any reader of committed records does, so what it sees is what they see.
pub struct Auditor {
    reader: Box<dyn CommitsReader>,
    lineage: Lineage,
    incarnation: Incarnation,
    /// The commit that is to become visible.
    awaited: Option<Acknowledged>,
}

impl Auditor {
    /// An auditor for the run that took the pipeline.
    #[must_use]
    pub fn new(reader: Box<dyn CommitsReader>, started: &Started) -> Self {
        Self { reader, lineage: started.lineage, incarnation: started.incarnation, awaited: None }
    }

    /// Looks once. `newest` is the newest commit that was acknowledged in this run, before the call.
    ///
    /// # Errors
    /// When the pipeline cannot go on.
    pub fn look(&mut self, newest: Option<Acknowledged>, now_ms: u64) -> Result<(), Stop> {
        // The older one has waited for longer, and is visible once a younger one is.
        self.awaited = self.awaited.or(newest);
        let found = match self.reader.read_stable() {
            Ok(entries) => super::take::decode(&entries)?,
            // Brokers that do not answer now prove nothing.
            Err(error) if error.kind != LogErrorKind::Fatal => {
                tracing::debug!(%error, "the log could not be looked at");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.judge(&found, newest, now_ms)
    }

    fn judge(&mut self, found: &Found, newest: Option<Acknowledged>, now_ms: u64) -> Result<(), Stop> {
        let overdue = self.awaited.filter(|awaited| now_ms.saturating_sub(awaited.since_ms) >= INVISIBLE_MS_MAX);
        decide::at_audit(found, (self.lineage, self.incarnation), overdue.map(|overdue| overdue.token))?;
        let seen = found.commit.as_ref().map(|commit| commit.token);
        let is_invisible = |acknowledged: &Acknowledged| !decide::is_visible(acknowledged.token, seen);
        self.awaited = self.awaited.filter(is_invisible).or(newest.filter(is_invisible));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::commit::codec::{encode_commit, encode_open};
    use crate::ports::{CommitsKey, LogError};
    use millstream_model::commit::{Catalog, CommitRecord, OpenRecord};
    use millstream_model::ids::EpochNumber;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    type Entries = Vec<(CommitsKey, Vec<u8>)>;

    /// Shows what the test says.
    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Option<Entries>>>);

    impl CommitsReader for Shown {
        fn read_stable(&mut self) -> Result<Entries, LogError> {
            self.0.lock().unwrap().clone().ok_or_else(|| LogError {
                kind: LogErrorKind::Unknown,
                during: "reading".to_owned(),
                reason: "no broker".to_owned(),
            })
        }
    }

    impl Shown {
        fn show(&self, entries: Entries) {
            *self.0.lock().unwrap() = Some(entries);
        }
    }

    fn token(epoch: u64) -> Token {
        Token { lineage: Lineage([1; 16]), incarnation: Incarnation(2), epoch: EpochNumber(epoch) }
    }

    fn acknowledged(epoch: u64, since_ms: u64) -> Option<Acknowledged> {
        Some(Acknowledged { token: token(epoch), since_ms })
    }

    fn commit(epoch: u64) -> (CommitsKey, Vec<u8>) {
        (CommitsKey::Commit, encode_commit(&CommitRecord { token: token(epoch), ..CommitRecord::default() }))
    }

    fn open(incarnation: u64) -> (CommitsKey, Vec<u8>) {
        let open = OpenRecord {
            lineage: Lineage([1; 16]),
            incarnation: Incarnation(incarnation),
            host: "elsewhere".to_owned(),
            pid: 7,
            started_ms: 0,
            cluster_id: String::new(),
            topics: BTreeMap::new(),
            changelog: 0,
            catalog: Catalog::default(),
            digests: BTreeMap::new(),
            key_groups: String::new(),
            sink_starts: BTreeMap::new(),
            named_since: BTreeMap::new(),
        };
        (CommitsKey::Open, encode_open(&open))
    }

    fn auditor() -> (Auditor, Shown) {
        let shown = Shown::default();
        let started = Started {
            positions: Vec::new(),
            catalog: Catalog::default(),
            token: None,
            lineage: Lineage([1; 16]),
            incarnation: Incarnation(2),
            finished: false,
            restored_cells: 0,
        };
        (Auditor::new(Box::new(shown.clone()), &started), shown)
    }

    #[test]
    fn an_acknowledged_commit_may_come_late_and_not_for_ever() {
        let (mut auditor, shown) = auditor();
        shown.show(vec![open(2), commit(4)]);
        auditor.look(acknowledged(4, 0), 60_000).unwrap();
        // Younger ones come meanwhile; the oldest counts.
        auditor.look(acknowledged(5, 60_000), 65_000).unwrap();
        auditor.look(acknowledged(9, 68_000), 69_999).unwrap();
        let stopped = auditor.look(acknowledged(11, 69_900), 70_000);
        let Err(Stop::Tokens { what, store, .. }) = stopped else { unreachable!("{stopped:?}") };
        assert!(what.contains("is not visible") && store.contains('5'), "{what} {store}");
    }

    #[test]
    fn what_became_visible_in_time_is_forgotten() {
        let (mut auditor, shown) = auditor();
        shown.show(vec![open(2), commit(4)]);
        auditor.look(acknowledged(5, 0), 5_000).unwrap();
        shown.show(vec![open(2), commit(5)]);
        auditor.look(acknowledged(5, 0), 10_000).unwrap();
        auditor.look(acknowledged(5, 0), 1_000_000).unwrap();
        // Long ago, but seen for the first time only now, and visible.
        shown.show(vec![open(2), commit(8)]);
        auditor.look(acknowledged(8, 0), 2_000_000).unwrap();
    }

    #[test]
    fn brokers_that_do_not_answer_prove_nothing() {
        let (mut auditor, shown) = auditor();
        auditor.look(acknowledged(5, 0), 5_000).unwrap();
        auditor.look(acknowledged(5, 0), 500_000).unwrap();
        shown.show(vec![open(2)]);
        assert!(matches!(auditor.look(acknowledged(5, 0), 500_001), Err(Stop::Tokens { .. })));
    }

    #[test]
    fn a_younger_owner_ends_the_run() {
        let (mut auditor, shown) = auditor();
        shown.show(vec![open(2)]);
        auditor.look(None, 0).unwrap();
        shown.show(vec![open(3)]);
        let Err(Stop::Fenced { by }) = auditor.look(None, 1) else { unreachable!("nobody was seen") };
        assert_eq!((by.host.as_str(), by.pid), ("elsewhere", 7));
    }

    #[test]
    fn a_record_that_is_none_of_ours_stops_with_its_cause() {
        let (mut auditor, shown) = auditor();
        shown.show(vec![(CommitsKey::Commit, b"noise".to_vec())]);
        assert!(matches!(auditor.look(None, 0), Err(Stop::Codec(_))));
    }
}
