//! Records as tests write and read them.

use crate::descriptor::Descriptor;
use std::fmt;

type Bytes = Vec<u8>;

/// A record to push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The key; none is a null key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Event time in milliseconds since 1970-01-01T00:00Z.
    pub timestamp_ms: i64,
    /// Headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The input it comes by; none is the operator's first.
    pub input: Option<String>,
}

/// A record that was emitted. Equal to a pair of texts if these are its key and value.
#[derive(Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The key; none is a null key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Event time in milliseconds since 1970-01-01T00:00Z.
    pub timestamp_ms: i64,
    /// Headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A record that was rejected. Equal to a pair of texts if these are its value and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Which of the pushed records, from 0.
    pub position: usize,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Why.
    pub reason: String,
    /// Set if it is no record, but a timer that fired at this step.
    pub timer: Option<Pending>,
}

/// A timer of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pending {
    /// The time it is set for, in milliseconds since 1970-01-01T00:00Z.
    pub time_ms: i64,
    /// Its name.
    pub timer: String,
    /// The id it was set with; 0 if it was set without.
    pub id: u64,
    /// Whose it is.
    pub key: Vec<u8>,
}

impl Message {
    /// A record with a key and a value, timestamp 0, no headers, for the first input.
    pub fn new(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(value.as_ref().to_vec()), ..Self::tombstone(key) }
    }

    /// A record without a value.
    pub fn tombstone(key: impl AsRef<[u8]>) -> Self {
        Self { key: Some(key.as_ref().to_vec()), ..Self::default() }
    }

    /// A record without a key.
    pub fn unkeyed(value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(value.as_ref().to_vec()), ..Self::default() }
    }

    /// The same with a timestamp.
    #[must_use]
    pub fn at(self, timestamp_ms: i64) -> Self {
        Self { timestamp_ms, ..self }
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// The same, coming by an input of this name.
    #[must_use]
    pub fn input(self, name: &str) -> Self {
        Self { input: Some(name.to_owned()), ..self }
    }

    /// The position of its input.
    pub(crate) fn input_of(&self, descriptor: &Descriptor) -> Option<u32> {
        let Some(name) = &self.input else {
            return Some(0);
        };
        let position = descriptor.inputs.iter().position(|port| port.name == *name)?;
        Some(position as u32)
    }
}

impl From<Emitted> for Message {
    fn from(Emitted { key, value, timestamp_ms, headers }: Emitted) -> Self {
        Self { key, value, timestamp_ms, headers, input: None }
    }
}

impl From<&Emitted> for Message {
    fn from(emitted: &Emitted) -> Self {
        emitted.clone().into()
    }
}

impl PartialEq<(&str, &str)> for Emitted {
    fn eq(&self, (key, value): &(&str, &str)) -> bool {
        self.key.as_deref() == Some(key.as_bytes()) && self.value.as_deref() == Some(value.as_bytes())
    }
}

impl PartialEq<(&str, &str)> for Rejected {
    fn eq(&self, (value, reason): &(&str, &str)) -> bool {
        self.value.as_deref() == Some(value.as_bytes()) && self.reason == *reason
    }
}

impl fmt::Debug for Emitted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "({}, {}) at {}", text(&self.key), text(&self.value), self.timestamp_ms)?;
        for (name, value) in &self.headers {
            write!(to, " {name}: {}", text(value))?;
        }
        Ok(())
    }
}

/// Bytes for a person: text where they are text.
pub(crate) fn text(bytes: &Option<Bytes>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) => match str::from_utf8(bytes) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("{bytes:?}"),
        },
    }
}
