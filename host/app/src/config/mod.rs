//! The pipeline file: read, checked, and brought into the shape that the rest of the program uses.

mod interpolate;
pub(crate) mod raw;
mod resolve;
mod units;

pub(crate) use resolve::{OperatorSpec, Resolved, SinkKind, SourceKind};

use crate::error::{Failure, Outcome};
use std::path::{Path, PathBuf};

/// A pipeline file.
#[derive(Debug, Clone)]
pub(crate) struct PipelineFile {
    path: PathBuf,
    text: String,
    raw: raw::Pipeline,
}

impl PipelineFile {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Failure::config(format!(
                "{}: cannot be read: {cause}; name the pipeline file as the first argument",
                path.display()
            ))
        })?;
        Self::parse(path, &text)
    }

    /// Reads a text as if it were in that file.
    pub(crate) fn parse(path: &Path, text: &str) -> Outcome<Self> {
        let shown = path.display();
        let text = interpolate::interpolate(text, &|name| std::env::var(name).ok())
            .map_err(|error| Failure::config(format!("{shown}: {error}")))?;
        let raw = serde_saphyr::from_str(&text).map_err(|error| {
            let said = error.to_string().replace("<input>", &shown.to_string());
            let said = said.strip_prefix("error: ").unwrap_or(&said);
            let hint = suggestion(said).map(|name| format!("\ndid you mean `{name}`?")).unwrap_or_default();
            Failure::config(format!("{shown}: {said}{hint}"))
        })?;
        Ok(Self { path: path.to_owned(), text, raw })
    }

    /// What the file stands for, checked.
    pub(crate) fn resolve(&self) -> Outcome<Resolved> {
        resolve::resolve(&self.raw, &self.folder()).map_err(|problem| Failure::config(self.show(&problem)))
    }

    /// Gives the pipeline another id, and the directory that goes with it unless the file names one.
    pub(crate) fn rename(&self, resolved: &mut Resolved, id: &str) -> Outcome<()> {
        let renamed = raw::Pipeline { id: id.to_owned(), ..self.raw.clone() };
        *resolved = resolve::resolve(&renamed, &self.folder())
            .map_err(|problem| Failure::config(format!("--id: {}", problem.text)))?;
        Ok(())
    }

    /// The text, variables replaced.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Tests in the file.
    pub(crate) fn tests(&self) -> &[raw::Test] {
        &self.raw.tests
    }

    /// Where relative paths begin.
    pub(crate) fn folder(&self) -> PathBuf {
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// A problem with the line it is about.
    pub(crate) fn show(&self, problem: &Problem) -> String {
        let shown = self.path.display();
        let found = problem.about.as_deref().and_then(|about| self.find(about));
        match found {
            Some((line, column, text)) => {
                let margin = line.to_string().len();
                format!(
                    "{shown}:{line}:{column}: {}\n{:margin$} |\n{line} | {text}\n{:margin$} | {:>column$}",
                    problem.text, "", "", "^"
                )
            }
            None => format!("{shown}: {}", problem.text),
        }
    }

    /// Line, column and text of the first place where something is named as a whole.
    fn find(&self, about: &str) -> Option<(usize, usize, &str)> {
        let is_part = |character: char| character.is_alphanumeric() || "_-.".contains(character);
        self.text.lines().enumerate().find_map(|(number, line)| {
            let found = line.match_indices(about).find(|(at, _)| {
                let before = line.get(..*at).and_then(|before| before.chars().next_back());
                let after = line.get(at + about.len()..).and_then(|after| after.chars().next());
                !before.is_some_and(is_part) && !after.is_some_and(is_part)
            });
            found.map(|(at, _)| (number + 1, line.get(..at).map_or(0, |before| before.chars().count()) + 1, line))
        })
    }
}

/// Something wrong with a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What, why, and what to do.
    pub(crate) text: String,
    /// A word of the file that it is about.
    pub(crate) about: Option<String>,
}

impl Problem {
    pub(crate) fn new(about: &str, text: impl Into<String>) -> Self {
        Self { text: text.into(), about: Some(about.to_owned()) }
    }
}

/// The name most like a wrong one.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.into_iter().map(|name| (strsim::damerau_levenshtein(wrong, name), name));
    near.filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What "unknown field `x`, expected one of a, b" may have meant.
fn suggestion(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("unknown field"))?;
    let (wrong, expected) = line.split_once("unknown field `")?.1.split_once('`')?;
    let names = expected.split_once("expected ")?.1.split([',', ' ']).map(|name| name.trim_matches('`'));
    nearest(wrong, names.filter(|name| !["", "one", "of", "or"].contains(name))).map(str::to_owned)
}

#[cfg(test)]
mod tests;
