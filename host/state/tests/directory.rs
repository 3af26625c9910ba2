//! Whose a state directory is.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests")]

use millstream_state::{Error, StateDir};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Set for the process that the test of two processes starts: it takes the directory and holds it until its input ends.
const HOLD: &str = "MILLSTREAM_TEST_HOLD";

#[test]
fn a_second_process_is_told_which_one_has_the_directory_and_the_first_never_notices() {
    if let Ok(base) = std::env::var(HOLD) {
        let _held = StateDir::take(&Path::new(&base).join("words"), "words").unwrap();
        println!("held");
        std::io::stdout().flush().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let name = "a_second_process_is_told_which_one_has_the_directory_and_the_first_never_notices";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(HOLD, base.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map(Result::unwrap).any(|line| line.ends_with("held")));
    let error = StateDir::take(&base.path().join("words"), "words").unwrap_err();
    let pid = child.id().to_string();
    assert!(matches!(&error, Error::Running { pid: holder, .. } if *holder == pid), "{error:?}");
    assert!(error.to_string().starts_with(&format!("pipeline `words` is already running as process {pid}")), "{error}");
    // Another pipeline is not in its way.
    StateDir::take(&base.path().join("other"), "other").unwrap();
    // Killed, not ended: the lock goes with the process.
    child.kill().unwrap();
    child.wait().unwrap();
    StateDir::take(&base.path().join("words"), "words").unwrap();
}

#[test]
fn a_directory_is_taken_once_at_a_time_within_a_process_too() {
    let base = tempfile::tempdir().unwrap();
    let first = StateDir::take(&base.path().join("words"), "words").unwrap();
    let error = StateDir::take(&base.path().join("words"), "words").unwrap_err();
    assert!(matches!(&error, Error::Running { pid, .. } if *pid == std::process::id().to_string()), "{error:?}");
    drop(first);
    StateDir::take(&base.path().join("words"), "words").unwrap();
}

#[test]
fn a_directory_of_another_pipeline_is_refused() {
    let base = tempfile::tempdir().unwrap();
    drop(StateDir::take(base.path(), "words").unwrap());
    let error = StateDir::take(base.path(), "lines").unwrap_err().to_string();
    assert!(error.contains("belongs to pipeline `words`, not to pipeline `lines`"), "{error}");
    assert!(error.contains("change `id` back to `words`"), "{error}");
}

#[test]
fn a_directory_stays_with_its_cluster_until_it_is_reset() {
    let base = tempfile::tempdir().unwrap();
    let directory = StateDir::take(&base.path().join("words"), "words").unwrap();
    directory.check_cluster("one").unwrap();
    directory.check_cluster("one").unwrap();
    std::fs::create_dir(directory.store()).unwrap();
    drop(directory);
    let directory = StateDir::take(&base.path().join("words"), "words").unwrap();
    let error = directory.check_cluster("two").unwrap_err().to_string();
    assert!(error.contains("belongs to Kafka cluster `one`, not to cluster `two`"), "{error}");
    assert!(error.contains("millstream reset words"), "{error}");
    directory.reset().unwrap();
    assert!(!directory.store().exists());
    directory.check_cluster("two").unwrap();
}

#[test]
fn an_identity_that_cannot_be_read_is_not_taken_for_none() {
    let base = tempfile::tempdir().unwrap();
    let path = StateDir::take(&base.path().join("words"), "words").unwrap().path().join("identity.json");
    std::fs::write(&path, "{").unwrap();
    let error = StateDir::take(&base.path().join("words"), "words").unwrap_err().to_string();
    assert!(error.contains("`identity.json` cannot be read"), "{error}");
    std::fs::write(&path, r#"{"format":9,"pipeline":"words","cluster_id":null}"#).unwrap();
    let error = StateDir::take(&base.path().join("words"), "words").unwrap_err().to_string();
    assert!(error.contains("has format 9"), "{error}");
}

#[test]
fn a_path_that_will_not_do_is_named_with_what_to_do() {
    let base = tempfile::tempdir().unwrap();
    let refused = |base: &Path| StateDir::take(&base.join("words"), "words").unwrap_err().to_string();
    let file = base.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(refused(&file).contains("a part of the path is a file: set `state.dir` to a directory"));
    let long = base.path().join("d".repeat(120));
    assert!(refused(&long).contains("set `state.dir` to a shorter one"));
    assert!(!long.exists());
    assert!(refused("/proc".as_ref()).contains("set `state.dir` to"), "{}", refused("/proc".as_ref()));
}

#[test]
fn what_a_checkpoint_left_half_done_is_gone_after_the_next_start() {
    let base = tempfile::tempdir().unwrap();
    let directory = StateDir::take(&base.path().join("words"), "words").unwrap();
    std::fs::create_dir(directory.staging()).unwrap();
    std::fs::write(directory.staging().join("000001.sst"), "half").unwrap();
    drop(directory);
    assert!(!StateDir::take(&base.path().join("words"), "words").unwrap().staging().exists());
}
