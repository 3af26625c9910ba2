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
