//! An operator's lines, where they go and what limits them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use millstream_model::limits::OperatorLimits;
use millstream_wasm::OperatorConfig;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use support::{config, driver, record};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile.
fn logged(run: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn lines_name_the_pipeline_the_operator_its_module_and_the_record() {
    let log = logged(|| {
        let mut poison = driver("simple-poison", config(""));
        poison.process(&[record("a", "x"), record("a", "log")]).unwrap();
    });
    assert!(log.contains("WARN") && log.contains("millstream::operator") && log.contains("logged on purpose"), "{log}");
    let digest = support::module("simple-poison").digest().to_string();
    let facts = ["pipeline=\"whole\"", "operator=\"subject\"", "source=\"lines\"", "partition=5", "offset=1", &digest];
    for fact in facts {
        assert!(log.contains(fact), "{fact} is missing: {log}");
    }
}

#[test]
fn lines_beyond_the_limit_are_dropped_and_long_ones_cut() {
    let limits = OperatorLimits { log_lines_per_second_max: 3, log_line_bytes_max: 6, ..OperatorLimits::default() };
    let log = logged(|| {
        let mut poison = driver("simple-poison", OperatorConfig { limits, ..config("") });
        poison.process(&vec![record("a", "log"); 100]).unwrap();
    });
    assert!(!log.contains("logged on purpose"), "a line was not cut: {log}");
    // Should a second end meanwhile, there are three lines of each.
    let lines = log.lines().filter(|line| line.contains(": logged")).count();
    assert!((3..=30).contains(&lines) && lines.is_multiple_of(3), "{lines} lines:\n{log}");
}

#[test]
fn standard_error_is_part_of_the_log() {
    let log = logged(|| {
        let mut poison = driver("simple-poison", config(""));
        poison.process(&[record("a", "trap")]).unwrap();
    });
    assert!(log.contains("poisoned on purpose"), "{log}");
}

#[test]
fn a_call_that_breaks_off_says_why_in_the_log() {
    let log = logged(|| {
        let mut poison = driver("poison", config("{}"));
        poison.process(&[record("a", "trap")]).unwrap_err();
    });
    assert!(log.contains("the call is dropped: it gave up: panicked at"), "{log}");
    let log = logged(|| {
        let mut poison = driver("simple-poison", config(""));
        poison.process(&[record("a", "x"), record("a", "trap")]).unwrap();
    });
    // The guest's frames follow, so the fields are some lines further down.
    let refused = log.split_once("the record is refused: it gave up").map(|(_, rest)| rest);
    assert!(refused.is_some_and(|rest| rest.contains("offset=1")), "{log}");
}
