//! Each crate opens with a README of one page that is its rustdoc.

use crate::{Finding, Tree};

/// Lines of a README, at most.
pub const PAGE_LINES: usize = 120;

const INCLUDED: &str = "#![doc = include_str!(\"../README.md\")]";

/// Crates without a README, with one that is longer than a page, or that is not their rustdoc.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in tree.members() {
        let path = format!("{folder}/README.md");
        let lines = tree.text(&path).map_or(0, |text| text.lines().count());
        if lines < 3 {
            findings.push(Finding::new(
                &path,
                0,
                "the crate has no README: say what it is for, who calls it, where it is wired",
            ));
        }
        if lines > PAGE_LINES {
            findings.push(Finding::new(&path, 0, format!("{lines} lines; a page has {PAGE_LINES}")));
        }
        let roots = ["lib.rs", "main.rs"].map(|file| format!("{folder}/src/{file}"));
        let opens = |root: &String| tree.text(root).is_some_and(|text| text.contains(INCLUDED));
        if !roots.iter().any(opens) {
            let what = format!("the README is not the crate's rustdoc: begin with {INCLUDED}");
            findings.push(Finding::new(&format!("{folder}/src"), 0, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(readme: &str, lib: &str) -> usize {
        let root = "[workspace]\nmembers = [\"a\"]\n";
        check(&Tree::of(&[("Cargo.toml", root), ("a/README.md", readme), ("a/src/lib.rs", lib)])).len()
    }

    #[test]
    fn a_crate_with_its_page_is_fine() {
        assert_eq!(found("# a\n\nwhat it is for\n", &format!("{INCLUDED}\n")), 0);
    }

    #[test]
    fn a_missing_an_endless_and_an_unused_page_are_found() {
        assert_eq!(found("", &format!("{INCLUDED}\n")), 1);
        assert_eq!(found(&"line\n".repeat(PAGE_LINES + 1), &format!("{INCLUDED}\n")), 1);
        assert_eq!(found("# a\n\nwhat it is for\n", "//! a\n"), 1);
    }
}
