//! What is taken and what is refused, and what is said then.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use millstream_model::limits::OperatorLimits;
use millstream_wasm::{Engine, EngineSettings, LoadError, ModuleKind, ModuleSource, OperatorConfig, World};
use std::path::Path;
use support::{ENGINE, config, module, path, record, source};

fn refused(bytes: &[u8]) -> LoadError {
    ENGINE.load(&ModuleSource::bytes("given.wasm", bytes.to_vec())).unwrap_err()
}

#[test]
fn a_component_tells_what_it_is() {
    let count = module("count");
    assert_eq!(count.world(), World::StreamOperator);
    assert_eq!(count.catalog().iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["count"]);
    let functions = count.imports().get("millstream:operator/effects@0.1.0").unwrap();
    assert!(functions.contains(&"emit".to_owned()), "{functions:?}");
    let inspection = ENGINE.inspect(&count, Some(config("{}"))).unwrap();
    assert_eq!(inspection.kind, ModuleKind::Component);
    let descriptor = inspection.descriptor.unwrap();
    assert_eq!(descriptor.outputs, ["counts"]);
    assert_eq!(descriptor.states.first().unwrap().name, "seen");
}

#[test]
fn core_modules_are_made_components() {
    for name in ["core-module", "preview1"] {
        let module = module(name);
        let inspection = ENGINE.inspect(&module, None).unwrap();
        assert_eq!(inspection.kind, ModuleKind::CoreModule, "{name}");
        let mut identity = support::driver(name, config("{}"));
        let effects = identity.process(&[record("a", "x"), record("b", "y")]).unwrap();
        assert_eq!(effects.texts(), [("a".into(), "x".into()), ("b".into(), "y".into())], "{name}");
    }
}

#[test]
fn native_code_is_refused_by_name() {
    let compiled = wasmtime::Engine::default().precompile_component(&std::fs::read(path("count")).unwrap()).unwrap();
    let error = refused(&compiled);
    assert_eq!(
        error.to_string(),
        "module `given.wasm` is native code that was compiled ahead of time (`.cwasm`) and is never run: give the `.wasm` it was made of"
    );
}

#[test]
fn what_is_no_wasm_is_refused() {
    assert_eq!(
        refused(b"#!/bin/sh").to_string(),
        "module `given.wasm` is not WebAssembly: it begins with 23 21 2f 62, a `.wasm` file with 00 61 73 6d"
    );
    assert!(refused(b"").to_string().contains("it begins with nothing"));
    let error = ENGINE.load(&ModuleSource::bytes("given.wasm", b"\0asm\x0d\0\x01\0\xff\xff\xff".to_vec())).unwrap_err();
    assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
    let mut damaged = std::fs::read(path("count")).unwrap();
    damaged.truncate(damaged.len() / 2);
    assert!(matches!(refused(&damaged), LoadError::Invalid { .. }));
}

#[test]
fn a_missing_file_is_named() {
    let error = ModuleSource::file("no/such.wasm").unwrap_err();
    assert!(error.to_string().starts_with("module `no/such.wasm` cannot be read: "), "{error}");
}

#[test]
fn a_module_for_another_world_is_told_what_is_missing() {
    let error = ENGINE.load(&source("wrong-world")).unwrap_err();
    let text = error.to_string();
    let expected = "is no operator for this host: it exports neither `millstream:operator/operator@0.1.0` nor \
                    `millstream:record-operator/handler@0.1.0`, but `greet`";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_core_module_without_a_world_is_told_so() {
    // An empty module.
    let text = refused(b"\0asm\x01\0\0\0").to_string();
    assert!(
        text.contains("is a core module that cannot be made a component") && text.contains("component-type"),
        "{text}"
    );
}

#[test]
fn the_operator_of_several_must_be_named() {
    let two = module("two-operators");
    let open = |name: Option<&str>, json: &str| {
        ENGINE.describe(&two, OperatorConfig { name: name.map(str::to_owned), ..config(json) })
    };
    let text = open(None, "{}").unwrap_err().to_string();
    assert!(text.starts_with("operator `subject`: which operator of `"), "{text}");
    assert!(text.ends_with("; the module has `route`, `latest`"), "{text}");
    let text = open(Some("rout"), "{}").unwrap_err().to_string();
    assert!(text.contains("there is no operator `rout`"), "{text}");
    assert_eq!(open(Some("route"), r#"{"prefix": "a"}"#).unwrap().0.outputs, ["matched", "other"]);
    let (latest, _) = open(Some("latest"), "{}").unwrap();
    assert_eq!(latest.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["left", "right"]);
    let state = latest.states.first().unwrap();
    assert_eq!((state.version, state.reads_versions.as_slice()), (2, [1].as_slice()));
}

#[test]
fn a_bad_configuration_is_the_operators_word() {
    let route = OperatorConfig { name: Some("route".to_owned()), ..config(r#"{"prefxi": "a"}"#) };
    let text = ENGINE.describe(&module("two-operators"), route).unwrap_err().to_string();
    assert!(text.starts_with("operator `subject`: ") && text.contains("prefxi"), "{text}");
}

#[test]
fn a_configuration_is_held_against_its_schema_before_the_operator_is_opened() {
    let refused = |json: &str| ENGINE.describe(&module("count"), config(json)).unwrap_err();
    let error = refused(r#"{"format": "roman"}"#);
    let LoadError::Config { operator, setting, .. } = &error else { panic!("{error:?}") };
    assert_eq!((operator.as_str(), setting.as_slice()), ("subject", ["format".to_owned()].as_slice()));
    assert!(
        error.to_string().starts_with("operator `subject`: `config.format`: it must be one of \"text\", \"be64\""),
        "{error}"
    );
    let error = refused(r#"{"fromat": "text"}"#);
    assert!(matches!(&error, LoadError::Config { setting, .. } if setting == &["fromat"]), "{error:?}");
    assert!(ENGINE.describe(&module("count"), config(r#"{"format": "be64"}"#)).is_ok());
}

#[test]
fn what_an_operator_tells_of_itself_is_shown() {
    let inspection = ENGINE.inspect(&module("failures"), Some(config(""))).unwrap();
    let facts: Vec<_> =
        inspection.properties.iter().map(|fact| (fact.of.as_str(), fact.name.as_str(), fact.value.as_str())).collect();
    let expected = [
        ("operator", "owner", "tests"),
        ("input in", "schema", "anything"),
        ("output out", "doc", "what did not fail"),
        ("state unused", "content-type", "application/json"),
    ];
    assert_eq!(facts, expected);
    let entry = inspection.catalog.first().unwrap();
    assert_eq!(entry.properties, [("doc".to_owned(), "fails on purpose".to_owned())]);
    assert!(entry.config_schema.as_ref().is_some_and(|schema| schema.contains("depth")));
}

#[test]
fn instances_and_tables_are_limited_by_name() {
    let usual = OperatorLimits::default();
    for (limits, name) in [
        (OperatorLimits { instances_max: 1, ..usual.clone() }, "limits.instances"),
        (OperatorLimits { tables_max: 0, ..usual }, "limits.tables"),
    ] {
        let error = ENGINE.describe(&module("count"), OperatorConfig { limits, ..config("{}") }).unwrap_err();
        assert!(error.to_string().contains(&format!("hit `{name}`")), "{error}");
    }
}

#[test]
fn an_operator_gets_the_stack_of_its_engine_or_none() {
    let limits = OperatorLimits { stack_bytes_max: 256 << 10, ..OperatorLimits::default() };
    let small = || OperatorConfig { limits: limits.clone(), ..config("{}") };
    let error = ENGINE.describe(&module("count"), small()).unwrap_err();
    assert!(matches!(&error, LoadError::Runtime { reason } if reason.contains("262144")), "{error:?}");
    let settings = EngineSettings { stack_bytes_max: 256 << 10, ..EngineSettings::default() };
    let engine = Engine::new(settings).unwrap();
    let module = engine.load(&source("count")).unwrap();
    assert!(engine.describe(&module, small()).is_ok());
}

fn engine_with_cache(directory: &Path) -> Engine {
    Engine::new(EngineSettings { cache_dir: Some(directory.to_owned()), ..EngineSettings::default() }).unwrap()
}

fn entries(directory: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn works(engine: &Engine) -> bool {
    let module = engine.load(&source("count")).unwrap();
    let mut count = support::Driver::new(engine.operator(&module, config("{}")).unwrap(), config("{}").limits);
    count.process(&[record("a", "x")]).unwrap().texts() == [("a".to_owned(), "1".to_owned())]
}

#[test]
fn compiled_modules_are_kept_and_used() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    assert!(works(&engine_with_cache(&cache)));
    let [entry] = entries(&cache).try_into().unwrap();
    let before = std::fs::metadata(&entry).unwrap();
    assert!(works(&engine_with_cache(&cache)));
    let after = std::fs::metadata(&entry).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "it was written again");
}

#[test]
fn damaged_and_foreign_entries_are_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    assert!(works(&engine_with_cache(&cache)));
    let [entry] = entries(&cache).try_into().unwrap();
    let good = std::fs::read(&entry).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let (half, _) = good.split_at(good.len() / 2);
    for damaged in [&flipped, half, &[]] {
        std::fs::write(&entry, damaged).unwrap();
        assert!(works(&engine_with_cache(&cache)));
        assert_eq!(std::fs::read(&entry).unwrap(), good, "the entry was not replaced");
    }
    std::fs::set_permissions(&entry, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(works(&engine_with_cache(&cache)));
    assert_eq!(std::fs::metadata(&entry).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_cache_open_to_others_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let cache = tempfile::tempdir().unwrap();
    std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(works(&engine_with_cache(cache.path())));
    assert!(entries(cache.path()).is_empty());
}

#[test]
fn a_module_that_wants_too_much_memory_at_once_names_the_limit() {
    let mut small = config("{}");
    small.limits.memory_bytes_max = 64 << 10;
    let error = ENGINE.describe(&module("count"), small).unwrap_err();
    assert!(error.to_string().contains("hit `limits.memory`"), "{error}");
    let LoadError::Open { operator, .. } = error else { panic!("{error:?}") };
    assert_eq!(operator, "subject");
}
