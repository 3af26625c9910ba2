use millstream_engine::ports::{SinkError, SourceError};
use std::path::{Path, PathBuf};

/// Why a source or sink of this crate cannot go on. The ports carry its text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {what} `{}`: {reason}; {}", path.display(), remedy(reason))]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A path or pattern stands for no file.
    #[error(
        "no file matches `{pattern}`: check `path`; of a directory only files directly in it are read, and none whose name begins with a dot"
    )]
    NoFile {
        /// As given.
        pattern: String,
    },
    /// A pattern is not understood.
    #[error(
        "`{pattern}` has a wildcard in the name of a directory; `*` and `?` may stand in the last part of `path` only"
    )]
    Pattern {
        /// As given.
        pattern: String,
    },
    /// Something that is neither file nor directory.
    #[error("`{}` is not a regular file: read a pipe by `stdin`, and name files in `file`", path.display())]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// Two files cannot be told apart.
    #[error("`{}` and `{}` cannot be told apart: files of one source are known by the last part of their path; rename one, or read it in a source of its own", one.display(), other.display())]
    Ambiguous {
        /// A file.
        one: PathBuf,
        /// The other file.
        other: PathBuf,
    },
    /// The newest commit names a file that is gone.
    #[error(
        "the file of partition {partition}, read up to byte {offset} at the newest commit, is not in `{pattern}` any more, and nobody can tell whether it was read to its end: put it back, or set `missing_file: skip`, or begin anew with `millstream reset`"
    )]
    Missing {
        /// Its number.
        partition: i32,
        /// Position of the newest commit.
        offset: i64,
        /// Where it was searched.
        pattern: String,
    },
    /// The file is shorter than what was read of it.
    #[error("`{}` has {length} bytes and had been read up to byte {offset}: it was truncated or replaced; put the file back, give the new one another name, or begin anew with `millstream reset`", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
        /// Position of the commit, or of the last poll.
        offset: i64,
    },
    /// The file is another one than that which was read.
    #[error("`{}` is not the file that was read up to byte {offset} ({sign}): put the file back, give the new one another name, or begin anew with `millstream reset`", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
        /// Position of the commit, or of the last poll.
        offset: i64,
        /// What gives it away.
        sign: &'static str,
    },
    /// A line is too long.
    #[error("the line at byte {offset} of `{}` has more than {limit} bytes: raise `record_bytes_max`, or check that the file has lines", path.display())]
    LongLine {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        offset: i64,
        /// Setting `record_bytes_max`.
        limit: usize,
    },
    /// A setting that is not a JSON pointer.
    #[error(
        "`{pointer}` is no JSON pointer (RFC 6901): it begins with `/`, as in `/user/id`; `~` is written `~0`, and `/` in a name `~1`"
    )]
    Pointer {
        /// As given.
        pointer: String,
    },
    /// A commit names a position that the source cannot have.
    #[error(
        "the newest commit has partition {partition} at {offset}, which cannot be with the present `partitions: {partitions}`: set it to what it was, give the source another id, or begin anew with `millstream reset`"
    )]
    Position {
        /// Number of the partition.
        partition: i32,
        /// Position of the commit.
        offset: i64,
        /// As set now.
        partitions: u32,
    },
    /// A value would be read back as several lines.
    #[error(
        "a value has a newline within (record from offset {offset} of its source) and `format: lines` has no way to write it: use `format: json_lines`"
    )]
    Newline {
        /// Offset of the record that it was made of.
        offset: i64,
    },
    /// The sink's file has content that no commit of the pipeline knows.
    #[error("`{}` has {length} bytes and no commit of this pipeline names it: it may be somebody else's; move it away, or name another file in `file`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// Committed output is gone.
    #[error("`{}` has {length} bytes and {committed} are committed: committed records are gone; put the file back, or begin anew with `millstream reset`", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
        /// Length in the newest commit.
        committed: u64,
    },
    /// Another process or sink writes the file.
    #[error("`{}` is being written by another process or sink: a file has one writer; stop the other one, or name another file in `file`", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is not known what of the file is on disk.
    #[error("`{}` must not be written any more after `{before}`: check the disk and start again; what is not committed is cut off then", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
        /// What had happened.
        before: String,
    },
    /// Standard input or output failed.
    #[error("standard {stream} failed: {reason}")]
    Standard {
        /// `input` or `output`.
        stream: &'static str,
        /// What the system says.
        reason: String,
    },
}

fn remedy(reason: &std::io::Error) -> &'static str {
    match reason.kind() {
        std::io::ErrorKind::NotFound => "check `path` (relative paths begin where millstream was started)",
        std::io::ErrorKind::PermissionDenied => "give the user that runs millstream the right to it",
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "make room on the disk",
        _ => "check the file and the disk",
    }
}

impl Error {
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |reason| Self::Io { what, path: path.to_owned(), reason }
    }

    pub(crate) fn of_source(self, source_id: &str) -> SourceError {
        SourceError { source_id: source_id.to_owned(), reason: self.to_string() }
    }

    pub(crate) fn of_sink(self, sink: &str) -> SinkError {
        SinkError { sink: sink.to_owned(), reason: self.to_string() }
    }
}
