use millstream_engine::ports::StateError;
use std::io;
use std::path::Path;

/// Why the directory of a pipeline or a checkpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process has the directory; nobody was disturbed.
    #[error(
        "pipeline `{id}` is already running as process {pid}, which holds `{path}`: end that process first, or give this pipeline another `id`"
    )]
    Running {
        /// The pipeline.
        id: String,
        /// The process that holds the lock, as far as it is known.
        pid: String,
        /// The directory.
        path: String,
    },
    /// The directory is not this pipeline's.
    #[error("`{path}` belongs to {owner}, not to {asked}: set `state.dir` to another directory, or {remedy}")]
    Foreign {
        /// The directory.
        path: String,
        /// Whose it is.
        owner: String,
        /// Who asked for it.
        asked: String,
        /// What else can be done.
        remedy: String,
    },
    /// The file system refused.
    #[error("cannot {doing} `{path}`: {reason}; {remedy}")]
    Disk {
        /// What was to be done.
        doing: &'static str,
        /// With what.
        path: String,
        /// What the system says.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The name of a directory cannot be used.
    #[error("`{path}` cannot be a state directory: {reason}")]
    Path {
        /// The directory.
        path: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The store cannot go on.
    #[error(transparent)]
    Store(#[from] StateError),
    /// There is no such checkpoint, or it is not complete.
    #[error("there is no checkpoint in `{location}`: {reason}")]
    NoCheckpoint {
        /// Where it was looked for.
        location: String,
        /// What was found instead, and what to do.
        reason: String,
    },
    /// A checkpoint is not what it was when it was taken.
    #[error(
        "checkpoint `{location}` is damaged: {reason}; nothing was changed. Use another one: `millstream checkpoint list` shows them"
    )]
    Damaged {
        /// The checkpoint.
        location: String,
        /// Which file, and how.
        reason: String,
    },
    /// A checkpoint of a newer Millstream.
    #[error(
        "checkpoint `{location}` has format {format}, this Millstream reads up to format {known}: use version {version} or a newer one"
    )]
    Newer {
        /// The checkpoint.
        location: String,
        /// Its format.
        format: u32,
        /// The newest format this version reads.
        known: u32,
        /// The version that wrote it.
        version: String,
    },
    /// A restore would go over something.
    #[error(
        "`{path}` holds a store that is not at the checkpoint's commit: start without `--from-checkpoint` to go on with it, or move the state directory away first"
    )]
    NotEmpty {
        /// The store that is there.
        path: String,
    },
    /// Where checkpoints lie cannot be reached.
    #[error("checkpoints in `{location}`: cannot {doing}: {reason}")]
    Objects {
        /// Where they lie.
        location: String,
        /// What was to be done.
        doing: String,
        /// What the object store says.
        reason: String,
    },
}

impl Error {
    /// The file system refused to do something with a path.
    pub(crate) fn disk(doing: &'static str, path: &Path, cause: &io::Error) -> Self {
        Self::Disk { doing, path: path.display().to_string(), reason: cause.to_string(), remedy: remedy(cause.kind()) }
    }
}

impl From<Error> for StateError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error,
            Error::Running { ref path, .. }
            | Error::Foreign { ref path, .. }
            | Error::Disk { ref path, .. }
            | Error::Path { ref path, .. }
            | Error::NotEmpty { ref path } => Self { path: path.clone(), reason: error.to_string() },
            Error::NoCheckpoint { ref location, .. }
            | Error::Damaged { ref location, .. }
            | Error::Newer { ref location, .. }
            | Error::Objects { ref location, .. } => Self { path: location.clone(), reason: error.to_string() },
        }
    }
}

/// What a person does about it.
fn remedy(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Kind;
    match kind {
        Kind::PermissionDenied => "give this user the right to write there, or set `state.dir` to another directory",
        Kind::ReadOnlyFilesystem => "the file system is mounted read-only: set `state.dir` to one that can be written",
        Kind::StorageFull | Kind::QuotaExceeded => {
            "free some space and start again: nothing that was committed is lost"
        }
        Kind::InvalidFilename => "the path is too long: set `state.dir` to a shorter one",
        Kind::NotADirectory => "a part of the path is a file: set `state.dir` to a directory",
        Kind::NotFound => "a part of the path is not there: set `state.dir` to a directory that exists or can be made",
        _ => "check the disk, or set `state.dir` to another directory",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_disk_says_what_to_do() {
        let said = |kind: io::ErrorKind| Error::disk("write", Path::new("/state/lock"), &kind.into()).to_string();
        assert!(
            said(io::ErrorKind::StorageFull)
                .ends_with("free some space and start again: nothing that was committed is lost")
        );
        assert!(said(io::ErrorKind::ReadOnlyFilesystem).ends_with("set `state.dir` to one that can be written"));
        assert!(said(io::ErrorKind::PermissionDenied).contains("give this user the right to write there"));
        assert!(said(io::ErrorKind::InvalidFilename).ends_with("set `state.dir` to a shorter one"));
        assert!(said(io::ErrorKind::PermissionDenied).starts_with("cannot write `/state/lock`: permission denied; "));
    }
}
