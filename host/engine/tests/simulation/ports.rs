//! What processes and directories of the simulation are made of.

use crate::check::SINKS;
use crate::model::Model;
use crate::mutant_disks::{MutantSink, MutantState};
use crate::mutants::MutantLog;
use crate::process::SOURCE;
use crate::scenario::Kind;
use crate::spy::SpiedState;
use crate::world::World;
use millstream_engine::commit::codec::{encode_commit, encode_open};
use millstream_engine::commit::{CommitPorts, Identity, SinkPort};
use millstream_engine::fakes::{Chance, FakeFile, FakeLog, FakeSink, FakeState, Life};
use millstream_engine::ports::{ChangeSet, Clock, Meta, Sink, StateBackend, TransactionLog};
use millstream_model::commit::{Catalog, CommitRecord, OpenRecord, TopicIdentity};
use millstream_model::ids::{Incarnation, Lineage};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The history that checkpoints of the simulation come from.
pub(crate) const CHECKPOINT_LINEAGE: Lineage = Lineage([7; 16]);

impl World {
    /// Puts cells and commit of another history into the first directory, as `--from-checkpoint` does.
    pub(crate) fn fill_from_checkpoint(&self) {
        let ends = self.scenario.ends.iter();
        let positions: Vec<i64> = ends.map(|end| self.chance(|chance| chance.below(*end as u64) as i64)).collect();
        let mut changes = ChangeSet::default();
        for (key, value) in Model::at(self.seed, &positions).cells() {
            changes.keys.push(Some(&key));
            changes.values.push(Some(&value));
        }
        let mut applied = CommitRecord { committed_ms: self.clock.now_ms(), ..CommitRecord::default() };
        applied.token.lineage = CHECKPOINT_LINEAGE;
        applied.token.epoch.0 = 40;
        applied.positions = crate::check::positions_of(&positions);
        let applied = encode_commit(&applied);
        let [disk, _] = &self.disks;
        let state = FakeState::new(disk, &Life::default());
        let open = encode_open(&self.checkpoint_open());
        let facts: [(Meta, Option<&[u8]>); 2] = [(Meta::Applied, Some(&applied)), (Meta::Open, Some(&open))];
        let written = state.write(&[changes], &facts, true);
        written.expect("a fake that lives");
    }

    /// The run that took the checkpoint.
    fn checkpoint_open(&self) -> OpenRecord {
        let identity = self.identity();
        let mut catalog = Catalog::default();
        catalog.enter("sum", &["sum"]);
        OpenRecord {
            lineage: CHECKPOINT_LINEAGE,
            incarnation: Incarnation(3),
            host: identity.host,
            pid: identity.pid,
            started_ms: 0,
            cluster_id: identity.cluster_id,
            topics: identity.topics,
            changelog: 0,
            catalog,
            digests: identity.digests,
            key_groups: "murmur2/128".to_owned(),
            sink_starts: BTreeMap::new(),
            named_since: BTreeMap::new(),
        }
    }

    pub(crate) fn ports(&self, slot: usize, life: &Life) -> Option<(CommitPorts, Arc<dyn StateBackend>)> {
        let state = FakeState::new(self.disks.get(slot)?, life);
        let log = self.cluster.as_ref().map(|cluster| FakeLog::new(cluster, life));
        let plain: Arc<dyn StateBackend> = Arc::new(state.clone());
        let (state, log): (Arc<dyn StateBackend>, Option<Box<dyn TransactionLog>>) = match self.mutant {
            None => (Arc::clone(&plain), log.map(|log| Box::new(log) as _)),
            Some(mutant) => {
                let log = log.map(|log| Box::new(MutantLog::new(mutant, log, state.clone())) as _);
                (Arc::new(MutantState::new(mutant, state)), log)
            }
        };
        let state = if self.has_swaps && self.cluster.is_none() {
            let disk = Arc::clone(self.disks.get(slot)?);
            Arc::new(SpiedState { state, disk, applied: self.applied.clone() })
        } else {
            state
        };
        let local = |file: &Arc<FakeFile>| {
            let sink = FakeSink::new(file, life);
            let sink: Box<dyn Sink> = match self.mutant {
                None => Box::new(sink),
                Some(mutant) => Box::new(MutantSink::new(mutant, sink, file)),
            };
            SinkPort::Local(sink)
        };
        let [first, second] = &self.files;
        let sinks = match self.scenario.kind {
            Kind::Topics => vec![SinkPort::Log, SinkPort::Log],
            Kind::TopicAndFile => vec![SinkPort::Log, local(second)],
            Kind::Files => vec![local(first), local(second)],
        };
        Some((CommitPorts { log, state, sinks, clock: Arc::new(self.clock.clone()) }, plain))
    }

    pub(crate) fn identity(&self) -> Identity {
        let partitions = self.scenario.ends.len() as i32;
        let topic = TopicIdentity { name: "lines".to_owned(), id: "T".to_owned(), partitions };
        Identity {
            id: "simulated".to_owned(),
            host: "host".to_owned(),
            pid: self.chance(Chance::number) as u32,
            cluster_id: "cluster".to_owned(),
            topics: BTreeMap::from([(SOURCE.to_owned(), topic)]),
            changelog: 0,
            digests: BTreeMap::new(),
            planned_after: None,
            operators: vec![("sum".to_owned(), vec!["sum".to_owned()])],
            sink_ids: SINKS.map(str::to_owned).to_vec(),
            sink_ends: BTreeMap::new(),
            fresh_lineage: Lineage([1 + self.chance(|chance| chance.below(6)) as u8; 16]),
        }
    }
}
