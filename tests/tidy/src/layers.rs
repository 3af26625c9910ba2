//! Which crate may use which.

use crate::{Finding, Tree};

/// Crate, folder, and the crates of ours that it may use. What is not listed here has no place yet.
const LAW: &[(&str, &str, &[&str])] = &[
    ("millstream-model", "host/model", &[]),
    ("millstream-nexmark", "host/nexmark", &[]),
    ("millstream-engine", "host/engine", &["millstream-model"]),
    ("millstream-wasm", "host/wasm", &["millstream-model", "millstream-engine"]),
    ("millstream-state", "host/state", &["millstream-model", "millstream-engine"]),
    // The last one in its tests: only a real broker, with faults in front of it, can tell whether the client is right.
    ("millstream-kafka", "host/kafka", &["millstream-model", "millstream-engine", "millstream-e2e"]),
    ("millstream-connect", "host/connect", &["millstream-model", "millstream-engine", "millstream-nexmark"]),
    (
        "millstream",
        "host/app",
        &[
            "millstream-model",
            "millstream-engine",
            "millstream-wasm",
            "millstream-state",
            "millstream-kafka",
            "millstream-connect",
        ],
    ),
    ("millstream-sdk", "guest-sdk/rust", &[]),
    ("millstream-tidy", "tests/tidy", &[]),
    ("kafka-proxy", "tests/proxy", &[]),
    // From outside, as users see Millstream; the host's own types only to read commit records.
    ("millstream-e2e", "tests/e2e", &["kafka-proxy", "millstream-model", "millstream-engine"]),
    (
        "millstream-bench",
        "tests/bench",
        &[
            "millstream-model",
            "millstream-engine",
            "millstream-wasm",
            "millstream-state",
            "millstream-kafka",
            "millstream-connect",
            "millstream-nexmark",
            "millstream-e2e",
        ],
    ),
];

/// Libraries that take minutes to compile or rule the design of whoever uses them, by the beginning of their names, and
/// the folders that may.
const HEAVY: &[(&str, &[&str])] = &[
    ("wasmtime", &["host/wasm"]),
    ("wasi-preview1-component-adapter-provider", &["host/wasm"]),
    ("wit-component", &["host/wasm"]),
    ("wit-parser", &["host/wasm"]),
    ("wasmparser", &["host/wasm"]),
    ("wit-bindgen", &["guest-sdk/rust"]),
    ("rocksdb", &["host/state"]),
    ("object_store", &["host/state"]),
    ("rdkafka", &["host/kafka", "tests/bench"]),
    ("axum", &["host/app"]),
    ("clap", &["host/app"]),
    ("miette", &["host/app"]),
    ("indicatif", &["host/app"]),
    // Two libraries ask for a runtime of it: object_store and wasmtime-wasi.
    ("tokio", &["host/app", "host/state", "host/wasm"]),
    // Libraries return typed errors; only where errors meet a person may they lose their type.
    ("anyhow", &["host/app", "tests/e2e", "tests/bench"]),
];

/// Workspaces of operators. They know the contract, by the SDK or by its bindings, and nothing of the host.
const GUESTS: [&str; 2] = ["plugins", "tests/guests"];

/// What operators may use of what has a home.
const FOR_GUESTS: [&str; 2] = ["millstream-sdk", "wit-bindgen"];

/// Dependencies that the law forbids, and packages it does not know.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = check_host(tree);
    for workspace in GUESTS {
        let root = format!("{workspace}/Cargo.toml");
        let members = tree.members_of(&root).map(|member| format!("{workspace}/{member}/Cargo.toml"));
        for path in members.chain([root.clone()]) {
            let manifest = tree.text(&path).unwrap_or_default();
            for (line, dependency) in dependencies(manifest) {
                let has_home = LAW.iter().any(|(known, ..)| *known == dependency)
                    || HEAVY.iter().any(|(heavy, _)| dependency.starts_with(heavy));
                if has_home && !FOR_GUESTS.contains(&dependency.as_str()) {
                    let what = format!("operators know nothing of the host: they may not use {dependency}");
                    findings.push(Finding::new(&path, line, what));
                }
            }
        }
    }
    findings
}

fn check_host(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in tree.members() {
        let path = format!("{folder}/Cargo.toml");
        let Some(manifest) = tree.text(&path) else {
            findings.push(Finding::new(&path, 0, "the workspace lists it, and there is no manifest"));
            continue;
        };
        let Some((name, _, allowed)) = LAW.iter().find(|(_, known, _)| *known == folder) else {
            findings.push(Finding::new(&path, 0, "has no layer: give it one in tests/tidy/src/layers.rs"));
            continue;
        };
        for (line, dependency) in dependencies(manifest) {
            let ours = LAW.iter().any(|(known, _, _)| *known == dependency);
            if ours && dependency != *name && !allowed.contains(&dependency.as_str()) {
                findings.push(Finding::new(&path, line, format!("{name} may not use {dependency}")));
            }
            let heavy = HEAVY.iter().find(|(heavy, _)| dependency.starts_with(heavy));
            if let Some((_, homes)) = heavy.filter(|(_, homes)| !homes.contains(&folder)) {
                let homes = homes.join(" and ");
                findings.push(Finding::new(&path, line, format!("{dependency} belongs to {homes} alone")));
            }
        }
    }
    findings
}

/// Names and lines of all dependencies of a manifest, those for tests and single targets included.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(manifest.lines().map(str::trim)) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with("dependencies");
            // A table of its own: [dependencies.name].
            if let Some((_, name)) = header.rsplit_once("dependencies.") {
                found.push((number, name.to_owned()));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) else {
            continue;
        };
        let renamed = value.split_once("package = \"").and_then(|(_, rest)| rest.split_once('"'));
        let key = key.trim().split('.').next().unwrap_or_default();
        found.push((number, renamed.map_or(key, |(package, _)| package).to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{Finding, Tree};

    fn workspace(folder: &str, manifest: &str) -> Vec<Finding> {
        let root = format!("[workspace]\nmembers = [\n    \"{folder}\",\n]\n");
        check(&Tree::of(&[("Cargo.toml", &root), (&format!("{folder}/Cargo.toml"), manifest)]))
    }

    #[test]
    fn an_edge_down_the_layers_is_fine() {
        let manifest = "[dependencies]\nmillstream-model.workspace = true\nthiserror.workspace = true\n";
        assert_eq!(workspace("host/engine", manifest), []);
    }

    #[test]
    fn an_edge_up_or_sideways_is_found_wherever_it_hides() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let manifest = format!("[package]\nname = \"x\"\n[{section}]\nmillstream-state.workspace = true\n");
            let expected = Finding::new("host/wasm/Cargo.toml", 4, "millstream-wasm may not use millstream-state");
            assert_eq!(workspace("host/wasm", &manifest), [expected]);
        }
        let table = "[dependencies.millstream-engine]\nworkspace = true\n";
        assert_eq!(workspace("host/model", table).len(), 1);
        let renamed = "[dependencies]\nbase = { package = \"millstream-engine\", path = \"../engine\" }\n";
        assert_eq!(workspace("host/model", renamed).len(), 1);
    }

    #[test]
    fn a_heavy_library_outside_its_crate_is_found() {
        let manifest = "[dependencies]\nrocksdb.workspace = true\n";
        assert_eq!(workspace("host/state", manifest), []);
        let expected = Finding::new("host/engine/Cargo.toml", 2, "rocksdb belongs to host/state alone");
        assert_eq!(workspace("host/engine", manifest), [expected]);
        assert_eq!(workspace("host/app", "[dependencies]\nwasmtime-wasi = \"48\"\n").len(), 1);
    }

    #[test]
    fn an_operator_that_uses_a_part_of_the_host_is_found() {
        let found = |workspace: &str, manifest: &str| {
            let root = ("Cargo.toml", "[workspace]\nmembers = []\n");
            let own = format!("{workspace}/Cargo.toml");
            let own = (own.as_str(), "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\nserde = \"1\"\n");
            check(&Tree::of(&[root, own, (&format!("{workspace}/a/Cargo.toml"), manifest)])).len()
        };
        for workspace in super::GUESTS {
            let good = "[dependencies]\nmillstream-sdk.workspace = true\nwit-bindgen.workspace = true\nserde = \"1\"\n";
            assert_eq!(found(workspace, good), 0);
            assert_eq!(
                found(workspace, "[dev-dependencies]\nmillstream-engine = { path = \"../../host/engine\" }\n"),
                1
            );
            assert_eq!(found(workspace, "[dependencies]\nwasmtime = \"48\"\n"), 1);
        }
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(workspace("host/extra", "").len(), 1);
    }

    #[test]
    fn metadata_that_looks_like_a_dependency_is_none() {
        assert_eq!(workspace("host/model", "[package.metadata]\nrocksdb = \"no\"\n"), []);
    }
}
