//! The client against a real broker: the one `MILLSTREAM_TEST_KAFKA` names, or one of its own. Without any, every test fails.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod cluster;
mod fidelity;
mod modules;
mod reading;
mod setup;
mod transactions;
