//! The command line from outside: texts, exit codes, and the pages that describe them.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests")]

mod docs;
mod place;
mod texts;
