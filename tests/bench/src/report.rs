//! Figures as they come: a line for people, and the same as JSON.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

/// What a figure should reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reach {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

impl Reach {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }
}

/// One measurement: its name, its case, its figures.
#[derive(Debug, Clone)]
pub struct Line {
    fields: Map<String, Value>,
    text: String,
}

impl Line {
    /// A measurement without figures.
    #[must_use]
    pub fn new(bench: &str, case: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("bench".to_owned(), bench.into());
        fields.insert("case".to_owned(), case.into());
        Self { fields, text: format!("{bench:<10} {case:<28}") }
    }

    /// Adds a figure.
    #[must_use]
    pub fn figure(mut self, name: &str, figure: f64) -> Self {
        let rounded = (figure * 1e4).round() / 1e4;
        self.fields.insert(name.to_owned(), rounded.into());
        self.text += &format!("  {name} {}", short(figure));
        self
    }

    /// Adds what lies in the middle of several measurements, at nine tenths, and the most.
    #[must_use]
    pub fn spread(self, name: &str, measured: &[f64]) -> Self {
        let at = |share| share_of(measured, share);
        self.figure(name, at(0.5)).figure(&format!("{name}_90"), at(0.9)).figure(&format!("{name}_most"), at(1.0))
    }

    /// Adds a figure and what it should reach.
    #[must_use]
    pub fn reaching(self, name: &str, figure: f64, reach: Reach) -> Self {
        let mut line = self.figure(name, figure);
        let met = reach.is_met(figure);
        let (sign, bound) = match reach {
            Reach::AtLeast(bound) => ("≥", bound),
            Reach::AtMost(bound) => ("≤", bound),
        };
        line.fields.insert(format!("{name}_reach"), format!("{sign} {}", short(bound)).into());
        line.fields.insert(format!("{name}_is_met"), met.into());
        line.text += &format!(" ({sign} {}{})", short(bound), if met { "" } else { ": MISSED" });
        line
    }
}

/// The measurement that a share of all does not exceed; 0 of none.
#[must_use]
pub fn share_of(measured: &[f64], share: f64) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// As many digits as tell something.
fn short(figure: f64) -> String {
    match figure.abs() {
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.3}"),
    }
}

/// Where figures go.
#[derive(Debug)]
pub struct Report {
    file: File,
    path: PathBuf,
}

impl Report {
    /// Begins `latest.jsonl` in a directory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join("latest.jsonl");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, path })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Prints a measurement and keeps it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, line: Line) -> Result<()> {
        writeln!(std::io::stdout(), "{}", line.text)?;
        serde_json::to_writer(&mut self.file, &Value::Object(line.fields))?;
        writeln!(self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_share_of_measurements_is_one_of_them() {
        let measured = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.5, 0.9, 1.0].map(|share| share_of(&measured, share)), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!(share_of(&[], 0.5), 0.0);
    }

    #[test]
    fn a_measurement_is_a_line_of_json_that_says_what_was_missed() {
        let directory = tempfile::tempdir().unwrap();
        let mut report = Report::begin(directory.path()).unwrap();
        let line = Line::new("pipeline", "100 B").figure("cpu_s", 1.25).reaching("ratio", 0.5, Reach::AtLeast(0.8));
        report.add(line.reaching("ns", 80.0, Reach::AtMost(100.0))).unwrap();
        let text = std::fs::read_to_string(report.path()).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "bench": "pipeline", "case": "100 B", "cpu_s": 1.25, "ratio": 0.5, "ratio_reach": "≥ 0.800", "ratio_is_met": false,
            "ns": 80.0, "ns_reach": "≤ 100", "ns_is_met": true,
        });
        assert_eq!(read, expected);
    }
}
