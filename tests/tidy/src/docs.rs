//! Links lead somewhere; decisions can be cited by number.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Finding, Tree};

/// Links of Markdown pages to files that are not there.
#[must_use]
pub fn check_links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (line, target) in links(text) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if outside || file.is_empty() {
                continue;
            }
            match resolve(path, file) {
                Some(file) if tree.has(&file) => {}
                _ => findings.push(Finding::new(path, line, format!("the link to {target:?} leads nowhere"))),
            }
        }
    }
    findings
}

/// Decisions whose number is missing, taken twice, not the one in their title, or not in the list.
#[must_use]
pub fn check_decisions(tree: &Tree) -> Vec<Finding> {
    const FOLDER: &str = "docs/decisions/";
    let list = tree.text("docs/decisions/README.md").unwrap_or_default();
    let mut findings = Vec::new();
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, text) in tree.ending(".md") {
        let Some(name) = path.strip_prefix(FOLDER).filter(|name| *name != "README.md") else {
            continue;
        };
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            findings.push(Finding::new(path, 0, "its name begins with a number of four digits"));
            continue;
        }
        if let Some(other) = taken.insert(number, path) {
            findings.push(Finding::new(path, 0, format!("{number} is the number of {other}")));
        }
        if !text.starts_with(&format!("# {number}: ")) {
            findings.push(Finding::new(path, 1, format!("its title begins with \"# {number}: \"")));
        }
        if !list.contains(&format!("({name})")) {
            findings.push(Finding::new(path, 0, "docs/decisions/README.md does not list it"));
        }
    }
    findings
}

/// Files that cite decisions: whoever reads the code must find why.
const CITING: [&str; 7] = [".rs", ".md", ".toml", ".sh", ".wit", ".yaml", ".java"];

/// Citations (`decisions/0021`) of decisions that are not there.
#[must_use]
pub fn check_citations(tree: &Tree) -> Vec<Finding> {
    const FOLDER: &str = "docs/decisions/";
    let names = tree.ending(".md").filter_map(|(path, _)| path.strip_prefix(FOLDER)?.split_once('-'));
    let known: BTreeSet<&str> = names.map(|(number, _)| number).collect();
    let mut findings = Vec::new();
    for (path, text) in CITING.iter().flat_map(|ending| tree.ending(ending)) {
        for (line, number) in (1..).zip(text.lines()).flat_map(|(at, line)| citations(line).map(move |n| (at, n))) {
            if !known.contains(number) {
                findings.push(Finding::new(path, line, format!("there is no decision {number}")));
            }
        }
    }
    findings
}

/// Numbers of the decisions that a line cites.
fn citations(line: &str) -> impl Iterator<Item = &str> {
    // In halves, or this file would cite one.
    const CITED: &str = concat!("decisions", "/");
    let number = |rest: &str| rest.bytes().take(4).filter(u8::is_ascii_digit).count() == 4;
    line.split(CITED).skip(1).filter(move |rest| number(rest)).filter_map(|rest| rest.get(..4))
}

/// Lines and targets of all links outside of code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backquotes is code, and what is behind a piece of code may still be a link.
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, next)) = after.split_once(')') else { break };
            let before = line.len() - after.len();
            let quotes = line.get(..before).unwrap_or_default().matches('`').count();
            if quotes % 2 == 0 {
                found.push((number, target.split_whitespace().next().unwrap_or_default()));
            }
            rest = next;
        }
    }
    found
}

/// The path that a link from `page` means; none if it leaves the repository.
fn resolve(page: &str, link: &str) -> Option<String> {
    let mut folders: Vec<&str> = page.split('/').collect();
    folders.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(folders.pop()?),
            name => folders.push(name),
        }
    }
    Some(folders.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links_of(text: &str) -> usize {
        check_links(&Tree::of(&[("docs/a.md", text), ("docs/b/c.md", ""), ("README.md", "")])).len()
    }

    #[test]
    fn links_to_what_is_there_are_fine() {
        assert_eq!(
            links_of("[b](b), [c](b/c.md#part), [top](../README.md), [web](https://example.org), [here](#x)"),
            0
        );
        assert_eq!(links_of("`a[0](x)`, [`b`](b/c.md)\n```\n[x](nowhere)\n```\n"), 0);
    }

    #[test]
    fn links_to_nowhere_are_found() {
        assert_eq!(links_of("fine\n[c](c.md) and [b](b/d.md)"), 2);
        assert_eq!(links_of("[out](../../README.md)"), 1);
    }

    fn decisions(files: &[(&str, &str)]) -> usize {
        let list = ("docs/decisions/README.md", "| [0001](0001-a.md) | a |\n| [0010](0010-b.md) | b |\n");
        let files: Vec<_> = files.iter().copied().chain([list]).collect();
        check_decisions(&Tree::of(&files)).len()
    }

    #[test]
    fn decisions_with_numbers_of_their_own_are_fine() {
        let files = [("docs/decisions/0001-a.md", "# 0001: a\n"), ("docs/decisions/0010-b.md", "# 0010: b\n")];
        assert_eq!(decisions(&files), 0);
    }

    #[test]
    fn a_number_that_is_taken_missing_wrong_or_unlisted_is_found() {
        let twice = [("docs/decisions/0001-a.md", "# 0001: a\n"), ("docs/decisions/0001-c.md", "# 0001: c\n")];
        // Taken twice, and the second one is not in the list.
        assert_eq!(decisions(&twice), 2);
        assert_eq!(decisions(&[("docs/decisions/why.md", "# why\n")]), 1);
        assert_eq!(decisions(&[("docs/decisions/0001-a.md", "# 0003: a\n")]), 1);
    }

    #[test]
    fn citations_of_decisions_that_are_not_there_are_found_with_their_line() {
        // In halves, or this file would cite them.
        let cite = |number: &str| format!("fine\n// see docs/{}/{number}.\n", "decisions");
        let found = |path: &str, number: &str| {
            let files = [("docs/decisions/0001-a.md", "# 0001: a\n"), (path, &cite(number))];
            check_citations(&Tree::of(&files)).iter().map(|finding| finding.line).collect::<Vec<_>>()
        };
        assert_eq!(found("a.rs", "0001"), []);
        assert_eq!(found("a.rs", "0001-a.md"), []);
        assert_eq!(found("a.rs", "0002"), [2]);
        assert_eq!(found("b/Cargo.toml", "0003-b.md"), [2]);
        // The folder, and what is no number.
        assert_eq!(found("a.rs", "README.md"), []);
        assert_eq!(found("a.rs", "NNNN-name.md"), []);
    }
}
