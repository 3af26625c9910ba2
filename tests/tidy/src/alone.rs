//! The repository stands alone.

use crate::{Finding, Tree};

/// Paths that exist on one machine only. Written in halves, or this file would be found.
const FOREIGN: [&str; 5] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
    concat!("/wo", "rk/"),
    concat!("../sha", "red"),
];

/// Paths of somebody's machine, and copies of the contract outside `wit/`.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(foreign) = FOREIGN.iter().find(|&&foreign| line.contains(foreign)) {
                let what = format!("{foreign:?} is a path of one machine");
                findings.push(Finding::new(path, number, what));
            }
        }
    }
    for (path, _) in tree.ending(".wit").filter(|(path, _)| !path.starts_with("wit/")) {
        findings.push(Finding::new(path, 0, "wit/ is the only copy of the contract"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_are_found_with_their_line() {
        for foreign in FOREIGN {
            let text = format!("fine\nsee {foreign}x\n");
            let findings = check(&Tree::of(&[("docs/a.md", &text)]));
            assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2], "{foreign}");
        }
        assert_eq!(check(&Tree::of(&[("a.md", "/dev/shm and $HOME/.cache are everywhere\n")])), []);
    }

    #[test]
    fn a_second_copy_of_the_contract_is_found() {
        assert_eq!(check(&Tree::of(&[("wit/operator/types.wit", "")])), []);
        assert_eq!(check(&Tree::of(&[("guest-sdk/rust/wit/types.wit", "")])).len(), 1);
    }
}
