//! What the command line says, and the exit codes that go with it.

use crate::place::{Place, Said};

const FILES: &str = "\
id: copy
sources:
  lines: { file: ./in.txt }
sinks:
  copies: { file: ./out.txt, inputs: [lines] }
";

#[test]
fn wrong_use_of_the_command_line_is_exit_code_2_and_shows_how() {
    let place = Place::new();
    for (arguments, expected) in [
        ("", "Usage: millstream"),
        ("statuss", "a similar subcommand exists: 'status'"),
        ("run --from stdin:", "--to <TO>"),
        ("run pipeline.yaml --from stdin: --to stdout:", "cannot be used with"),
        ("run --from stdin: --to stdout: --key-by value", "possible values: key"),
        ("reset --to-group-offset", "--to-group-offsets"),
        ("status --output xml", "possible values: table, json"),
        ("completions klingon", "possible values: bash"),
        ("swap count", "<MODULE>"),
        ("swap count m.wasm --max-reject-ratio much", "invalid float literal"),
        ("rollback", "<OPERATOR>"),
    ] {
        let said = place.run(arguments);
        assert_eq!(said.code, 2, "{arguments}: {}", said.stderr);
        assert!(said.stderr.contains(expected), "{arguments}: {}", said.stderr);
    }
}

#[test]
fn what_cannot_work_is_exit_code_78_with_one_clear_text() {
    let place = Place::new();
    place.write("good.yaml", FILES);
    place.write("full/file", "");
    for (arguments, expected) in [
        (
            "run",
            "error: pipeline.yaml: cannot be read: No such file or directory (os error 2); name the pipeline file as the first argument\n",
        ),
        (
            "reset good.yaml",
            "error: this drops the state and the positions of pipeline `copy`, and what it writes from then on may repeat what it has written: say `--yes copy` if that is meant\n",
        ),
        (
            "reset good.yaml --yes other",
            "error: this drops the state and the positions of pipeline `copy`, and what it writes from then on may repeat what it has written: say `--yes copy` if that is meant\n",
        ),
        (
            "reset good.yaml --yes copy --to-group-offsets",
            "error: --to-group-offsets: pipeline `copy` reads no topic, and only topics have group offsets\n",
        ),
        (
            "test good.yaml",
            "error: good.yaml: there is nothing under `tests:` to run; docs/pipeline-file.md shows how to write one\n",
        ),
        (
            "validate good.yaml --id a/b",
            "error: --id: id is `a/b`: ids have 1 to 100 letters, digits, `-` and `_`, since they name topics and files\n",
        ),
        (
            "new Words",
            "error: `Words`: its last part names the operator: use up to 64 small letters, digits and `-`, a letter first, like word-count\n",
        ),
        ("new full", "error: full: there is something in it already: name a new directory\n"),
        (
            "new word-count --sdk full",
            "error: --sdk full: there is no crate; it is guest-sdk/rust in Millstream's sources\n",
        ),
        (
            "build full",
            "error: full/Cargo.toml: there is no such file; name the directory of an operator's crate, or make one with `millstream new`\n",
        ),
        (
            "inspect count@1.0.0",
            "error: module `count@1.0.0` is not in the plugin store: `millstream plugin add` adds it, `plugin list` shows what is there\n",
        ),
        (
            "run --from kafka://a/x --to kafka://b/y",
            "error: --from is on a and --to on b: one transaction cannot span two clusters, so exactly once is impossible\n",
        ),
        (
            "swap count none.wasm good.yaml",
            "error: module `none.wasm` cannot be read: No such file or directory (os error 2)\n",
        ),
        (
            "swap count full/file good.yaml --trial-time soon",
            "error: --trial-time: `soon` is no length of time: write it like 500ms, 2s, 1m, 6h\n",
        ),
        (
            "run good.yaml --listen 192.0.2.7:80",
            "error: --listen: 192.0.2.7:80 can be reached from other machines, and what is said there is not encrypted: listen on 127.0.0.1 and let a proxy with TLS pass requests on; `api.hosts` names it\n",
        ),
        (
            "run good.yaml --listen here",
            "error: --listen: `here` is no address: write it like 127.0.0.1:8421, 127.0.0.1:0 for any free port, or off\n",
        ),
        ("run --from kafka://a --to stdout:", "error: --from kafka://a: write it like kafka://localhost:9092/topic\n"),
        (
            "run --from ftp://a --to stdout:",
            "error: --from ftp://a: use kafka://BROKERS/TOPIC, file://PATH, nexmark:, stdin: or stdout:\n",
        ),
    ] {
        let said = place.run(arguments);
        assert_eq!((said.code, said.stderr.as_str(), said.stdout.as_str()), (78, expected, ""), "{arguments}");
    }
}

#[test]
fn what_is_wrong_in_a_pipeline_file_is_shown_with_what_was_meant() {
    let place = Place::new();
    place.write("field.yaml", &FILES.replace("inputs", "input"));
    place.write("broken.yaml", "id: [");
    let operator = "operators:\n  count: { module: ./no.wasm, inputs: [lines] }\nsinks:";
    place.write("module.yaml", &FILES.replace("sinks:", operator));
    for (arguments, expected) in [
        ("validate field.yaml", "did you mean `inputs`?"),
        ("validate broken.yaml", "broken.yaml:"),
        ("validate module.yaml", "no.wasm"),
    ] {
        let said = place.run(arguments);
        assert_eq!(said.code, 78, "{arguments}: {}", said.stderr);
        assert!(said.stderr.contains(expected), "{arguments}: {}", said.stderr);
    }
}

#[test]
fn verbs_for_a_running_pipeline_say_that_none_runs() {
    let place = Place::new();
    place.write("pipeline.yaml", FILES);
    place.write("module.wasm", "");
    let verbs = [
        "status",
        "savepoint",
        "pause",
        "resume",
        "stop",
        "swap count module.wasm",
        "rollback count",
        "swap count a@1",
    ];
    for verb in verbs {
        let said = place.run(verb);
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains("no pipeline answers at ./state/copy/control.sock"), "{}", said.stderr);
        assert!(said.stderr.contains("is it running, with this `state.dir`?"), "{}", said.stderr);
    }
}

#[test]
fn a_line_of_flags_is_shown_as_the_file_it_stands_for() {
    let place = Place::new();
    let said =
        place.run("run --from file://in.txt --operator ./count.wasm --key-by key --to stdout: --id lines --print");
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(
        said.stdout,
        "id: lines\nsources:\n  from: { file: \"in.txt\" }\noperators:\n  operator-1: { module: \"./count.wasm\", inputs: [from], key_by: key }\n\
         sinks:\n  to: { stdout: true, inputs: [operator-1] }\n"
    );
    place.write(
        "printed.yaml",
        &said
            .stdout
            .replace("operators:\n", "")
            .replace("[operator-1]", "[from]")
            .replace("  operator-1: { module: \"./count.wasm\", inputs: [from], key_by: key }\n", ""),
    );
    assert_eq!(place.run("validate printed.yaml").code, 0);
}

#[test]
fn completions_know_every_verb() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = place.run(&format!("completions {shell}"));
        assert_eq!(said.code, 0);
        for verb in place.verbs() {
            assert!(said.stdout.contains(&verb), "{shell} lacks {verb}");
        }
    }
}

#[test]
fn tests_of_a_pipeline_file_pass_or_show_what_differs() {
    let place = Place::new();
    let tests = "tests:\n  - name: a copy\n    inputs: { lines: [{ value: a }, { key: k, value: b }] }\n    \
                 outputs: { copies: [{ value: a }, { key: k, value: b }] }\n";
    place.write("good.yaml", &format!("{FILES}{tests}"));
    let said = place.run("test good.yaml");
    assert_eq!((said.code, said.stdout.as_str()), (0, "pass a copy\n"), "{}", said.stderr);
    place.write("bad.yaml", &format!("{FILES}{}", tests.replace("value: b }] }\n    o", "value: c }] }\n    o")));
    let said = place.run("test bad.yaml");
    assert_eq!(said.code, 1);
    assert!(said.stdout.starts_with(
        "FAIL a copy\n  sink `copies` has 2 record(s), expected are 2; the first that differs is number 2\n"
    ));
    assert!(
        said.stdout.contains("expected: \"k\": \"b\"") && said.stdout.contains("was:      \"k\": \"c\""),
        "{}",
        said.stdout
    );
    assert_eq!(said.stderr, "error: 1 of 1 tests failed\n");
    place.write("name.yaml", &format!("{FILES}{}", tests.replace("copies: [", "copeis: [")));
    let said = place.run("test name.yaml");
    assert_eq!(said.code, 78);
    assert!(said.stderr.contains("names sink `copeis`, and there is none; did you mean `copies`?"), "{}", said.stderr);
    // Nothing of the pipeline's own was touched.
    assert!(!place.path("out.txt").exists() && !place.path("state").exists());
}

#[test]
fn verify_finds_a_file_that_was_cut_and_lets_what_is_not_committed_pass() {
    let place = Place::new();
    place.write("pipeline.yaml", FILES);
    place.write("in.txt", "one\ntwo\n");
    assert_eq!(place.run("verify").code, 0);
    let ran = place.run("run");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let verify = |code: i32, text: &str| {
        let said = place.run("verify");
        assert_eq!(said.code, code, "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains(text), "{}", said.stdout);
    };
    verify(0, "proven  file ./out.txt: 8 bytes, as committed");
    place.write("out.txt", "one\ntwo\nthree\n");
    verify(0, "note    file ./out.txt: 6 bytes at its end are not committed");
    place.write("out.txt", "one\n");
    verify(1, "FOUND   file ./out.txt: has 4 bytes, and 8 were committed");
    let said: serde_json::Value = serde_json::from_str(&place.run("verify -o json").stdout).unwrap();
    assert_eq!(said.pointer("/passed"), Some(&serde_json::Value::Bool(false)));
}

#[test]
fn a_directory_belongs_to_the_id_in_the_file() {
    let place = Place::new();
    place.write("in.txt", "one\n");
    place.write("pipeline.yaml", &format!("{FILES}state: {{ dir: ./here }}\n"));
    assert_eq!(place.run("run").code, 0);
    assert!(place.path("here/identity.json").exists());
    for verb in ["run", "verify", "reset --yes other"] {
        let Said { code, stderr, .. } = place.run(&format!("{verb} --id other"));
        assert_eq!(code, 78, "{stderr}");
        assert!(stderr.contains("belongs to pipeline `copy`, not to pipeline `other`"), "{stderr}");
    }
}

#[test]
fn after_a_reset_everything_is_read_again() {
    let place = Place::new();
    place.write("pipeline.yaml", FILES);
    place.write("in.txt", "one\n");
    let run = || place.run("run");
    assert!(run().stderr.contains("finished: 1 records in"));
    assert!(run().stderr.contains("was finished before"));
    let said = place.run("reset --yes copy");
    let expected = "./out.txt is ./out.txt.before-reset-1 now\ncopy begins anew at the next run\n";
    assert_eq!((said.code, said.stdout.as_str()), (0, expected), "{}", said.stderr);
    assert!(run().stderr.contains("finished: 1 records in"));
    assert_eq!(std::fs::read_to_string(place.path("out.txt")).unwrap(), "one\n");
}

#[test]
fn a_new_operator_has_all_its_files_and_a_pipeline_that_is_right_but_for_its_module() {
    let place = Place::new();
    let sdk = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk/rust");
    let said = place.run(&format!("new some/word-count --sdk {}", sdk.display()));
    assert_eq!(said.code, 0, "{}", said.stderr);
    let read = |file: &str| std::fs::read_to_string(place.path("some/word-count").join(file)).unwrap();
    assert!(read("Cargo.toml").contains("millstream-sdk = { path = "));
    assert!(read("src/lib.rs").contains("export_operators! { \"word-count\": WordCount }"));
    for file in ["Cargo.toml", "src/lib.rs", "pipeline.yaml", "README.md", ".gitignore", "events.jsonl"] {
        assert!(!read(file).contains("{{"), "{file}");
    }
    let said = place.run("validate some/word-count/pipeline.yaml");
    assert_eq!(said.code, 78);
    assert!(said.stderr.contains("word-count.wasm"), "{}", said.stderr);
}
