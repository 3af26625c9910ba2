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

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
