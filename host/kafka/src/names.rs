//! Names of a pipeline's own topics, and where cells lie in them.

use millstream_model::cell;

/// Partitions of a changelog, fixed when it is made.
pub const CHANGELOG_PARTITIONS: u32 = 8;

/// The topic of commit records.
#[must_use]
pub fn commits_topic(id: &str) -> String {
    format!("{id}.commits")
}

/// The topic of changed cells.
#[must_use]
pub fn changelog_topic(id: &str, number: u32) -> String {
    format!("{id}.changelog.{number}")
}

/// The topic of operators' modules.
#[must_use]
pub fn modules_topic(id: &str) -> String {
    format!("{id}.modules")
}

/// The changelog partition of a cell: that of its key group's range.
#[must_use]
pub(crate) fn changelog_partition(cell_key: &[u8]) -> i32 {
    cell::read_key(cell_key).map_or(0, |key| key.group.part_of(CHANGELOG_PARTITIONS) as i32)
}
