//! The text of a pipeline file, and problems shown in it.

use super::interpolate::{Interpolated, Unset, interpolate};
use super::place::{self, Mark, Place};
use std::path::{Path, PathBuf};

/// Something wrong with a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What, why, and what to do.
    pub(crate) text: String,
    /// What of the file it is about.
    pub(crate) place: Place,
}

impl Problem {
    pub(crate) fn new(place: &Place, text: impl Into<String>) -> Self {
        Self { text: text.into(), place: place.clone() }
    }
}

/// A pipeline file as it is written, and with its variables replaced.
#[derive(Debug, Clone)]
pub(super) struct SourceText {
    pub(super) path: PathBuf,
    pub(super) written: String,
    pub(super) read: Interpolated,
}

impl SourceText {
    /// Replaces the variables of a text; what cannot be is shown.
    pub(super) fn new(path: &Path, written: &str) -> Result<Self, String> {
        #[expect(clippy::disallowed_methods, reason = "`${NAME}` in the pipeline file is the environment")]
        let read = interpolate(written, &|name| std::env::var(name).ok());
        let mut text = Self { path: path.to_owned(), written: written.to_owned(), read: Interpolated::default() };
        match read {
            Ok(read) => {
                text.read = read;
                Ok(text)
            }
            Err(Unset { text: problem, mark }) => Err(text.render(Some(mark), &problem)),
        }
    }

    /// A problem with the line it is about.
    pub(super) fn show(&self, problem: &Problem) -> String {
        let mark = place::find(&self.read.text, &problem.place);
        self.render(mark.map(|mark| self.read.original(mark)), &self.read.hide_values(&problem.text))
    }

    /// What the parser says, in the same form.
    pub(super) fn show_error(&self, error: &serde_saphyr::Error) -> String {
        let mark = error.location().as_ref().and_then(Mark::of);
        let said = error.without_snippet().to_string();
        let said = said.strip_prefix("error: ").unwrap_or(&said);
        let located = mark.map(|mark| format!(" at line {}, column {}", mark.line, mark.column)).unwrap_or_default();
        let said = said.strip_suffix(&located).unwrap_or(said);
        let hint = suggestion(said).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        self.render(mark.map(|mark| self.read.original(mark)), &self.read.hide_values(&format!("{said}{hint}")))
    }

    fn render(&self, mark: Option<Mark>, problem: &str) -> String {
        let shown = self.path.display();
        let Some(mark) = mark else { return format!("{shown}: {problem}") };
        let Mark { line, column, length } = mark;
        let text = self.written.lines().nth(line - 1).unwrap_or_default();
        let margin = line.to_string().len();
        // Tabs stay tabs, so that what is marked stays under what it marks.
        let before: String =
            text.chars().take(column.saturating_sub(1)).map(|before| if before == '\t' { '\t' } else { ' ' }).collect();
        let left = text.chars().count().saturating_sub(column.saturating_sub(1)).max(1);
        let under = "^".repeat(length.clamp(1, left));
        format!(
            "{shown}:{line}:{column}: {problem}\n{:margin$} |\n{line} | {text}\n{:margin$} | {before}{under}",
            "", ""
        )
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
    let line = said.lines().find(|line| line.contains("unknown field") || line.contains("unknown variant"))?;
    let (wrong, expected) = line.split_once("unknown ")?.1.split_once('`')?.1.split_once('`')?;
    let names = expected.split_once("expected ")?.1.split([',', ' ']).map(|name| name.trim_matches('`'));
    nearest(wrong, names.filter(|name| !["", "one", "of", "or"].contains(name))).map(str::to_owned)
}
