//! Nothing pretends to be done, or to be tested.

use crate::source::mask;
use crate::{Finding, Tree};

/// What no code of ours contains, and why.
const BANNED: [(&str, &str); 3] = [
    ("#[ignore", "an ignored test tests nothing: fix it or delete it"),
    ("todo!(", "what is not done is not committed"),
    ("#![allow(", "name the one place with #[expect(…, reason = …)]"),
];

/// Ignored tests and unfinished code.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        for (number, line) in (1..).zip(mask(text).lines()) {
            for (banned, why) in BANNED.iter().filter(|(banned, _)| line.contains(banned)) {
                findings.push(Finding::new(path, number, format!("`{banned}`: {why}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_and_unfinished_code_are_found() {
        for source in ["#[test]\n#[ignore]\nfn f() {}", "fn f() {\ntodo!()\n}", "//! a\n#![allow(dead_code)]\n"] {
            let findings = check(&Tree::of(&[("a.rs", source)]));
            assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2], "{source}");
        }
    }

    #[test]
    fn talking_about_them_is_fine() {
        assert_eq!(check(&Tree::of(&[("a.rs", "// no #[ignore]\nlet a = \"todo!()\";\n")])), []);
    }
}
