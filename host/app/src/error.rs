use millstream_engine::commit::Stop;
use millstream_engine::run::RunError;
use std::fmt;

/// Exit codes, as docs/cli.md has them.
pub(crate) mod exit {
    /// Something went wrong while running.
    pub(crate) const FAILED: u8 = 1;
    /// Another process has the pipeline.
    pub(crate) const FENCED: u8 = 3;
    /// The pipeline file, a module or the surroundings cannot work (`EX_CONFIG` of sysexits.h).
    pub(crate) const CONFIG: u8 = 78;
}

/// What went wrong, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

/// What a verb gives.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// The pipeline file, a module or the surroundings cannot work.
    pub(crate) fn config(text: impl fmt::Display) -> Self {
        Self { code: exit::CONFIG, text: text.to_string() }
    }

    /// Something went wrong while running.
    pub(crate) fn failed(text: impl fmt::Display) -> Self {
        Self { code: exit::FAILED, text: text.to_string() }
    }

    /// A state directory cannot be had: somebody else runs on it, or it is not this pipeline's.
    pub(crate) fn of_directory(error: &millstream_state::Error) -> Self {
        match error {
            millstream_state::Error::Running { .. } => Self::failed(error),
            _ => Self::config(error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let code = match &error {
            RunError::Commit(Stop::Fenced { .. }) => exit::FENCED,
            RunError::Commit(Stop::Config(_)) | RunError::Open(_) | RunError::Sizes(_) => exit::CONFIG,
            _ => exit::FAILED,
        };
        Self { code, text: error.to_string() }
    }
}
