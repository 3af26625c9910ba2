//! Which version of an operator a start runs: the one that was committed last, unless a person changed the pipeline file since. Pure.

use millstream_model::ids::{Digest, Generation};

/// The number of the first version of an operator.
pub const FIRST: Generation = Generation(1);

/// What is known of an operator's module at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The module that the pipeline file names.
    pub file: Digest,
    /// The module that it named when the pipeline was started last.
    pub named: Option<Digest>,
    /// The module and generation in the newest commit.
    pub committed: Option<(Digest, Generation)>,
}

/// What a start runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtStart {
    /// The file's module: there is no commit yet, or the operator is new in the pipeline, or it is the committed one.
    File(Generation),
    /// The committed module, from the module store: a swap while running took the place of the one that the file still names.
    Committed(Digest, Generation),
    /// The committed module, and the file's is staged as a swap at once: a person changed the file.
    Deploy(Digest, Generation),
}

/// Decides what to run.
#[must_use]
pub fn decide(found: &Found) -> AtStart {
    match found.committed {
        None => AtStart::File(FIRST),
        Some((digest, generation)) if digest == found.file => AtStart::File(generation),
        Some((digest, generation)) if found.named == Some(found.file) => AtStart::Committed(digest, generation),
        Some((digest, generation)) => AtStart::Deploy(digest, generation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Digest = Digest([1; 32]);
    const B: Digest = Digest([2; 32]);
    const C: Digest = Digest([3; 32]);

    fn at_start(file: Digest, named: Option<Digest>, committed: Option<(Digest, u64)>) -> AtStart {
        let committed = committed.map(|(digest, number)| (digest, Generation(number)));
        decide(&Found { file, named, committed })
    }

    #[test]
    fn the_first_start_runs_the_file_whatever_was_opened_before() {
        assert_eq!(at_start(A, None, None), AtStart::File(FIRST));
        assert_eq!(at_start(A, Some(B), None), AtStart::File(FIRST));
    }

    #[test]
    fn a_file_that_names_the_committed_module_goes_on_with_its_generation() {
        assert_eq!(at_start(A, Some(A), Some((A, 7))), AtStart::File(Generation(7)));
        // A person wrote into the file what was swapped in.
        assert_eq!(at_start(B, Some(A), Some((B, 7))), AtStart::File(Generation(7)));
    }

    #[test]
    fn a_file_nobody_touched_does_not_undo_a_swap() {
        assert_eq!(at_start(A, Some(A), Some((B, 7))), AtStart::Committed(B, Generation(7)));
    }

    #[test]
    fn a_file_that_changed_is_a_deploy() {
        assert_eq!(at_start(C, Some(A), Some((B, 7))), AtStart::Deploy(B, Generation(7)));
        assert_eq!(at_start(C, None, Some((B, 7))), AtStart::Deploy(B, Generation(7)));
    }
}
