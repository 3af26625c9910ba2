//! Records as lines of text.

mod encode;
mod event_time;
mod pointer;

pub use event_time::EventTimeAt;
pub use pointer::Pointer;

pub(crate) use encode::encode;

/// How lines become records. A line ends with a newline, before which one carriage return is dropped; what is between is the record's value, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// Keys are null.
    #[default]
    Lines,
    /// Lines are JSON. A line that is not, or lacks what a pointer names, is a record all the same (with a null key, and the file's time), so that an operator
    /// can refuse it and it goes to the dead letters.
    JsonLines {
        /// Where the key is: the content of a string, the text of anything else; null is a null key.
        key: Option<Pointer>,
        /// Where the timestamp is, in milliseconds since 1970.
        timestamp: Option<Pointer>,
    },
}

/// How records become lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SinkFormat {
    /// The value and a newline; an absent value is an empty line. Values with a newline within are refused.
    #[default]
    Lines,
    /// `{"key":…,"value":…,"timestamp":…,"headers":[[name, value], …]}`; bytes are a string, or `{"base64":"…"}` if they are not UTF-8; absent is `null`.
    /// `headers` is left out where there are none.
    JsonLines,
}

/// Key and timestamp as found in a line.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Bytes of the key, if `has_key`.
    pub(crate) key: Vec<u8>,
    pub(crate) has_key: bool,
    pub(crate) timestamp_ms: Option<i64>,
    /// Whether the line is JSON and has all that was asked for.
    pub(crate) is_complete: bool,
}

impl LineFormat {
    /// Finds key and timestamp of a line.
    pub(crate) fn find(&self, line: &[u8], found: &mut Found) {
        found.has_key = false;
        found.timestamp_ms = None;
        found.is_complete = true;
        let Self::JsonLines { key, timestamp } = self else { return };
        // What is not UTF-8 is not JSON.
        let Ok(line) = std::str::from_utf8(line) else {
            found.is_complete = key.is_none() && timestamp.is_none();
            return;
        };
        if let Some(pointer) = key {
            match pointer.bytes(line, &mut found.key) {
                Some(has_key) => found.has_key = has_key,
                None => found.is_complete = false,
            }
        }
        if let Some(pointer) = timestamp {
            found.timestamp_ms = pointer.integer(line);
            found.is_complete &= found.timestamp_ms.is_some();
        }
    }
}
