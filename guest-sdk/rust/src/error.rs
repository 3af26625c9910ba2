//! What an operator answers when it cannot go on with a record.

use std::fmt;

/// What went wrong, said as what the host should do about it.
///
/// It is no `std::error::Error` itself, so that `?` turns every error that is one into [`Error::Reject`]: a record whose JSON does
/// not parse is a bad record, and the next one may be fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The record in hand cannot be processed. All it did is undone, and it goes to the operator's error policy (dead letter, skip
    /// or stop); the batch goes on with the next record. The text is the reason, one line for a person.
    Reject(String),
    /// Something other than the record is at fault. The host stops the pipeline at the last commit and shows the text.
    Stop(String),
}

/// What operators return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that refuses the record in hand.
///
/// ```
/// use millstream_sdk::{Error, Result, reject};
/// fn share(part: u64, whole: u64) -> Result<u64> {
///     part.checked_div(whole).ok_or_else(|| reject("the whole is zero"))
/// }
/// assert_eq!(share(1, 0), Err(Error::Reject("the whole is zero".into())));
/// ```
pub fn reject(reason: impl Into<String>) -> Error {
    Error::Reject(reason.into())
}

/// An error that stops the pipeline, for what no record is to blame for.
pub fn stop(reason: impl Into<String>) -> Error {
    Error::Stop(reason.into())
}

impl Error {
    /// The text for a person.
    pub fn reason(&self) -> &str {
        match self {
            Self::Reject(reason) | Self::Stop(reason) => reason,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.reason())
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Reject(error.to_string())
    }
}
