use crate::cli::Build;
use crate::compose;
use crate::error::{Failure, Outcome};
use millstream_model::ids::Digest;
use millstream_wasm::ModuleSource;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What operators are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// `millstream build`: compiles an operator's crate, checks the module, and puts it beside the crate's Cargo.toml.
pub(crate) fn build(arguments: &Build) -> Outcome<()> {
    for Built { path, digest, operators } in make(&arguments.path, Stdio::inherit())? {
        anstream::println!("{} {digest} {}", path.display(), operators.join(" "));
    }
    Ok(())
}

/// The same without a word, if it succeeds; what cargo said is in the failure.
pub(crate) fn build_quietly(path: &Path) -> Outcome<()> {
    make(path, Stdio::piped()).map(drop)
}

/// A module that was built, checked, and put in its place.
struct Built {
    path: PathBuf,
    digest: Digest,
    operators: Vec<String>,
}

fn make(path: &Path, messages: Stdio) -> Outcome<Vec<Built>> {
    let manifest = path.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Failure::config(format!(
            "{}: there is no such file; name the directory of an operator's crate, or make one with `millstream new`",
            manifest.display()
        )));
    }
    let modules = compile(&manifest, messages)?;
    if modules.is_empty() {
        return Err(Failure::config(format!(
            "{}: it makes no module: add `[lib] crate-type = [\"cdylib\"]`",
            manifest.display()
        )));
    }
    let engine = compose::wasm_engine()?;
    let mut built = Vec::new();
    for Compiled { package, file } in modules {
        let module = ModuleSource::file(&file).and_then(|source| engine.load(&source)).map_err(Failure::config)?;
        let to = path.join(format!("{package}.wasm"));
        // A pipeline that starts meanwhile finds the old module or the new one.
        let partial = to.with_extension("wasm.partial");
        std::fs::copy(&file, &partial)
            .and_then(|_| std::fs::rename(&partial, &to))
            .map_err(|cause| Failure::failed(format!("{}: cannot be written: {cause}", to.display())))?;
        let operators = module.catalog().iter().map(|entry| entry.name.clone()).collect();
        built.push(Built { path: to, digest: module.digest(), operators });
    }
    Ok(built)
}

/// A module as cargo left it.
#[derive(Debug, PartialEq, Eq)]
struct Compiled {
    /// Name of its package.
    package: String,
    file: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "cargo says itself which one it is")]
fn compile(manifest: &Path, messages: Stdio) -> Outcome<Vec<Compiled>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let output = command.arg("--manifest-path").arg(manifest).stderr(messages).output();
    let output = output
        .map_err(|cause| Failure::config(format!("cargo cannot be started: {cause}; Rust is at https://rustup.rs")))?;
    if !output.status.success() {
        return Err(Failure::failed(format!(
            "{}cargo did not build it; if it misses the target: rustup target add {TARGET}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    Ok(modules(&String::from_utf8_lossy(&output.stdout)))
}

/// The modules that cargo's messages name: those of path dependencies are left out.
fn modules(messages: &str) -> Vec<Compiled> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let artifacts =
        artifacts.filter(|message| message.get("reason").and_then(Value::as_str) == Some("compiler-artifact"));
    let module = |artifact: Value| {
        let kinds = artifact.pointer("/target/kind")?.as_array()?;
        kinds.iter().any(|kind| kind == "cdylib").then_some(())?;
        let files = artifact.get("filenames")?.as_array()?.iter().filter_map(Value::as_str);
        let file =
            files.map(PathBuf::from).find(|file| file.extension().is_some_and(|extension| extension == "wasm"))?;
        let package = artifact.pointer("/target/name")?.as_str()?.replace('_', "-");
        Some(Compiled { package, file })
    };
    artifacts.filter_map(module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_among_what_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"serde"},"filenames":["/t/libserde.rlib"]}
{"reason":"build-script-executed"}
no json
{"reason":"compiler-artifact","target":{"kind":["cdylib"],"name":"word_count"},"filenames":["/t/word_count.wasm"]}
{"reason":"build-finished","success":true}"#;
        let expected = Compiled { package: "word-count".to_owned(), file: "/t/word_count.wasm".into() };
        assert_eq!(modules(messages), [expected]);
    }
}
