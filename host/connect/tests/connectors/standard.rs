//! Standard input, as far as one process goes.
#![expect(clippy::unwrap_used, reason = "tests")]

use crate::support::{Row, drain, limits, poll, poll_error, positions};
use millstream_connect::{Share, StdinSettings, StdinSource};
use millstream_engine::ports::Source;
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use proptest::prelude::*;
use std::io::{Read, Write};

fn settings() -> StdinSettings {
    StdinSettings::new("in", 42)
}

fn reading(text: &[u8]) -> StdinSource {
    StdinSource::reading(settings(), Share::whole(), std::io::Cursor::new(text.to_vec()))
}

fn values(rows: &[Row]) -> Vec<&[u8]> {
    rows.iter().map(|row| row.value.as_slice()).collect()
}

#[test]
fn lines_are_records_at_their_byte_with_the_time_of_the_start() {
    let rows = drain(&mut reading(b"one\r\ntwo\n\nend"), &BatchLimits::default());
    assert_eq!(values(&rows), [&b"one"[..], b"two", b"", b"end"]);
    assert_eq!(rows.iter().map(|row| row.offset).collect::<Vec<_>>(), [0, 5, 9, 10]);
    assert!(rows.iter().all(|row| row.timestamp_ms == 42));
}

#[test]
fn a_pipe_without_input_holds_nobody_up() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut source = StdinSource::reading(settings(), Share::whole(), reader);
    assert_eq!(poll(&mut source, &BatchLimits::default()), (Vec::new(), false));
    writer.write_all(b"late\n").unwrap();
    drop(writer);
    assert_eq!(values(&drain(&mut source, &BatchLimits::default())), [b"late"]);
}

#[test]
fn one_worker_reads_and_the_others_have_nothing() {
    let share = Share { worker: 1, workers: 2, first: PartitionIndex(0) };
    let mut source = StdinSource::reading(settings(), share, std::io::Cursor::new(b"one\n"));
    assert_eq!(poll(&mut source, &BatchLimits::default()), (Vec::new(), true));
    assert_eq!(source.progress(), []);
}

#[test]
fn offsets_go_on_where_the_run_before_left_off() {
    let mut source = reading(b"one\ntwo\n");
    drain(&mut source, &BatchLimits::default());
    let mut next = reading(b"three\n");
    next.seek(&positions(&source)).unwrap();
    assert_eq!(drain(&mut next, &BatchLimits::default()).iter().map(|row| row.offset).collect::<Vec<_>>(), [8]);
}

#[test]
fn what_is_committed_is_not_kept() {
    let mut source = reading(b"one\ntwo\nthree\n");
    let start = positions(&source);
    source.seek(&[]).unwrap();
    assert_eq!(drain(&mut source, &limits(1, 1 << 20)).len(), 3);
    let end = positions(&source);
    source.committed(&end);
    source.seek(&end).unwrap();
    let error = source.seek(&start).unwrap_err().to_string();
    assert!(error.contains("cannot be read again from byte 0; it is kept from byte 14 on"), "{error}");
}

#[test]
fn reading_pauses_while_too_much_is_not_committed() {
    let text = b"0123456\n".repeat(100);
    let small = StdinSettings { kept_bytes_max: 80, ..settings() };
    let mut source = StdinSource::reading(small, Share::whole(), std::io::Cursor::new(text));
    let (mut rows, mut commits) = (0, 0);
    loop {
        let (found, is_end) = poll(&mut source, &limits(7, 1 << 20));
        rows += found.len();
        if is_end {
            break;
        }
        if found.is_empty() {
            commits += 1;
            let now = positions(&source);
            source.committed(&now);
        }
    }
    assert_eq!(rows, 100);
    assert!(commits >= 7, "{commits} commits for 800 bytes, 80 to 135 at a time");
}

#[test]
fn too_long_lines_and_failures_are_named() {
    let short = StdinSettings { record_bytes_max: 10, ..settings() };
    for text in [&b"ok\n01234567890\n"[..], b"ok\n01234567890"] {
        let mut source = StdinSource::reading(short.clone(), Share::whole(), std::io::Cursor::new(text.to_vec()));
        let error = poll_error(&mut source);
        assert!(
            error.starts_with("source `in`: the line at byte 3 of `standard input` has more than 10 bytes"),
            "{error}"
        );
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the cable is out"))
        }
    }
    let mut source = StdinSource::reading(settings(), Share::whole(), Broken);
    assert_eq!(poll_error(&mut source), "source `in`: standard input failed: the cable is out");
}

proptest! {
    #[test]
    fn dropped_epochs_are_read_again(text in "([a-c]{0,9}\n){0,60}[ab]{0,3}", steps in prop::collection::vec((0usize..4, 0u8..3), 0..30), rows_max in 1usize..9) {
        let limits = limits(rows_max, 1 << 20);
        let mut source = reading(text.as_bytes());
        source.seek(&[]).unwrap();
        let (mut committed, mut at) = (Vec::new(), Vec::new());
        for (polls, fate) in steps {
            let mut rows = Vec::new();
            for _ in 0..polls {
                rows.extend(poll(&mut source, &limits).0);
            }
            if fate == 0 {
                source.seek(&at).unwrap();
                continue;
            }
            committed.extend(rows);
            at = positions(&source);
            if fate == 1 {
                source.committed(&at);
            }
        }
        committed.extend(drain(&mut source, &limits));
        let expected: Vec<&[u8]> = text.split_inclusive('\n').map(|line| line.strip_suffix('\n').unwrap_or(line).as_bytes()).collect();
        prop_assert_eq!(values(&committed), expected);
    }
}
