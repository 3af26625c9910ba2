//! Swaps of a running pipeline, as whoever asks for them and whoever reads its outputs see them: real workers, committer and coordinator over fakes.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod pipeline;
mod returns;
mod shadow;
mod state;
mod switch;
mod trial;
