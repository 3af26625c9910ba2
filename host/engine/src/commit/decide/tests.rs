#![expect(clippy::panic, reason = "tests")]
use super::*;
use millstream_model::commit::{OperatorCommit, TopicIdentity};
use millstream_model::ids::{Digest, EpochNumber, Generation};
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
        named_since: BTreeMap::new(),
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
        planned_after: None,
        operators: Vec::new(),
        sink_ids: Vec::new(),
        sink_ends: BTreeMap::new(),
        fresh_lineage: Lineage([9; 16]),
    }
}

const BASE_AGE_MS_MAX: i64 = 50_000;

fn store(applied: Option<CommitRecord>) -> StoreFacts {
    StoreFacts {
        applied,
        open: Some(open(1)),
        base_age_ms_max: BASE_AGE_MS_MAX.unsigned_abs(),
        ..StoreFacts::default()
    }
}

fn start(log: Option<CommitRecord>, applied: Option<CommitRecord>, is_from_checkpoint: bool) -> Result<Begin, Stop> {
    let begin = log.as_ref().map(|commit| BeginRecord { token: commit.token });
    let found = Found { open: Some(open(1)), begin, commit: log };
    let store = StoreFacts { is_from_checkpoint, ..store(applied) };
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
fn a_store_too_old_is_no_base_and_a_restore_cut_off_is_made_again() {
    let found = Found { commit: Some(commit(1, 3)), begin: Some(BeginRecord { token: token(1, 3) }), open: None };
    let start = |store: &StoreFacts, now_ms| at_start(&identity(), &found, store, now_ms);
    let store = store(Some(commit(1, 2)));
    assert_eq!(start(&store, 999 + BASE_AGE_MS_MAX), Ok(Begin::RestoreForward));
    assert_eq!(start(&store, 1_000 + BASE_AGE_MS_MAX), Ok(Begin::RestoreEmpty));
    let cut_off = StoreFacts { is_restoring: true, ..store };
    assert_eq!(start(&cut_off, 2_000), Ok(Begin::RestoreForward));
    assert_eq!(start(&cut_off, 1_000 + BASE_AGE_MS_MAX), Ok(Begin::RestoreEmpty));
    let emptied = StoreFacts { applied: None, ..cut_off.clone() };
    assert_eq!(start(&emptied, 2_000), Ok(Begin::RestoreEmpty));
    let newest = StoreFacts { applied: Some(commit(1, 3)), ..cut_off };
    assert_eq!(start(&newest, 2_000), Ok(Begin::RestoreForward));
}

#[test]
fn what_the_changelog_keeps_decides_how_old_a_base_may_be() {
    let newest = CommitRecord { committed_ms: 4_000, ..commit(1, 3) };
    let found = Found { commit: Some(newest), begin: Some(BeginRecord { token: token(1, 3) }), open: None };
    let start = |base_age_ms_max, now_ms| {
        let store = StoreFacts { base_age_ms_max, ..store(Some(commit(1, 2))) };
        at_start(&identity(), &found, &store, now_ms)
    };
    assert_eq!(start(10_000, 5_000), Ok(Begin::RestoreForward));
    // Somebody lowered `delete.retention.ms`: removals that the store has not seen may be gone.
    assert_eq!(start(500, 5_000), Ok(Begin::RestoreEmpty));
    assert_eq!(start(0, 1_000), Ok(Begin::RestoreEmpty));
    // A clock that stands still, or was put back, does not make the store younger than the commits it has missed.
    assert_eq!(start(3_000, 0), Ok(Begin::RestoreEmpty));
    assert_eq!(start(3_001, 0), Ok(Begin::RestoreForward));
}

#[test]
fn a_seed_that_was_cut_off_behind_its_first_commit_is_restored_from_there() {
    let found = Found { commit: Some(commit(1, 1)), begin: Some(BeginRecord { token: token(1, 1) }), open: None };
    let store = StoreFacts { is_restoring: true, ..store(Some(commit(7, 40))) };
    assert_eq!(at_start(&identity(), &found, &store, 2_000), Ok(Begin::RestoreEmpty));
    let store = StoreFacts { is_restoring: false, ..store };
    assert!(matches!(at_start(&identity(), &found, &store, 2_000), Err(Stop::Tokens { .. })));
}

fn position(partition: i32, next: i64, timestamp_ms_max: Option<i64>) -> PartitionPosition {
    PartitionPosition {
        source: "in".to_owned(),
        partition,
        from: 0,
        next,
        leader_epoch: -1,
        timestamp_ms_max,
        idle: false,
    }
}

#[test]
fn positions_adjoin_and_never_go_back() {
    let before = CommitRecord { positions: vec![position(0, 7, Some(50)), position(1, 3, None)], ..commit(1, 1) };
    let joined = adjoin(Some(&before), vec![position(0, 9, Some(40))]);
    let expected = vec![
        PartitionPosition { from: 7, ..position(0, 9, Some(50)) },
        PartitionPosition { from: 3, ..position(1, 3, None) },
    ];
    assert_eq!(joined, Ok(expected));
    assert_eq!(adjoin(None, vec![position(0, 9, None)]), Ok(vec![position(0, 9, None)]));
    let Err(Stop::Config(text)) = adjoin(Some(&before), vec![position(0, 6, None)]) else { panic!("went back") };
    assert!(text.contains("from offset 7 to 6"), "{text}");
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
fn a_checkpoint_of_other_topics_begins_no_history() {
    let seed = |change: fn(&mut Identity)| {
        let mut identity = identity();
        change(&mut identity);
        let taken_by = OpenRecord { lineage: Lineage([7; 16]), ..open(3) };
        let store = StoreFacts {
            applied: Some(commit(7, 40)),
            open: Some(taken_by),
            is_from_checkpoint: true,
            ..StoreFacts::default()
        };
        at_start(&identity, &Found::default(), &store, 2_000)
    };
    let refused = |change, expected: &str| {
        let Err(Stop::Config(text)) = seed(change) else { panic!("nothing found") };
        assert!(text.contains("the checkpoint") && text.contains(expected) && !text.contains("reset"), "{text}");
    };
    assert_eq!(seed(|_| {}), Ok(Begin::Seed));
    refused(|identity| identity.cluster_id = "d".to_owned(), "was taken on Kafka cluster `c` and this is cluster `d`");
    refused(|identity| identity.cluster_id.clear(), "and this is none");
    refused(|identity| drop(identity.topics.insert("in".to_owned(), topic("lines", "T2", 4))), "created again");
    refused(|identity| drop(identity.topics.insert("in".to_owned(), topic("lines", "T1", 3))), "had 4 partitions");
    refused(|identity| drop(identity.topics.insert("in".to_owned(), topic("other", "T1", 4))), "is to read `other`");
    // Another source begins at its `start`.
    assert_eq!(
        seed(|identity| identity.topics = BTreeMap::from([("new".to_owned(), topic("other", "T9", 1))])),
        Ok(Begin::Seed)
    );
    let unknown = StoreFacts { applied: Some(commit(7, 40)), is_from_checkpoint: true, ..StoreFacts::default() };
    assert!(matches!(at_start(&identity(), &Found::default(), &unknown, 0), Err(Stop::Config(_))));
}

#[test]
fn positions_in_files_are_the_same_on_any_cluster() {
    let files = || BTreeMap::from([("in".to_owned(), topic("files", "", 0))]);
    let taken_by = OpenRecord { cluster_id: String::new(), topics: files(), ..open(3) };
    let store = StoreFacts {
        applied: Some(commit(7, 40)),
        open: Some(taken_by),
        is_from_checkpoint: true,
        ..StoreFacts::default()
    };
    let identity = Identity { topics: files(), ..identity() };
    assert_eq!(at_start(&identity, &Found::default(), &store, 2_000), Ok(Begin::Seed));
}

#[test]
fn an_audit_finds_a_younger_owner_and_what_is_overdue() {
    let found =
        |epoch, incarnation| Found { open: Some(open(incarnation)), begin: None, commit: Some(commit(1, epoch)) };
    let owner = (Lineage([1; 16]), Incarnation(1));
    assert_eq!(at_audit(&found(5, 1), owner, None), Ok(()));
    assert_eq!(at_audit(&found(5, 1), owner, Some(token(1, 5))), Ok(()));
    assert!(matches!(at_audit(&found(5, 1), owner, Some(token(1, 6))), Err(Stop::Tokens { .. })));
    assert!(matches!(at_audit(&Found::default(), owner, Some(token(1, 6))), Err(Stop::Tokens { .. })));
    assert!(matches!(at_audit(&found(5, 2), owner, Some(token(1, 6))), Err(Stop::Fenced { .. })));
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

#[test]
fn a_plan_that_an_elder_has_overtaken_is_made_anew() {
    let digest = |number| Digest([number; 32]);
    let newest = |generation, number| CommitRecord {
        operators: vec![OperatorCommit {
            id: "op".to_owned(),
            generation: Generation(generation),
            digest: digest(number),
            watermark_ms: None,
            state_versions: BTreeMap::new(),
        }],
        ..commit(1, 5)
    };
    let planned = |planned_after| Identity {
        digests: BTreeMap::from([("op".to_owned(), digest(1))]),
        planned_after,
        ..identity()
    };
    let seen = restart::versions(Some(&newest(2, 1)));
    assert_eq!(check_versions(&planned(Some(seen.clone())), Some(&newest(2, 1))), Ok(()));
    let overtaken = Err(Stop::Overtaken { operator: "op".to_owned() });
    assert_eq!(check_versions(&planned(Some(seen.clone())), Some(&newest(3, 1))), overtaken);
    assert_eq!(check_versions(&planned(Some(seen.clone())), Some(&newest(2, 2))), overtaken);
    assert_eq!(check_versions(&planned(Some(seen)), None), overtaken);
    assert_eq!(check_versions(&planned(Some(BTreeMap::new())), Some(&newest(1, 1))), overtaken);
    assert_eq!(check_versions(&planned(Some(BTreeMap::new())), None), Ok(()));
    assert_eq!(check_versions(&planned(None), Some(&newest(1, 1))), Ok(()));
}
