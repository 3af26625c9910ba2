//! The bytes that outlive the process: one fixture per format and version. What an older Millstream wrote must be read by this one, and what this one
//! writes must not change without a new version. A new version adds a file here and leaves the others alone.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use millstream_engine::commit::codec::{decode_entry, encode_begin, encode_commit, encode_open};
use millstream_engine::ports::CommitsKey;
use millstream_model::cell::{CellKey, CellSpace, CellValue, read_key, read_value, write_key, write_value};
use millstream_model::commit::{
    BeginRecord, Catalog, CatalogEntry, CommitRecord, CommitsEntry, Gap, OpenRecord, OperatorCommit, OutputTotal,
    PartitionPosition, TopicIdentity,
};
use millstream_model::ids::{Digest, EpochNumber, Generation, Incarnation, Lineage, Token};
use millstream_model::key_group::KeyGroup;
use std::collections::BTreeMap;

fn token(epoch: u64) -> Token {
    Token { lineage: Lineage(*b"lineage-of-16-by"), incarnation: Incarnation(300), epoch: EpochNumber(epoch) }
}

fn catalog() -> Catalog {
    let entry = |number, states: &[(&str, u8)]| CatalogEntry {
        number,
        states: states.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect(),
    };
    let operators = [("count", entry(0, &[("seen", 0), ("last", 1)])), ("sum", entry(700, &[]))];
    Catalog { operators: operators.into_iter().map(|(id, entry)| (id.to_owned(), entry)).collect() }
}

fn begin() -> BeginRecord {
    BeginRecord { token: token(70_000) }
}

fn open() -> OpenRecord {
    let topic = TopicIdentity { name: "clicks".to_owned(), id: "cW1uX2RlZmdoaWprbG1ubw".to_owned(), partitions: 4 };
    OpenRecord {
        lineage: Lineage(*b"lineage-of-16-by"),
        incarnation: Incarnation(300),
        host: "there".to_owned(),
        pid: 4_242,
        started_ms: 1_700_000_000_000,
        cluster_id: "5L6g3nShT-eMCtK--X86sw".to_owned(),
        topics: BTreeMap::from([("clicks".to_owned(), topic)]),
        changelog: 2,
        catalog: catalog(),
        digests: BTreeMap::from([("count".to_owned(), Digest([0xab; 32]))]),
        key_groups: "murmur2/128".to_owned(),
        sink_starts: BTreeMap::from([("counts".to_owned(), vec![0, 17, 1 << 40])]),
        named_since: BTreeMap::new(),
    }
}

/// What a commit of version 1 can hold.
fn commit_of_1() -> CommitRecord {
    let position = |partition, timestamp_ms_max| PartitionPosition {
        source: "clicks".to_owned(),
        partition,
        from: 5,
        next: 1_000_000,
        leader_epoch: -1,
        timestamp_ms_max,
        idle: partition == 1,
    };
    CommitRecord {
        token: token(70_000),
        previous: Some(token(69_999)),
        committed_ms: 1_700_000_000_500,
        positions: vec![position(0, Some(-3)), position(1, None)],
        operators: vec![OperatorCommit {
            id: "count".to_owned(),
            generation: Generation(3),
            digest: Digest([0xab; 32]),
            watermark_ms: Some(1_699_999_999_999),
            state_versions: BTreeMap::from([("seen".to_owned(), 2)]),
        }],
        file_lengths: BTreeMap::from([("out".to_owned(), 123_456_789)]),
        output_totals: BTreeMap::from([("counts".to_owned(), OutputTotal { records: 99, checksum: u64::MAX })]),
        changes: 12,
        changes_checksum: 0xdead_beef,
        gaps: vec![Gap { source: "clicks".to_owned(), partition: 3, from: 7, to: 9 }],
        finished: true,
        ..CommitRecord::default()
    }
}

fn commit_of_2() -> CommitRecord {
    let older = BTreeMap::from([("seen".to_owned(), vec![1, 300])]);
    CommitRecord { catalog: catalog(), older_versions: BTreeMap::from([("count".to_owned(), older)]), ..commit_of_1() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[track_caller]
fn assert_read(key: CommitsKey, fixture: &str, expected: CommitsEntry) {
    assert_eq!(decode_entry(key, &unhex(fixture)).unwrap(), expected);
}

#[track_caller]
fn assert_written(fixture: &str, bytes: &[u8]) {
    assert_eq!(
        hex(bytes),
        hex(&unhex(fixture)),
        "the format has changed: it needs a new version, and a fixture of its own"
    );
}

#[test]
fn begin_records_of_every_version_are_read_and_the_newest_is_written() {
    assert_read(CommitsKey::Begin, include_str!("formats/begin-1.hex"), CommitsEntry::Begin(begin()));
    assert_read(CommitsKey::Begin, include_str!("formats/begin-2.hex"), CommitsEntry::Begin(begin()));
    assert_written(include_str!("formats/begin-2.hex"), &encode_begin(&begin()));
}

#[test]
fn open_records_of_every_version_are_read_and_the_newest_is_written() {
    assert_read(CommitsKey::Open, include_str!("formats/open-1.hex"), CommitsEntry::Open(open()));
    assert_read(CommitsKey::Open, include_str!("formats/open-2.hex"), CommitsEntry::Open(open()));
    assert_written(include_str!("formats/open-2.hex"), &encode_open(&open()));
}

#[test]
fn commit_records_of_every_version_are_read_and_the_newest_is_written() {
    assert_read(CommitsKey::Commit, include_str!("formats/commit-1.hex"), CommitsEntry::Commit(commit_of_1()));
    assert_read(CommitsKey::Commit, include_str!("formats/commit-2.hex"), CommitsEntry::Commit(commit_of_2()));
    assert_written(include_str!("formats/commit-2.hex"), &encode_commit(&commit_of_2()));
}

#[test]
fn every_version_that_is_written_has_its_fixture() {
    let newest = encode_begin(&begin()).first().copied().unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    for version in 1..=newest {
        for kind in ["begin", "open", "commit"] {
            let fixture = folder.join(format!("{kind}-{version}.hex"));
            let Ok(text) = std::fs::read_to_string(&fixture) else { panic!("{} is missing", fixture.display()) };
            assert_eq!(unhex(&text).first(), Some(&version), "{}", fixture.display());
        }
    }
}

#[test]
fn cells_are_laid_out_as_they_always_were() {
    // Operator 0x0102, key group 0x7f, state 3; a user key of 130 bytes, whose length takes two; cell key `c`.
    let user_key = [b'k'; 130];
    let mut key = Vec::new();
    write_key(&mut key, CellSpace { operator: 0x0102, state: 3 }, KeyGroup(0x7f), &user_key, b"c");
    let expected = [&unhex("01027f038201")[..], &user_key, b"c"].concat();
    assert_eq!(hex(&key), hex(&expected));
    let space = CellSpace { operator: 0x0102, state: 3 };
    assert_eq!(
        read_key(&expected),
        Some(CellKey { space, group: KeyGroup(0x7f), user_key: &user_key, cell_key: b"c" })
    );
    let mut value = Vec::new();
    write_value(&mut value, 300, b"value");
    assert_eq!(hex(&value), "ac0276616c7565");
    assert_eq!(
        read_value(&unhex("ac0276616c7565")),
        Some(CellValue { version: 300, refreshed_ms: None, bytes: b"value" })
    );
}
