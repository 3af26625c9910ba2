#![expect(clippy::unwrap_used, reason = "tests")]
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
        ("key_by: key", "key_by: key, on_error: dead_letter", "no `dead_letters"),
    ];
    for (good, bad, expected) in cases {
        let text = problem(&GOOD.replace(good, bad));
        assert!(text.contains(expected), "{bad}: {text}");
    }
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
    assert!(problem(&with("stack: 2MiB")).contains("between 64KiB and 1MiB"));
    assert!(
        problem(&with("instances: 0")).contains("`limits.instances`")
            || problem(&with("instances: 0")).contains("instances")
    );
}
