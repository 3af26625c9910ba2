//! What the rules look at, and what they say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// The text of every tracked file, by its path from the root. Files that are no text are there with an empty one.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// Its line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

impl Finding {
    /// A finding at a line (0: the file as a whole).
    #[must_use]
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

impl Tree {
    /// A tree that is made up for a test of a rule.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect() }
    }

    /// The files that git tracks below `root`, as they are on disk.
    ///
    /// # Errors
    /// If git cannot list them, or one cannot be read.
    pub fn tracked(root: &Path) -> std::io::Result<Self> {
        let output = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output()?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(std::io::Error::other(format!("git ls-files failed: {reason}")));
        }
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&output.stdout).split_terminator('\0') {
            let bytes = match std::fs::read(root.join(path)) {
                Ok(bytes) => bytes,
                // Deleted and not yet committed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            files.insert(path.to_owned(), String::from_utf8(bytes).unwrap_or_default());
        }
        Ok(Self { files })
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// All files, in order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Files with this ending.
    pub fn ending(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(move |(path, _)| path.ends_with(ending))
    }

    /// Whether there is such a file, or a folder with files in it.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty() || self.files().any(|(file, _)| file == path || file.starts_with(&format!("{path}/")))
    }

    /// Folders of the packages of the root workspace, as its manifest lists them.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members_of("Cargo.toml")
    }

    /// Folders of the packages of a workspace, as its manifest lists them.
    pub fn members_of(&self, manifest: &str) -> impl Iterator<Item = &str> {
        let manifest = self.text(manifest).unwrap_or_default();
        let listed = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
        let listed = listed.map_or("", |(listed, _)| listed);
        listed.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty())
    }
}
