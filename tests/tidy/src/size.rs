//! Sizes that a reader can hold in mind.

use crate::source::{functions, mask};
use crate::{Finding, Tree};

/// Lines of a source file, at most.
pub const FILE_LINES: usize = 500;
/// Lines above which a file is worth a second thought.
pub const LARGE_FILE_LINES: usize = 300;
/// Lines of a function, at most.
pub const FUNCTION_LINES: usize = 70;
/// Arguments of a constructor, at most; beyond, an options struct names them.
pub const CONSTRUCTOR_ARGUMENTS: usize = 5;

const SOURCES: [&str; 7] = [".rs", ".sh", ".py", ".java", ".wit", ".js", ".c"];

/// Files and functions that are too large, constructors with too many arguments.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, lines) in sources(tree) {
        if lines > FILE_LINES {
            let what = format!("{lines} lines, {FILE_LINES} are the limit: split it");
            findings.push(Finding::new(path, 0, what));
        }
    }
    for (path, text) in tree.ending(".rs") {
        for function in functions(&mask(text)) {
            if function.lines > FUNCTION_LINES {
                let what = format!("{} has {} lines, {FUNCTION_LINES} are the limit", function.name, function.lines);
                findings.push(Finding::new(path, function.line, what));
            }
            if function.constructor && function.arguments > CONSTRUCTOR_ARGUMENTS {
                let what = format!(
                    "{} takes {} arguments, {CONSTRUCTOR_ARGUMENTS} are the limit: name them in an options struct",
                    function.name, function.arguments
                );
                findings.push(Finding::new(path, function.line, what));
            }
        }
    }
    findings
}

/// Files that are allowed and large; for a note.
pub fn large(tree: &Tree) -> impl Iterator<Item = (&str, usize)> {
    sources(tree).filter(|&(_, lines)| lines > LARGE_FILE_LINES)
}

fn sources(tree: &Tree) -> impl Iterator<Item = (&str, usize)> {
    let sources = tree.files().filter(|(path, _)| SOURCES.iter().any(|ending| path.ends_with(ending)));
    sources.map(|(path, text)| (path, text.lines().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_file_of_501_lines_is_found() {
        assert_eq!(found("a.rs", &"//\n".repeat(500)), 0);
        assert_eq!(found("a.rs", &"//\n".repeat(501)), 1);
        assert_eq!(found("a.sh", &"#\n".repeat(501)), 1);
        assert_eq!(found("Cargo.lock", &"#\n".repeat(5_001)), 0);
    }

    #[test]
    fn a_function_of_71_lines_is_found() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "a();\n".repeat(lines - 2));
        assert_eq!(found("a.rs", &function(70)), 0);
        assert_eq!(found("a.rs", &function(71)), 1);
    }

    #[test]
    fn a_constructor_of_six_arguments_is_found() {
        assert_eq!(found("a.rs", "fn new(a: A, b: B, c: C, d: D, e: E) -> Self {}"), 0);
        assert_eq!(found("a.rs", "fn new(a: A, b: B, c: C, d: D, e: E, f: F) -> Self {}"), 1);
    }

    #[test]
    fn a_file_of_301_lines_is_noted() {
        let tree = Tree::of(&[("a.rs", &"//\n".repeat(301)), ("b.rs", "//\n")]);
        assert_eq!(large(&tree).collect::<Vec<_>>(), [("a.rs", 301)]);
    }
}
