//! Nothing pretends to be done, or to be tested.

use crate::source::mask;
use crate::{Finding, Tree};

/// What no code of ours contains, and why.
const BANNED: [(&str, &str); 4] = [
    ("#[ignore", "an ignored test tests nothing: fix it or delete it"),
    ("todo!(", "what is not done is not committed"),
    ("unimplemented!(", "what is not done is not committed"),
    ("#![allow(", "name the one place with #[expect(…, reason = …)]"),
];

/// Ignored tests and unfinished code.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        for (number, line) in (1..).zip(mask(text).lines()) {
            // What several test binaries share is used in part by each, which no `expect` can say.
            let is_shared = path.contains("/tests/") && path.ends_with("/mod.rs");
            for (banned, why) in BANNED.iter().filter(|(banned, _)| line.contains(banned)) {
                if is_shared && *banned == "#![allow(" {
                    continue;
                }
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
        let sources = [
            "#[test]\n#[ignore]\nfn f() {}",
            "fn f() {\ntodo!()\n}",
            "fn f() {\nunimplemented!(\"later\")\n}",
            "//! a\n#![allow(dead_code)]\n",
        ];
        for source in sources {
            let findings = check(&Tree::of(&[("a.rs", source)]));
            assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2], "{source}");
        }
    }

    #[test]
    fn what_test_binaries_share_may_say_why_it_is_used_in_part() {
        let with_reason = "#![allow(dead_code, reason = \"each uses a part\")]\n";
        assert_eq!(check(&Tree::of(&[("host/a/tests/common/mod.rs", with_reason)])), []);
        assert_eq!(check(&Tree::of(&[("host/a/src/common/mod.rs", with_reason)])).len(), 1);
    }

    #[test]
    fn talking_about_them_is_fine() {
        assert_eq!(check(&Tree::of(&[("a.rs", "// no #[ignore]\nlet a = \"todo!()\";\n")])), []);
    }
}
