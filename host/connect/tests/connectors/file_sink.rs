//! A file as a sink: what is committed stays, what is not goes, and nothing else is touched.
#![expect(clippy::unwrap_used, reason = "tests")]

use millstream_connect::{FileSink, FileSinkSettings, SinkFormat};
use millstream_engine::ports::Sink;
use millstream_model::record::{Origin, RecordBatch};
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;

fn batch(values: &[&str]) -> RecordBatch {
    let mut batch = RecordBatch::default();
    for value in values {
        batch.push(None, Some(value.as_bytes()), 0, Origin::default());
    }
    batch
}

fn settings(path: &Path) -> FileSinkSettings {
    FileSinkSettings {
        pipeline: "p".to_owned(),
        sink_id: "out".to_owned(),
        path: path.to_owned(),
        format: SinkFormat::Lines,
    }
}

fn open(path: &Path) -> FileSink {
    FileSink::open(settings(path)).unwrap()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn append(path: &Path, garbage: &[u8]) {
    fs::File::options().append(true).open(path).unwrap().write_all(garbage).unwrap();
}

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.txt");
    (folder, path)
}

#[test]
fn prepared_bytes_are_in_the_file_and_their_length_is_told() {
    let (_folder, path) = folder();
    let mut sink = open(&path);
    sink.recover(0).unwrap();
    assert_eq!(sink.prepare().unwrap(), 0);
    sink.write(&batch(&["one", "two"])).unwrap();
    assert_eq!(sink.prepare().unwrap(), 8);
    sink.write(&batch(&["three"])).unwrap();
    assert_eq!(sink.prepare().unwrap(), 14);
    assert_eq!(text(&path), "one\ntwo\nthree\n");
}

#[test]
fn what_was_not_committed_is_cut_off_at_the_next_start() {
    let (_folder, path) = folder();
    let mut sink = open(&path);
    sink.recover(0).unwrap();
    sink.write(&batch(&["kept"])).unwrap();
    let committed = sink.prepare().unwrap();
    sink.write(&batch(&["prepared and not committed"])).unwrap();
    sink.prepare().unwrap();
    drop(sink);
    append(&path, b"half a li");
    let mut sink = open(&path);
    sink.recover(committed).unwrap();
    assert_eq!(text(&path), "kept\n");
    sink.write(&batch(&["next"])).unwrap();
    assert_eq!(sink.prepare().unwrap(), 10);
    assert_eq!(text(&path), "kept\nnext\n");
}

#[test]
fn a_first_epoch_that_was_never_committed_leaves_nothing() {
    let (_folder, path) = folder();
    let mut sink = open(&path);
    sink.recover(0).unwrap();
    sink.write(&batch(&["lost"])).unwrap();
    sink.prepare().unwrap();
    drop(sink);
    let mut sink = open(&path);
    sink.recover(0).unwrap();
    assert_eq!(text(&path), "");
    sink.write(&batch(&["again"])).unwrap();
    assert_eq!(sink.prepare().unwrap(), 6);
}

#[test]
fn a_file_that_was_there_before_is_not_emptied() {
    let (folder, path) = folder();
    fs::write(&path, "precious\n").unwrap();
    let error = open(&path).recover(0).unwrap_err().to_string();
    assert!(error.contains("has 9 bytes and no commit of this pipeline names it"), "{error}");
    // Nor one that took the name of a file that the sink had begun.
    fs::remove_file(&path).unwrap();
    open(&path).recover(0).unwrap();
    let other = folder.path().join("other");
    fs::write(&other, "precious\n").unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(open(&path).recover(0).is_err());
    assert_eq!(text(&path), "precious\n");
}

#[test]
fn what_another_pipeline_has_begun_is_not_emptied() {
    let (_folder, path) = folder();
    let mut sink = FileSink::open(FileSinkSettings { pipeline: "elder".to_owned(), ..settings(&path) }).unwrap();
    sink.recover(0).unwrap();
    sink.write(&batch(&["one"])).unwrap();
    // Committed, and killed before anybody was told.
    sink.prepare().unwrap();
    drop(sink);
    assert!(open(&path).recover(0).is_err());
    assert_eq!(text(&path), "one\n");
}

#[test]
fn a_committed_file_is_not_emptied_by_a_history_that_begins_anew() {
    let (folder, path) = folder();
    let mut sink = open(&path);
    sink.recover(0).unwrap();
    // A commit without content is none yet: what comes next may be cut off.
    sink.prepare().unwrap();
    sink.committed();
    sink.write(&batch(&["lost"])).unwrap();
    drop(sink);
    let mut sink = open(&path);
    sink.recover(0).unwrap();
    assert_eq!(text(&path), "");
    sink.write(&batch(&["one"])).unwrap();
    sink.prepare().unwrap();
    sink.committed();
    drop(sink);
    assert!(open(&path).recover(0).is_err());
    assert_eq!(text(&path), "one\n");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["out.txt"], "nothing is left beside it");
}

#[test]
fn a_file_shorter_than_what_is_committed_is_refused() {
    let (_folder, path) = folder();
    fs::write(&path, "one\n").unwrap();
    let error = open(&path).recover(8).unwrap_err().to_string();
    let expected =
        format!("sink `out`: `{}` has 4 bytes and 8 are committed: committed records are gone", path.display());
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(text(&path), "one\n");
}

#[test]
fn a_file_has_one_writer() {
    let (_folder, path) = folder();
    let _first = open(&path);
    let second = FileSinkSettings { sink_id: "second".to_owned(), ..settings(&path) };
    let Err(error) = FileSink::open(second) else { unreachable!("two writers") };
    assert!(error.to_string().contains("is being written by another process or sink"), "{error}");
}

#[test]
fn places_where_no_file_can_be_are_named() {
    let (folder, path) = folder();
    for (path, expected) in [
        (path.join("x"), "cannot open or create"),
        (folder.path().to_owned(), "is not a regular file"),
        ("/dev/null".into(), "is not a regular file"),
    ] {
        let Err(error) = FileSink::open(settings(&path)) else { unreachable!("opened") };
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_refused_batch_leaves_nothing_and_the_sink_goes_on() {
    let (_folder, path) = folder();
    let mut sink = open(&path);
    sink.recover(0).unwrap();
    sink.write(&batch(&["one"])).unwrap();
    let error = sink.write(&batch(&["fine", "not\nfine"])).unwrap_err().to_string();
    assert!(error.contains("use `format: json_lines`"), "{error}");
    assert_eq!(sink.prepare().unwrap(), 4);
    assert_eq!(text(&path), "one\n");
}

proptest! {
    /// Epochs that are committed or not, crashes with garbage behind, restarts: the file is what was committed.
    #[test]
    fn any_history_leaves_what_was_committed(
        epochs in prop::collection::vec((prop::collection::vec("[a-z]{0,9}", 0..5), 0u8..5, prop::collection::vec(any::<u8>(), 0..20)), 0..20)
    ) {
        let (_folder, path) = folder();
        let mut sink = open(&path);
        sink.recover(0).unwrap();
        let (mut committed, mut expected) = (0, String::new());
        for (values, fate, garbage) in &epochs {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            sink.write(&batch(&values)).unwrap();
            let prepared = if *fate > 0 { Some(sink.prepare().unwrap()) } else { None };
            match (fate, prepared) {
                // Committed; sometimes the process dies right after.
                (3.., Some(length)) => {
                    committed = length;
                    expected.extend(values.iter().map(|value| format!("{value}\n")));
                }
                // The epoch is dropped within the process.
                (2, _) => sink.recover(committed).unwrap(),
                _ => {}
            }
            if matches!(fate, 0 | 1 | 4) {
                drop(sink);
                append(&path, garbage);
                sink = open(&path);
                sink.recover(committed).unwrap();
            }
            prop_assert!(text(&path).starts_with(&expected));
        }
        sink.recover(committed).unwrap();
        prop_assert_eq!(text(&path), expected);
    }
}
