//! Identifiers: newtypes, so that one is never taken for another.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// As a position in a list.
            #[must_use]
            pub fn at(self) -> usize {
                self.0 as usize
            }
        }
    };
}

number!(
    /// Position of a source in the plan.
    SourceIndex(u16)
);
number!(
    /// Position of an operator in the plan.
    OperatorIndex(u16)
);
number!(
    /// Position of a sink in the plan.
    SinkIndex(u16)
);
number!(
    /// Position of a source partition in the list of all partitions that a pipeline reads.
    PartitionIndex(u32)
);
number!(
    /// Number of an epoch; rises by one from commit to commit within a lineage.
    EpochNumber(u64)
);
number!(
    /// Number of a process's run within a lineage; rises by one per start.
    Incarnation(u64)
);
number!(
    /// Version of an operator's module that runs; rises by one per switch.
    Generation(u64)
);

/// A history of a pipeline: made at the first start or by `millstream reset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lineage(pub [u8; 16]);

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names one commit: which history, which run, which epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The history.
    pub lineage: Lineage,
    /// The run that made the commit.
    pub incarnation: Incarnation,
    /// The epoch it ends.
    pub epoch: EpochNumber,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lineage = self.lineage.to_string();
        write!(f, "{}/{}/{}", lineage.get(..8).unwrap_or(&lineage), self.incarnation, self.epoch)
    }
}

/// sha256 of a module's bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Without the name of the hash in front.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads `sha256:` and 64 hexadecimal digits, or the digits alone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest([0xab; 32]);
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::parse(&digest.hex()), Some(digest));
        let signs = "+1".repeat(32);
        for bad in ["", "sha256:", "sha256:ab", &"g".repeat(64), &"a".repeat(65), signs.as_str()] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
