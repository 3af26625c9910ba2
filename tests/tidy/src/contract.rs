//! The contract is documented, item by item, and an operator in it stays short.

use crate::{Finding, Tree};

/// Lines of the operator that the SDK's page shows whole, at most.
pub const WORD_COUNT_LINES: usize = 24;

/// What begins a line of WIT that says nothing of its own.
const PLAIN: [&str; 6] = ["package ", "use ", "include ", "import ", "export ", "}"];

/// Items of WIT without a comment of their own: interfaces, worlds, types, their fields and cases, functions.
#[must_use]
pub fn check_documented(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".wit") {
        let mut is_documented = false;
        let mut is_inside = false;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let is_comment = line.starts_with("//") || line.starts_with('@');
            if is_comment || line.is_empty() {
                is_documented = line.starts_with("///") || (is_documented && is_comment);
                continue;
            }
            // An item that goes over several lines begins on the first of them.
            let is_item = !is_inside && !PLAIN.iter().any(|plain| line.starts_with(plain));
            if is_item && !is_documented {
                findings.push(Finding::new(
                    path,
                    number,
                    "an item of the contract without a `///` that says what it means",
                ));
            }
            is_documented = false;
            is_inside = !line.ends_with(['{', '}', ';', ',']) || (is_inside && line.ends_with(','));
        }
    }
    findings
}

/// Word counts that pages show and that are too long; and a page of the SDK that shows none.
#[must_use]
pub fn check_word_count(tree: &Tree) -> Vec<Finding> {
    const PAGE: &str = "guest-sdk/rust/README.md";
    let mut findings = Vec::new();
    let mut shown = false;
    for (path, text) in tree.ending(".md") {
        for (line, block) in blocks(text) {
            let names = ["\"word-count\":", "\"count\":"];
            if !block.contains("export_operators!") || !names.iter().any(|name| block.contains(name)) {
                continue;
            }
            shown |= path == PAGE;
            let lines = block.lines().count();
            if lines > WORD_COUNT_LINES {
                let what =
                    format!("a word count of {lines} lines, {WORD_COUNT_LINES} are the limit: the SDK asks too much");
                findings.push(Finding::new(path, line, what));
            }
        }
    }
    if !shown {
        findings.push(Finding::new(PAGE, 0, "it shows no word count, whole"));
    }
    findings
}

/// Line and text of all blocks of Rust.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match &mut open {
            None if line.trim_start().starts_with("```rust") => open = Some((number, String::new())),
            None => {}
            Some(_) if line.trim_start().starts_with("```") => found.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undocumented(text: &str) -> Vec<usize> {
        check_documented(&Tree::of(&[("wit/a.wit", text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn documented_items_are_fine() {
        let text = "package a:b@0.1.0;\n\n/// What it is.\ninterface a {\n    use b.{c};\n\n    /// A record.\n    \
                    record r {\n        /// A field.\n        x: u32,\n    }\n\n    /// A function.\n    @since(version = 0.1.1)\n    \
                    f: func(\n        a: u32,\n        b: list<u8>,\n    ) -> u32;\n}\n";
        assert_eq!(undocumented(text), []);
    }

    #[test]
    fn an_interface_a_field_a_case_and_a_function_without_a_word_are_found() {
        assert_eq!(undocumented("interface a {\n}\n"), [1]);
        assert_eq!(undocumented("/// R.\nrecord r {\n    x: u32,\n}\n"), [3]);
        assert_eq!(undocumented("/// E.\nenum e {\n    /// A.\n    a,\n    b,\n}\n"), [5]);
        assert_eq!(undocumented("/// I.\ninterface i {\n    /// One.\n    f: func();\n    g: func();\n}\n"), [5]);
        assert_eq!(undocumented("/// About something else.\n\ninterface a {\n}\n"), [3]);
        assert_eq!(undocumented("// no doc\ninterface a {\n}\n"), [2]);
    }

    fn counted(lines: usize) -> usize {
        let block =
            format!("```rust\n{}export_operators! {{ \"word-count\": WordCount }}\n```\n", "x\n".repeat(lines - 1));
        check_word_count(&Tree::of(&[("guest-sdk/rust/README.md", &block)])).len()
    }

    #[test]
    fn a_word_count_of_25_lines_is_found_and_so_is_none_at_all() {
        assert_eq!(counted(24), 0);
        assert_eq!(counted(25), 1);
        assert_eq!(check_word_count(&Tree::of(&[("guest-sdk/rust/README.md", "```rust\nfn f() {}\n```\n")])).len(), 1);
    }
}
