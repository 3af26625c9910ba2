//! Files as a source: what is a record, and that any position leads to the same records again.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::support::{FakeClock, Row, drain, limits, poll, poll_error, positions};
use millstream_connect::{FileSet, FileSource, FileSourceSettings, LineFormat, MissingFile, Share};
use millstream_engine::ports::Source;
use millstream_model::ids::PartitionIndex;
use millstream_model::limits::BatchLimits;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn set(path: &Path) -> Arc<FileSet> {
    Arc::new(FileSet::find("in", &[path.to_str().unwrap().to_owned()]).unwrap())
}

fn settings() -> FileSourceSettings {
    FileSourceSettings::new("in")
}

fn open(path: &Path, settings: FileSourceSettings) -> FileSource {
    let mut source = FileSource::new(settings, set(path), Share::whole(), FakeClock::shared());
    source.seek(&[]).unwrap();
    source
}

fn values(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| String::from_utf8_lossy(&row.value).into_owned()).collect()
}

#[test]
fn every_line_is_a_record_the_last_one_without_a_newline_too() {
    let folder = folder(&[("a", b"one\n\ntwo\r\n\xffthree \r\r\nfour")]);
    let rows = drain(&mut open(&folder.path().join("a"), settings()), &BatchLimits::default());
    let found: Vec<_> = rows.iter().map(|row| (row.offset, row.value.as_slice())).collect();
    assert_eq!(found, [(0, &b"one"[..]), (4, b""), (5, b"two"), (10, b"\xffthree \r"), (20, b"four")]);
    assert!(rows.iter().all(|row| row.key.is_none() && row.partition == 0));
}

#[test]
fn records_have_the_time_the_file_was_written() {
    let folder = folder(&[("a", b"one\ntwo\n")]);
    let path = folder.path().join("a");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_234_567);
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let mut source = open(&path, settings());
    assert!(drain(&mut source, &BatchLimits::default()).iter().all(|row| row.timestamp_ms == 1_234_567));
    assert_eq!(source.progress()[0].timestamp_ms_max, Some(1_234_567));
}

#[test]
fn keys_and_times_come_from_json_and_other_lines_pass_without() {
    let lines = concat!(
        "{\"user\":{\"id\":\"ann\"},\"at\":5}\n",
        "{\"user\":{\"id\":7},\"at\":6}\r\n",
        "{\"user\":{\"id\":null},\"at\":7}\n",
        "{\"at\":8}\n",
        "not json\n",
        "\n",
    );
    let folder = folder(&[("a", [lines.as_bytes(), b"{\"user\":{\"id\":\"\xff\"},\"at\":9}\n"].concat().as_slice())]);
    let format =
        LineFormat::JsonLines { key: Some("/user/id".parse().unwrap()), timestamp: Some("/at".parse().unwrap()) };
    let rows = drain(
        &mut open(&folder.path().join("a"), FileSourceSettings { format, ..settings() }),
        &BatchLimits::default(),
    );
    let keys: Vec<_> = rows.iter().map(|row| row.key.as_deref().map(String::from_utf8_lossy)).collect();
    assert_eq!(keys, [Some("ann".into()), Some("7".into()), None, None, None, None, None]);
    let times: Vec<_> = rows.iter().map(|row| row.timestamp_ms).collect();
    assert_eq!(times[..4], [5, 6, 7, 8]);
    let written_ms = times[4];
    assert!(written_ms > 1_000_000_000_000, "the file's time: {written_ms}");
    // What is not UTF-8 is not JSON; its bytes pass as they are.
    assert_eq!(times[4..], [written_ms; 3]);
    assert_eq!(rows[6].value, b"{\"user\":{\"id\":\"\xff\"},\"at\":9}");
}

#[test]
fn a_directory_is_read_file_by_file_hidden_ones_and_folders_aside() {
    let folder = folder(&[("b", b"3\n4"), ("a", b"1\n2\n"), ("empty", b""), (".hidden", b"no\n")]);
    fs::create_dir(folder.path().join("sub")).unwrap();
    let mut source = open(folder.path(), settings());
    let mut rows = drain(&mut source, &BatchLimits::default());
    rows.sort();
    assert_eq!(values(&rows), ["1", "2", "3", "4"]);
    let indexes: Vec<u32> = rows.iter().map(|row| row.partition).collect();
    assert_eq!(indexes, [0, 0, 1, 1]);
    assert_eq!(source.progress().iter().map(|progress| progress.next).collect::<Vec<_>>(), [4, 3, 0]);
}

#[test]
fn a_pattern_names_files_by_their_last_part() {
    let folder = folder(&[("a.log", b"1\n"), ("b.log", b"2\n"), ("c.txt", b"3\n")]);
    let rows = drain(&mut open(&folder.path().join("?.log"), settings()), &BatchLimits::default());
    assert_eq!(values(&rows), ["1", "2"]);
}

#[test]
fn workers_share_the_files() {
    let contents: Vec<(String, Vec<u8>)> =
        (0..7).map(|at| (format!("f{at}"), format!("{at}\n").into_bytes())).collect();
    let files: Vec<(&str, &[u8])> =
        contents.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let folder = folder(&files);
    let mut found = Vec::new();
    for worker in 0..3 {
        let share = Share { worker, workers: 3, first: PartitionIndex(10) };
        let mut source = FileSource::new(settings(), set(folder.path()), share, FakeClock::shared());
        let rows = drain(&mut source, &BatchLimits::default());
        assert!(rows.iter().all(|row| row.partition % 3 == (10 + worker) % 3));
        found.extend(rows.iter().map(|row| (row.partition, values(std::slice::from_ref(row)).remove(0))));
    }
    found.sort();
    let expected: Vec<(u32, String)> = (0..7).map(|at| (10 + at, at.to_string())).collect();
    assert_eq!(found, expected);
}

#[test]
fn lines_of_a_megabyte_pass_and_too_long_ones_are_named() {
    let long = vec![b'x'; 1 << 20];
    let content = [b"short\n", long.as_slice(), b"\nend\n"].concat();
    let folder = folder(&[("a", &content)]);
    let path = folder.path().join("a");
    let rows = drain(&mut open(&path, settings()), &BatchLimits::default());
    assert_eq!(rows.iter().map(|row| row.value.len()).collect::<Vec<_>>(), [5, 1 << 20, 3]);
    for (block_bytes, record_bytes_max) in [(4_096, 100_000), (4 << 20, 100_000), (1, 1_000)] {
        let mut source = open(&path, FileSourceSettings { block_bytes, record_bytes_max, ..settings() });
        let expected =
            format!("source `in`: the line at byte 6 of `{}` has more than {record_bytes_max} bytes", path.display());
        let error = poll_error(&mut source);
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn a_followed_file_brings_what_is_appended_once_its_line_ends() {
    let folder = folder(&[("a", b"one\ntw")]);
    let path = folder.path().join("a");
    let mut source = open(&path, FileSourceSettings { follow: true, ..settings() });
    let next = |source: &mut FileSource| values(&poll(source, &BatchLimits::default()).0);
    assert_eq!(next(&mut source), ["one"]);
    assert_eq!(next(&mut source), [""; 0]);
    let append = |text: &str| {
        use std::io::Write;
        fs::File::options().append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    append("o\nthr");
    assert_eq!(next(&mut source), ["two"]);
    append("ee\n");
    assert_eq!(next(&mut source), ["three"]);
    assert_eq!(source.progress()[0].end, 14);
    assert_eq!(source.progress()[0].next, 14);
}

/// Reads a few records of a new file and gives the source's positions.
fn read_some(path: &Path, content: &[u8]) -> Vec<millstream_model::commit::PartitionPosition> {
    fs::write(path, content).unwrap();
    let mut source = open(path, settings());
    poll(&mut source, &limits(2, 1 << 20));
    positions(&source)
}

#[track_caller]
fn assert_refused(
    path: &Path,
    positions: &[millstream_model::commit::PartitionPosition],
    follow: bool,
    expected: &str,
) {
    let mut source =
        FileSource::new(FileSourceSettings { follow, ..settings() }, set(path), Share::whole(), FakeClock::shared());
    let error = source.seek(positions).unwrap_err().to_string();
    assert!(error.starts_with(&format!("source `in`: `{}` {expected}", path.display())), "{error}");
}

#[test]
fn a_file_that_is_not_the_one_committed_is_refused() {
    let folder = folder(&[]);
    let path = folder.path().join("a");
    let at_6 = read_some(&path, b"12\n45\n78\n");
    fs::write(&path, b"12\n4\n").unwrap();
    assert_refused(&path, &at_6, false, "has 5 bytes and had been read up to byte 6");
    fs::write(&path, b"12\n456\n89\n").unwrap();
    assert_refused(&path, &at_6, false, "is not the file that was read up to byte 6 (no line ends there");
    fs::write(&path, b"1x\n45\n78\n").unwrap();
    assert_refused(&path, &at_6, false, "is not the file that was read up to byte 6 (its first line is another one)");
}

#[test]
fn a_last_line_without_a_newline_must_not_grow() {
    let folder = folder(&[]);
    let path = folder.path().join("a");
    fs::write(&path, b"12\n45").unwrap();
    let mut source = open(&path, settings());
    drain(&mut source, &BatchLimits::default());
    let at_end = positions(&source);
    assert_eq!(at_end[0].next, 5);
    open(&path, settings()).seek(&at_end).unwrap();
    assert_refused(&path, &at_end, true, "is not the file that was read up to byte 5 (no line ends there");
    fs::write(&path, b"12\n456\n").unwrap();
    assert_refused(&path, &at_end, false, "is not the file that was read up to byte 5 (no line ends there");
}

#[test]
fn a_file_that_is_cut_or_replaced_while_it_is_read_is_refused() {
    let folder = folder(&[("a", &b"line\n".repeat(100))]);
    let path = folder.path().join("a");
    let small = FileSourceSettings { block_bytes: 16, ..settings() };
    let mut source = open(&path, small.clone());
    poll(&mut source, &limits(20, 1 << 20));
    fs::write(&path, b"x").unwrap();
    let error = poll_error(&mut source);
    assert!(error.contains("has 1 bytes and had been read up to byte 15"), "{error}");

    fs::write(&path, b"line\n".repeat(100)).unwrap();
    let mut source = open(&path, small);
    poll(&mut source, &limits(20, 1 << 20));
    fs::write(folder.path().join("b"), b"line\n".repeat(100)).unwrap();
    fs::rename(folder.path().join("b"), &path).unwrap();
    let error = poll_error(&mut source);
    assert!(error.contains("is not the file that was read up to byte 15 (another file has its name now)"), "{error}");
}

#[test]
fn files_may_come_between_two_runs_and_must_not_go() {
    let folder = folder(&[("b", b"b1\nb2\nb3\n"), ("d", b"d1\nd2\nd3\n")]);
    let path = folder.path();
    let mut source = open(path, settings());
    poll(&mut source, &limits(1, 1 << 20));
    let before = positions(&source);
    fs::write(path.join("a"), b"a1\n").unwrap();
    fs::write(path.join("c"), b"c1\n").unwrap();
    let mut source = open(path, settings());
    source.seek(&before).unwrap();
    let mut found = values(&drain(&mut source, &BatchLimits::default()));
    found.sort();
    assert_eq!(found.len(), 7, "all but the one that was read: {found:?}");
    assert!(found.contains(&"a1".to_owned()) && found.contains(&"c1".to_owned()), "{found:?}");

    fs::remove_file(path.join("d")).unwrap();
    let mut source = open(path, settings());
    let error = source.seek(&before).unwrap_err().to_string();
    assert!(error.contains("is not in") && error.contains("`missing_file: skip`"), "{error}");
    let mut source = open(path, FileSourceSettings { missing_file: MissingFile::Skip, ..settings() });
    source.seek(&before).unwrap();
    assert!(values(&drain(&mut source, &BatchLimits::default())).contains(&"c1".to_owned()));
}

#[test]
fn a_directory_may_be_moved() {
    let folder = folder(&[]);
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    fs::create_dir(&old).unwrap();
    for name in ["a", "b"] {
        fs::write(old.join(name), format!("{name}1\n{name}2\n")).unwrap();
    }
    let mut source = open(&old, settings());
    drain(&mut source, &BatchLimits::default());
    let at_end = positions(&source);
    fs::rename(&old, &new).unwrap();
    let mut source = open(&new, settings());
    source.seek(&at_end).unwrap();
    assert_eq!(drain(&mut source, &BatchLimits::default()), []);
}

#[track_caller]
fn assert_not_found(paths: &[PathBuf], expected: &str) {
    let paths: Vec<String> = paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    let error = FileSet::find("in", &paths).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn paths_that_lead_nowhere_are_named() {
    let folder = folder(&[("a", b"1\n")]);
    let path = folder.path();
    fs::create_dir(path.join("sub")).unwrap();
    fs::write(path.join("sub/a"), b"2\n").unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    assert_not_found(&[path.join("b")], "/b`: No such file or directory (os error 2); check `path`");
    assert_not_found(&[path.join("b*")], "no file matches");
    assert_not_found(&[path.join("empty")], "no file matches");
    assert_not_found(&[path.join("*/a")], "has a wildcard in the name of a directory");
    assert_not_found(&[path.join("nowhere/*")], "cannot read the directory");
    assert_not_found(&[path.join("a"), path.join("sub/a")], "cannot be told apart");
    assert_not_found(&[PathBuf::from("/dev/null")], "`/dev/null` is not a regular file");
    assert_not_found(&[], "no file matches");
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder(&[("a", b"1\n")]);
    let path = folder.path().join("a");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let found = FileSet::find("in", &[path.to_str().unwrap().to_owned()]);
    match fs::File::open(&path) {
        // The administrator may read everything.
        Ok(_) => assert_eq!(found.unwrap().len(), 1),
        Err(_) => {
            let error = found.unwrap_err().to_string();
            assert!(
                error.contains("Permission denied") && error.contains("give the user that runs millstream the right"),
                "{error}"
            );
        }
    }
}

fn contents() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("([a-cé]{0,30}(\r?\n)){0,20}[ab]{0,3}", 1..5)
}

proptest! {
    #[test]
    fn a_restart_at_any_position_gives_the_same_records(
        contents in contents(), stops in prop::collection::vec(0usize..4, 0..40), block_bytes in 1usize..100,
        rows_max in 1usize..20, bytes_max in 1usize..60, workers in 1u32..4,
    ) {
        let folder = TempDir::new().unwrap();
        for (at, content) in contents.iter().enumerate() {
            fs::write(folder.path().join(format!("f{at}")), content).unwrap();
        }
        let limits = limits(rows_max, bytes_max);
        let settings = FileSourceSettings { block_bytes, ..settings() };
        let mut whole = drain(&mut open(folder.path(), settings.clone()), &BatchLimits::default());
        whole.sort();
        let expected: usize = contents.iter().map(|content| content.split_inclusive('\n').count()).sum();
        prop_assert_eq!(whole.len(), expected);

        // Restarts after some polls, each with what a commit holds; what is read and not committed comes again.
        let mut committed = Vec::new();
        for worker in 0..workers {
            let share = Share { worker, workers, first: PartitionIndex(0) };
            let make = || FileSource::new(settings.clone(), set(folder.path()), share, FakeClock::shared());
            let (mut source, mut at) = (make(), Vec::new());
            for (number, &polls) in stops.iter().enumerate() {
                let mut rows = Vec::new();
                for _ in 0..polls {
                    rows.extend(poll(&mut source, &limits).0);
                }
                if number % 3 == 0 {
                    // Dropped, in the same process or in a new one.
                    if number % 2 == 0 { source = make() }
                    source.seek(&at).unwrap();
                } else {
                    committed.extend(rows);
                    at = positions(&source);
                }
            }
            committed.extend(drain(&mut source, &limits));
        }
        committed.sort();
        prop_assert_eq!(committed, whole);
    }
}
