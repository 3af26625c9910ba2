//! The pipeline file: read, checked, and brought into the shape that the rest of the program uses.

mod interpolate;
mod place;
pub(crate) mod raw;
mod resolve;
mod source_text;
mod units;

pub(crate) use place::Place;
pub(crate) use resolve::{OperatorSpec, Resolved, SinkKind, SourceKind, SourceSpec, id_of};
pub(crate) use source_text::{Problem, nearest};

use crate::error::{Failure, Outcome};
use source_text::SourceText;
use std::path::{Path, PathBuf};

/// A pipeline file.
#[derive(Debug, Clone)]
pub(crate) struct PipelineFile {
    text: SourceText,
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
        let text = SourceText::new(path, text).map_err(Failure::config)?;
        let raw = serde_saphyr::from_str(&text.read.text).map_err(|error| Failure::config(text.show_error(&error)))?;
        Ok(Self { text, raw })
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

    /// The text as it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text.written
    }

    /// Tests in the file.
    pub(crate) fn tests(&self) -> &[raw::Test] {
        &self.raw.tests
    }

    /// Where relative paths begin.
    pub(crate) fn folder(&self) -> PathBuf {
        self.text.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// A problem with the line it is about.
    pub(crate) fn show(&self, problem: &Problem) -> String {
        self.text.show(problem)
    }
}

#[cfg(test)]
mod tests;
