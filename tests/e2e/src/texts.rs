//! What Millstream says to people, held in files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Compares what was said with a text that is kept in a file. `MILLSTREAM_BLESS=1` writes the file instead: look at the
/// difference before you commit it.
#[derive(Debug, Clone)]
pub struct Texts {
    folder: PathBuf,
    names: Vec<(String, String)>,
}

impl Texts {
    /// Texts in a folder below `tests/e2e/tests`.
    #[must_use]
    pub fn new(folder: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
        Self { folder, names: Vec::new() }
    }

    /// Says `<name>` wherever `value` is said, which differs from run to run.
    #[must_use]
    pub fn naming(mut self, name: &str, value: impl Into<String>) -> Self {
        self.names.push((value.into(), format!("<{name}>")));
        // What contains another goes first.
        self.names.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        self
    }

    /// Compares, after log lines are dropped and whatever differs from run to run is replaced.
    ///
    /// # Errors
    /// If they differ, or there is no such file.
    pub fn check(&self, name: &str, said: &str) -> Result<()> {
        let said = self.normal(said);
        let path = self.folder.join(format!("{name}.txt"));
        if std::env::var_os("MILLSTREAM_BLESS").is_some() {
            std::fs::create_dir_all(&self.folder)?;
            return Ok(std::fs::write(&path, &said)?);
        }
        let expected = std::fs::read_to_string(&path).with_context(|| format!("no text {}", path.display()));
        let expected = expected.with_context(|| format!("it said:\n{said}"))?;
        if said != expected {
            bail!("{name}: it said\n{said}\nand not\n{expected}");
        }
        Ok(())
    }

    fn normal(&self, said: &str) -> String {
        let mut text: String =
            said.lines().filter(|line| !line.starts_with('{')).map(|line| format!("{}\n", line.trim_end())).collect();
        for (value, name) in &self.names {
            text = text.replace(value, name);
        }
        words(&text)
    }
}

/// Replaces words that are made of hexadecimal digits: digests, uuids, and the numbers of `RocksDB`'s files.
fn words(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_hexdigit() || (c == '-' && !word.is_empty()) {
            word.push(c);
            continue;
        }
        normal.push_str(match word.len() {
            64 if !word.contains('-') => "<sha256>",
            36 if word.matches('-').count() == 4 => "<uuid>",
            6 if word.starts_with('0') && word.bytes().all(|digit| digit.is_ascii_digit()) => "<number>",
            _ => &word,
        });
        word.clear();
        if c != '\0' {
            normal.push(c);
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_replaced() {
        let texts = Texts::new("none").naming("topic", "lines-1f-0").naming("dir", "/tmp/x");
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let said = format!(
            "{{\"level\":\"info\"}}\nlines-1f-0 in /tmp/x/state  \n{uuid} {} bad-face MANIFEST-000005\n",
            "ab".repeat(32)
        );
        assert_eq!(texts.normal(&said), "<topic> in <dir>/state\n<uuid> <sha256> bad-face MANIFEST-<number>\n");
    }

    #[test]
    fn a_text_nobody_wrote_down_is_an_error() {
        assert!(Texts::new("none").check("nothing", "said").is_err());
    }
}
