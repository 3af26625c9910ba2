use super::Stop;
use super::codec::{encode_begin, encode_commit, encode_open};
use super::decide::KEY_GROUPS;
use super::take::{end, read_log};
use crate::ports::{Clock, CommitsKey, LogError, LogErrorKind, TransactionLog};
use millstream_model::commit::{BeginRecord, Catalog, CommitRecord, OpenRecord, PartitionPosition, TopicIdentity};
use millstream_model::ids::{EpochNumber, Incarnation, Lineage, Token};
use std::collections::BTreeMap;

/// Attempts at writing it.
const ATTEMPTS: u32 = 10;

/// Pause between two of them, in milliseconds.
const PAUSE_MS: u64 = 500;

/// A history to begin: `millstream reset`. It has no state, and positions only if they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHistory {
    /// Random.
    pub lineage: Lineage,
    /// Number of a changelog that holds nothing.
    pub changelog: u32,
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// Where the process runs, for people.
    pub host: String,
    /// Its process id, for people.
    pub pid: u32,
    /// What the positions are about, by source id.
    pub topics: BTreeMap<String, TopicIdentity>,
    /// Where the sources begin; those that are not named begin as the pipeline file says.
    pub positions: Vec<PartitionPosition>,
}

impl NewHistory {
    /// Writes it in one transaction. Whoever ran the pipeline is fenced and finds out why.
    ///
    /// # Errors
    /// When it is not certain to be written; doing it again is harmless.
    pub fn begin(&self, log: &mut dyn TransactionLog, clock: &dyn Clock) -> Result<(), Stop> {
        let open = self.open(clock.now_ms());
        log.init()?;
        for _ in 0..ATTEMPTS {
            match self.write(log, clock, &open) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind == LogErrorKind::Fatal => return Err(error.into()),
                Err(_) => {}
            }
            clock.pause(PAUSE_MS);
            log.init()?;
            if read_log(log)?.open.as_ref() == Some(&open) {
                return Ok(());
            }
        }
        Err(Stop::Log(LogError {
            kind: LogErrorKind::Unknown,
            during: "beginning a new history".to_owned(),
            reason: format!("{ATTEMPTS} attempts at writing it failed"),
        }))
    }

    fn open(&self, started_ms: i64) -> OpenRecord {
        OpenRecord {
            lineage: self.lineage,
            // The first run is number 1.
            incarnation: Incarnation(0),
            host: self.host.clone(),
            pid: self.pid,
            started_ms,
            cluster_id: self.cluster_id.clone(),
            topics: self.topics.clone(),
            changelog: self.changelog,
            catalog: Catalog::default(),
            digests: BTreeMap::new(),
            key_groups: KEY_GROUPS.to_owned(),
            sink_starts: BTreeMap::new(),
            named_since: BTreeMap::new(),
        }
    }

    fn write(&self, log: &mut dyn TransactionLog, clock: &dyn Clock, open: &OpenRecord) -> Result<(), LogError> {
        log.begin()?;
        log.produce_commits(CommitsKey::Open, &encode_open(open))?;
        if !self.positions.is_empty() {
            let token = Token { lineage: self.lineage, incarnation: Incarnation(0), epoch: EpochNumber(1) };
            let commit = CommitRecord {
                token,
                committed_ms: open.started_ms,
                positions: self.positions.clone(),
                ..CommitRecord::default()
            };
            log.produce_commits(CommitsKey::Begin, &encode_begin(&BeginRecord { token }))?;
            log.produce_commits(CommitsKey::Commit, &encode_commit(&commit))?;
        }
        log.flush()?;
        end(log, clock)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fakes::{FakeClock, FakeCluster, FakeLog, Life, LogFaults};
    use std::sync::Arc;

    fn history(seed: u8, positions: Vec<PartitionPosition>) -> NewHistory {
        NewHistory {
            lineage: Lineage([seed; 16]),
            changelog: u32::from(seed),
            cluster_id: "cluster".to_owned(),
            host: "host".to_owned(),
            pid: 1,
            topics: BTreeMap::new(),
            positions,
        }
    }

    fn position(next: i64) -> PartitionPosition {
        PartitionPosition {
            source: "in".to_owned(),
            partition: 0,
            from: next,
            next,
            leader_epoch: -1,
            timestamp_ms_max: None,
            idle: false,
        }
    }

    #[test]
    fn the_newest_history_is_all_that_is_found_whatever_became_of_requests() {
        let faults = LogFaults { delivery: 100, end_lost: 200, answer_lost: 200, vague: 200, ..LogFaults::default() };
        let mut failures = 0;
        for seed in 0..300 {
            let clock = FakeClock::default();
            let cluster = Arc::new(FakeCluster::new(seed, &clock, 1, 15_000));
            let mut log = FakeLog::new(&cluster, &Life::default());
            let first = history(1, vec![position(7)]);
            first.begin(&mut log, &clock).unwrap();
            let found = read_log(&mut log).unwrap();
            let commit = found.commit.unwrap();
            assert_eq!((commit.positions, commit.previous), (first.positions.clone(), None));
            assert_eq!(found.begin.unwrap().token, commit.token);
            cluster.set_faults(faults);
            let second = history(2, vec![]);
            let begun = second.begin(&mut log, &clock);
            cluster.set_faults(LogFaults::default());
            let found = read_log(&mut log).unwrap();
            if begun.is_ok() {
                let open = found.open.unwrap();
                assert_eq!(
                    (open.lineage, open.changelog, open.incarnation),
                    (second.lineage, 2, Incarnation(0)),
                    "seed {seed}"
                );
                assert_eq!((found.commit, found.begin), (None, None), "seed {seed}");
            } else {
                failures += 1;
            }
        }
        // The faults are such that ten attempts in a row fail hardly ever.
        assert!(failures < 30, "{failures}");
    }
}
