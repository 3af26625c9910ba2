//! Kafka records as the tests see them.

/// One record, to be written or as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    /// Partition; when writing, -1 leaves the choice to the client (murmur2 of the key).
    pub partition: i32,
    /// Offset as read; without meaning when writing.
    pub offset: i64,
    /// Timestamp in milliseconds; when writing, -1 is the present.
    pub timestamp_ms: i64,
    /// Key, or null.
    pub key: Option<Vec<u8>>,
    /// Value, or null (a tombstone).
    pub value: Option<Vec<u8>>,
    /// Headers, in order, duplicates kept.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// A record to write: any partition, timestamp now, no headers.
    #[must_use]
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            partition: -1,
            offset: -1,
            timestamp_ms: -1,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// The same without a key.
    #[must_use]
    pub fn keyless(value: impl Into<Vec<u8>>) -> Self {
        Self { key: None, ..Self::new(Vec::new(), value) }
    }

    /// A tombstone: a key without a value.
    #[must_use]
    pub fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Self { value: None, ..Self::new(key, Vec::new()) }
    }

    /// Puts it on a partition.
    #[must_use]
    pub fn on(self, partition: i32) -> Self {
        Self { partition, ..self }
    }

    /// Gives it a timestamp.
    #[must_use]
    pub fn at(self, timestamp_ms: i64) -> Self {
        Self { timestamp_ms, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// The key as text, empty if it is null; for comparisons in tests.
    #[must_use]
    pub fn key_text(&self) -> String {
        text(self.key.as_deref())
    }

    /// The value as text, empty if it is null; for comparisons in tests.
    #[must_use]
    pub fn value_text(&self) -> String {
        text(self.value.as_deref())
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
