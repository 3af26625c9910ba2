#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
use super::*;

const GOOD: &str = "\
id: words
kafka: { brokers: \"localhost:9092\", fetch.min.bytes: 10 }
sources:
  lines: { topic: lines, start: earliest }
operators:
  count: { module: ./count.wasm, inputs: [lines], key_by: key, limits: { memory: 32MiB } }
sinks:
  counts: { topic: counts, inputs: [count] }
commit: { interval: 100ms }
";

fn problem(text: &str) -> String {
    let read = PipelineFile::parse(Path::new("p.yaml"), text).and_then(|file| file.resolve());
    read.err().map(|failure| failure.text).unwrap_or_default()
}

#[test]
fn a_good_file_is_what_it_says() {
    let file = PipelineFile::parse(Path::new("p.yaml"), GOOD).map_err(|failure| failure.text).unwrap();
    let resolved = file.resolve().map_err(|failure| failure.text).unwrap();
    assert_eq!(resolved.id, "words");
    assert_eq!(resolved.commit.interval_ms, 100);
    let operator = resolved.operators.first().unwrap();
    assert_eq!(operator.limits.memory_bytes_max, 32 << 20);
    assert!(operator.keyed);
    assert_eq!(resolved.state_dir, Path::new("./state/words"));
}

#[test]
fn an_unknown_field_is_shown_with_its_line_and_what_was_meant() {
    let text = problem(&GOOD.replace("key_by", "keyby"));
    assert!(text.contains("unknown field `keyby`") && text.contains("did you mean `key_by`?"), "{text}");
    assert!(text.contains("6 |") || text.contains("line 6"), "{text}");
}

#[test]
fn an_unknown_input_is_shown_with_its_line_and_what_was_meant() {
    let text = problem(&GOOD.replace("inputs: [count]", "inputs: [cuont]"));
    assert!(text.starts_with("p.yaml:8:"), "{text}");
    assert!(text.contains("did you mean `count`?") && text.contains('^'), "{text}");
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let cases = [
        ("id: words", "id: \"a/b\"", "ids have 1 to 100 letters"),
        ("brokers: \"localhost:9092\", ", "", "needs `brokers`"),
        ("fetch.min.bytes: 10", "group.id: x", "`group.id`"),
        ("topic: lines", "topic: lines, file: x", "exactly one of `topic`"),
        ("start: earliest", "start: never", "no place to begin"),
        ("32MiB", "32 megs", "is no size"),
        ("100ms", "soon", "is no length of time"),
        ("key_by: key", "key_by: key, allow: [filesystem]", "is no interface"),
        ("id: words", "api: { listen: \"0.0.0.0:1\" }\nid: words", "can be reached from other machines"),
        ("id: words", "api: { listen: here }\nid: words", "is no address"),
        ("id: words", "api: { origins: [streams.example] }\nid: words", "is no origin"),
        ("id: words", "api: { hosts: [\"*\"] }\nid: words", "is no host"),
        ("key_by: key", "key_by: key, on_error: dead_letter", "no `dead_letters"),
    ];
    for (good, bad, expected) in cases {
        let text = problem(&GOOD.replace(good, bad));
        assert!(text.contains(expected), "{bad}: {text}");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused_with_what_does() {
    let limits = |limits: &str| problem(&GOOD.replace("memory: 32MiB", limits));
    let cases = [
        ("memory: 1KiB", "`limits.memory` is at least 64KiB, one page of WebAssembly"),
        ("memory: 5GiB", "`limits.memory` is at most 4GiB"),
        ("batch_time: 0", "`limits.batch_time` is at least 1ms"),
        ("batch_time: 2d", "`limits.batch_time` is at most 1h"),
        ("record_time: 1m", "`limits.record_time` is at most 1s"),
        ("key: 0", "`limits.key` is at least 1"),
        ("key: 8GiB", "`limits.key` is at most 1GiB"),
        ("value: 0", "`limits.value` is at least 1"),
        ("value: 3GiB", "`limits.value` is at most 1GiB"),
        ("state_value: 0", "`limits.state_value` is at least 1"),
        ("state_value: 2GiB", "`limits.state_value` is at most 1GiB"),
        ("outputs_per_record: 0", "limits.outputs_per_record` is at least 1"),
        ("output_bytes: 0", "`limits.output_bytes` is at least 1"),
        ("output_bytes: 64GiB", "`limits.output_bytes` is at most 1GiB"),
        ("batch_time: 8s", "a call may take 8204 ms"),
        ("record_time: 10ms", "more than half of `commit.transaction_timeout` (15000 ms)"),
    ];
    for (bad, expected) in cases {
        let text = limits(bad);
        assert!(text.contains(expected) && text.starts_with("p.yaml:6:"), "{bad}: {text}");
    }
    assert_eq!(limits("memory: 4GiB, batch_time: 7s, key: 1GiB, value: 1GiB, output_bytes: 1GiB"), "");
}

#[test]
fn settings_that_make_no_sense_are_refused_with_what_does() {
    let commit = |commit: &str| problem(&GOOD.replace("interval: 100ms", commit));
    let more = |more: &str| problem(&format!("{GOOD}{more}\n"));
    assert!(commit("interval: 0").contains("`commit.interval` is at least 1ms"));
    assert!(commit("interval: 2h").contains("`commit.interval` is at most 1h"));
    assert!(commit("transaction_timeout: 100ms").contains("`commit.transaction_timeout` is at least 1s"));
    assert!(commit("transaction_timeout: 30d").contains("`commit.transaction_timeout` is at most 1h"));
    assert!(commit("output_bytes: 0").contains("`commit.output_bytes` is at least 1KiB"));
    assert!(more("batch: { bytes: 0 }").contains("`batch.bytes` is at least 1"));
    assert!(more("batch: { bytes: 4GiB }").contains("`batch.bytes` is at most 256MiB"));
    assert!(more("batch: { records: 100000 }").contains("is not between 1 and 65536"));
    assert!(more("state: { memory: 1MiB }").contains("`state.memory` is at least 16MiB"));
    assert!(more("state: { memory: 2000GiB }").contains("`state.memory` is at most 1024GiB"));
    assert!(more("workers: 0").contains("is not between 1 and 128"));
    let retries = problem(&GOOD.replace("key_by: key", "key_by: key, retries: 4000000000"));
    assert!(retries.contains("`retries: 4000000000` is more than 10"), "{retries}");
    let partitions = problem(&GOOD.replace("topic: counts", "topic: counts, create: { partitions: 2000000000 }"));
    assert!(partitions.contains("is not between 1 and 10000"), "{partitions}");
}

#[test]
fn secrets_are_read_from_where_the_file_says_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "hunter2\r\n").unwrap();
    let of_file =
        GOOD.replace("fetch.min.bytes: 10", "sasl.password: \"file:password\", client.id: \"env:MILLSTREAM_NO_SUCH\"");
    let parse = |text: &str| {
        let file = PipelineFile::parse(&folder.path().join("p.yaml"), text).and_then(|file| file.resolve());
        file.map_err(|failure| failure.text)
    };
    let text = parse(&of_file).unwrap_err();
    assert!(text.contains("the environment variable MILLSTREAM_NO_SUCH is not set"), "{text}");
    assert!(text.contains("kafka property `client.id`") && !text.contains("hunter2"), "{text}");
    // Always there.
    let of_file = of_file.replace("MILLSTREAM_NO_SUCH", "PATH");
    let resolved = parse(&of_file).unwrap();
    let kafka = resolved.kafka.unwrap();
    assert_eq!(kafka.value("sasl.password"), Some("hunter2"));
    assert_eq!(kafka.value("client.id").map(str::to_owned), std::env::var("PATH").ok());
    assert!(!format!("{kafka:?}").contains("hunter2"), "{kafka:?}");
    let text = parse(&of_file.replace("file:password", "file:nowhere")).unwrap_err();
    assert!(text.contains("nowhere cannot be read: No such file"), "{text}");
    // A folder, or what is no text, is said so as well.
    let text = parse(&of_file.replace("file:password", "file:.")).unwrap_err();
    assert!(text.contains("cannot be read"), "{text}");
}

#[test]
fn what_a_simple_module_does_not_say_is_declared() {
    let with = |declare: &str| GOOD.replace("key_by: key,", &format!("key_by: key, declare: {{ {declare} }},"));
    let file = PipelineFile::parse(
        Path::new("p.yaml"),
        &with("outputs: [small, large], state_version: 3, reads_versions: [1, 2]"),
    );
    let resolved = file.and_then(|file| file.resolve()).map_err(|failure| failure.text).unwrap();
    let declared = resolved.operators.first().and_then(|operator| operator.declared.clone()).unwrap();
    assert_eq!(
        (declared.inputs, declared.outputs),
        (vec!["in".to_owned()], vec!["small".to_owned(), "large".to_owned()])
    );
    assert_eq!((declared.state_version, declared.reads_versions), (3, vec![1, 2]));
    for (declare, expected) in [
        ("outputs: [Small]", "`Small` is no name"),
        ("outputs: [small, late]", "that every operator has by itself"),
        ("inputs: [a, a]", "`a` is there twice"),
        ("inputs: []", "at least one input"),
        ("state_version: 2, reads_versions: [1, 2]", "which is the version it writes"),
        ("ouputs: [a]", "did you mean `outputs`?"),
    ] {
        let text = problem(&with(declare));
        assert!(text.starts_with("p.yaml:6:") && text.contains(expected), "{declare}: {text}");
    }
}

#[test]
fn limits_of_the_sandbox_are_settings() {
    let with = |limits: &str| GOOD.replace("memory: 32MiB", limits);
    let text = "stack: 256KiB, instances: 9, tables: 3, request: 1MiB, log_line: 1KiB, metrics: 5";
    let file = PipelineFile::parse(Path::new("p.yaml"), &with(text));
    let resolved = file.and_then(|file| file.resolve()).map_err(|failure| failure.text).unwrap();
    let limits = &resolved.operators.first().unwrap().limits;
    assert_eq!((limits.stack_bytes_max, limits.instances_max, limits.tables_max), (256 << 10, 9, 3));
    assert_eq!((limits.request_bytes_max, limits.log_line_bytes_max, limits.metric_names_max), (1 << 20, 1 << 10, 5));
    // Whoever may emit more may hand more over.
    let file = PipelineFile::parse(Path::new("p.yaml"), &with("output_bytes: 64MiB"));
    let resolved = file.and_then(|file| file.resolve()).map_err(|failure| failure.text).unwrap();
    assert_eq!(resolved.operators.first().unwrap().limits.request_bytes_max, 128 << 20);
    assert!(problem(&with("stack: 2MiB")).contains("`limits.stack` is at most 1MiB"));
    assert!(
        problem(&with("instances: 0")).contains("`limits.instances`")
            || problem(&with("instances: 0")).contains("instances")
    );
}
