//! `failures`: fails in the ways that the SDK keeps an author from. Bound by hand.
//!
//! | value of a record | what happens to its batch |
//! |---|---|
//! | `reject` | returned as `failure.reject`, all such rows at once, without the others' effects |
//! | `reject-none`, `reject-beyond`, `reject-twice` | returned as a `failure.reject` that names no row, one that is not there, one twice |
//! | `retry-once` | returned as `failure.retry` by the first call of an instance |
//! | `retry` | returned as `failure.retry`, always |
//! | `stop` | returned as `failure.stop` |
//! | `gauge` | uses the metric `seen`, which is a counter, as a gauge |
//! | `names` | counts under as many new names as its key says |
//! | `long-name` | counts under a name of 64 letters |
//! | `exit` | writes a line to standard error and exits with status 3 |
//! | `mutter` | writes a line to standard error and never returns |
//! | `deep` | recurses without end, with nothing on the stack in memory |
//! | `heavy` | hands 32 MiB to the host at once |
//! | else | counts `seen` and forwards the record |
//!
//! Its output is named `out`, or `verbose` if it is opened where somebody listens to its finest log lines: an operator that does not always describe
//! itself alike.

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions")]
mod component {
    use exports::millstream::operator::operator::{Batch, CatalogEntry, Descriptor, Failure, Guest};
    use millstream::operator::descriptors::{
        InputDescriptor, InputKind, OutputDescriptor, StateDescriptor, StateKind, WindowUse,
    };
    use millstream::operator::types::{BytesColumn, Rejection};
    use millstream::operator::{context, effects, log, metrics};
    use std::hint::black_box;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    wit_bindgen::generate!({ path: "../../../wit/operator", world: "stream-operator" });

    static HAS_RETRIED: AtomicBool = AtomicBool::new(false);

    struct Failures;

    fn fact(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    impl Guest for Failures {
        fn catalog() -> Vec<CatalogEntry> {
            let config_schema =
                r#"{"type": "object", "properties": {"depth": {"type": "integer"}}, "additionalProperties": false}"#;
            vec![CatalogEntry {
                name: "failures".to_owned(),
                version: "0.1.0".to_owned(),
                config_schema: Some(config_schema.to_owned()),
                properties: fact("doc", "fails on purpose"),
            }]
        }

        fn open(_: String, _: String) -> Result<Descriptor, String> {
            let name = if log::enabled(log::Level::Trace) { "verbose" } else { "out" };
            let state = StateDescriptor {
                name: "unused".to_owned(),
                kind: StateKind::Value,
                version: 1,
                reads_versions: Vec::new(),
                migrates_versions: Vec::new(),
                ttl: None,
                properties: fact("content-type", "application/json"),
            };
            Ok(Descriptor {
                inputs: vec![InputDescriptor {
                    name: "in".into(),
                    kind: InputKind::Records,
                    properties: fact("schema", "anything"),
                }],
                outputs: vec![OutputDescriptor { name: name.into(), properties: fact("doc", "what did not fail") }],
                states: vec![state],
                timers: Vec::new(),
                windows: WindowUse::None,
                properties: fact("owner", "tests"),
            })
        }

        fn process(batch: Batch) -> Result<(), Failure> {
            let rows: Vec<u32> = (0..batch.timestamps_ms.len() as u32).collect();
            for &row in &rows {
                act(&batch, row)?;
            }
            let rejected: Vec<u32> =
                rows.iter().copied().filter(|&row| value(&batch.values, row) == b"reject").collect();
            if !rejected.is_empty() {
                return Err(Failure::Reject(rejected.into_iter().map(rejection).collect()));
            }
            metrics::count("seen", rows.len() as u64);
            emit(rows, None);
            Ok(())
        }
    }

    fn act(batch: &Batch, row: u32) -> Result<(), Failure> {
        match value(&batch.values, row) {
            b"reject-none" => return Err(Failure::Reject(Vec::new())),
            b"reject-beyond" => return Err(Failure::Reject(vec![rejection(batch.timestamps_ms.len() as u32)])),
            b"reject-twice" => return Err(Failure::Reject(vec![rejection(row), rejection(row)])),
            b"retry-once" if !HAS_RETRIED.swap(true, Relaxed) => return Err(Failure::Retry("once".to_owned())),
            b"retry" => return Err(Failure::Retry("always".to_owned())),
            b"stop" => return Err(Failure::Stop("stopped on purpose".to_owned())),
            b"gauge" => metrics::gauge("seen", 1.0),
            b"names" => {
                let count = String::from_utf8_lossy(value(&context::keys(), row)).parse().unwrap_or(0);
                (0..count).for_each(|number: u32| metrics::count(&format!("name_{number}"), 1));
            }
            b"long-name" => metrics::count(&"n".repeat(64), 1),
            b"exit" => {
                eprintln!("exits on purpose");
                std::process::exit(3);
            }
            b"mutter" => {
                eprintln!("never comes back");
                loop {
                    black_box(());
                }
            }
            b"deep" => drop(black_box(deep(row.into()))),
            b"heavy" => emit(vec![row], Some(vec![b'x'; 32 << 20])),
            _ => {}
        }
        Ok(())
    }

    /// No two calls can be folded into one, and nothing has an address: the frames are on the call stack alone.
    #[inline(never)]
    #[expect(unconditional_recursion, reason = "what it is for")]
    fn deep(number: u64) -> u64 {
        let below =
            if number.is_multiple_of(3) { deep(number.wrapping_mul(5) + 1) } else { deep(number.wrapping_mul(7) + 2) };
        number.wrapping_sub(below).rotate_left((below % 63) as u32)
    }

    fn rejection(row: u32) -> Rejection {
        Rejection { row, reason: format!("row {row} on purpose") }
    }

    fn value(column: &BytesColumn, row: u32) -> &[u8] {
        let end = |at: usize| column.ends[at] as usize;
        let row = row as usize;
        let start = if row == 0 { 0 } else { end(row - 1) };
        &column.bytes[start..end(row)]
    }

    fn emit(parents: Vec<u32>, value: Option<Vec<u8>>) {
        let values = value.map(|bytes| BytesColumn { ends: vec![bytes.len() as u32], bytes, absent: Vec::new() });
        effects::emit(&effects::OutputBatch {
            port: 0,
            parents,
            keys: None,
            values,
            timestamps_ms: None,
            headers: None,
        });
    }

    export!(Failures);
}
