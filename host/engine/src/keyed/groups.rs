use millstream_model::key_group::{KeyGroup, key_group};

/// Key groups of the keys that state lies under: those of the user's keys, which end before what the host has added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Bytes that the host adds to a key: the beginning of its window.
    pub(crate) tail_bytes: usize,
}

impl Groups {
    pub(crate) fn of(self, key: &[u8]) -> KeyGroup {
        let user_bytes = key.len().saturating_sub(self.tail_bytes);
        key_group(key.get(..user_bytes).unwrap_or_default())
    }
}
