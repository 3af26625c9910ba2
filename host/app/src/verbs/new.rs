use crate::cli::New;
use crate::error::{Failure, Outcome};
use std::path::{Path, PathBuf};

/// Files of a new operator and where they go.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../../templates/operator/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../templates/operator/lib.rs.in")),
    ("pipeline.yaml", include_str!("../../templates/operator/pipeline.yaml.in")),
    ("events.jsonl", include_str!("../../templates/operator/events.jsonl.in")),
    (".gitignore", include_str!("../../templates/operator/gitignore.in")),
    ("README.md", include_str!("../../templates/operator/README.md.in")),
];

/// `millstream new`: a crate with an operator, its tests and a pipeline.
pub(crate) fn new(arguments: &New) -> Outcome<()> {
    let path = &arguments.path;
    let name = name(path)?;
    let sdk = sdk(arguments.sdk.as_deref())?;
    if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::config(format!(
            "{}: there is something in it already: name a new directory",
            path.display()
        )));
    }
    let failed = |at: &Path, cause: std::io::Error| Failure::failed(format!("{}: {cause}", at.display()));
    for (file, template) in FILES {
        let file = path.join(file);
        let text = template.replace("{{name}}", &name).replace("{{type}}", &type_name(&name)).replace("{{sdk}}", &sdk);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| failed(folder, cause))?;
        }
        std::fs::write(&file, text).map_err(|cause| failed(&file, cause))?;
    }
    let shown = path.display();
    anstream::println!(
        "made {shown}; try\n  cd {shown}\n  cargo test\n  millstream build\n  millstream test\n  millstream run"
    );
    Ok(())
}

/// What the operator is called: the last part of the path, as names of crates and operators are.
fn name(path: &Path) -> Outcome<String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_good = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    if name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(is_good) && name.len() <= 64 {
        return Ok(name.to_owned());
    }
    Err(Failure::config(format!(
        "`{}`: its last part names the operator: use up to 64 small letters, digits and `-`, a letter first, like word-count",
        path.display()
    )))
}

/// `word-count` → `WordCount`.
fn type_name(name: &str) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(part).collect()
}

/// The SDK as Cargo.toml names it.
fn sdk(path: Option<&Path>) -> Outcome<String> {
    let Some(path) = path else { return Ok(format!("{:?}", env!("CARGO_PKG_VERSION"))) };
    let found: PathBuf =
        path.canonicalize().ok().filter(|path| path.join("Cargo.toml").is_file()).ok_or_else(|| {
            Failure::config(format!(
                "--sdk {}: there is no crate; it is guest-sdk/rust in Millstream's sources",
                path.display()
            ))
        })?;
    Ok(format!("{{ path = {:?} }}", found.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_path_is_the_name() {
        assert_eq!(name(Path::new("some/Where/word-count")).ok().as_deref(), Some("word-count"));
        for bad in ["", "..", "Word", "1st", "a_b", "a b"] {
            assert!(name(Path::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(type_name("word-count"), "WordCount");
        assert_eq!(type_name("a--b2"), "AB2");
    }

    #[test]
    fn the_operator_is_under_25_lines() {
        let (_, text) = FILES[1];
        let operator: Vec<_> = text
            .lines()
            .skip_while(|line| !line.starts_with("use"))
            .take_while(|line| !line.starts_with("#[cfg"))
            .collect();
        assert!(operator.len() < 25, "{} lines", operator.len());
    }
}
