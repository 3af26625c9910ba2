use millstream_model::column::BytesColumn;

/// Changed cells of an epoch: the last value of each, absent for removed ones. See `millstream_model::cell` for the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Keys of cells; none twice within a set.
    pub keys: BytesColumn,
    /// Values of cells; absent removes the cell.
    pub values: BytesColumn,
}

impl ChangeSet {
    /// Number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.keys.bytes_len() + self.values.bytes_len()
    }

    /// Of changes in the order they were made, the last of each key.
    #[must_use]
    pub fn newest(keys: &BytesColumn, values: &BytesColumn) -> Self {
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_by(|a, b| keys.get(*a).cmp(&keys.get(*b)));
        let last = order.iter().zip(order.iter().skip(1).map(Some).chain([None]));
        let last = last.filter(|(row, next)| next.is_none_or(|next| keys.get(*next) != keys.get(**row)));
        let rows: Vec<u32> = last.map(|(row, _)| *row).collect();
        let mut newest = Self::default();
        newest.keys.gather(keys, &rows);
        newest.values.gather(values, &rows);
        newest
    }
}

/// Facts stored beside the cells, by constant names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meta {
    /// The encoded commit record up to which the cells are the fold of all commits.
    Applied,
    /// The encoded open record of the last run that wrote here.
    Open,
    /// Present while a restore fills the store: its cells are no fold of anything yet.
    Restoring,
}

/// Which cells are shown, and from which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CellRange<'a> {
    /// Key of the first cell, or what comes before it.
    pub start: &'a [u8],
    /// What the keys of all cells come before; none for no end.
    pub end: Option<&'a [u8]>,
    /// Whether the cell with the highest key is first.
    pub descending: bool,
}

/// The lowest key after all that begin with `prefix`; none if no key is.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let (last, head) = prefix.iter().rposition(|&byte| byte < 0xff).and_then(|at| prefix.get(..=at)?.split_last())?;
    Some([head, &[last + 1]].concat())
}

/// Durable keyed state: the fold of all commits up to `applied`, nothing else.
pub trait StateBackend: Send + Sync {
    /// Appends the value of each cell to `values`, absent where there is none.
    ///
    /// # Errors
    /// When the store cannot be read; a failed read never becomes "absent".
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError>;

    /// Shows the cells of a range in byte order of their keys, or against it, until `visit` returns false.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn range(&self, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError>;

    /// Shows the cells whose keys begin with `prefix` and come after `after`, in byte order, until `visit` returns false.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StateError> {
        let after = after.filter(|after| *after >= prefix);
        let end = prefix_end(prefix);
        let range = CellRange { start: after.unwrap_or(prefix), end: end.as_deref(), descending: false };
        self.range(range, &mut |key, value| after == Some(key) || visit(key, value))
    }

    /// Writes cells and facts in one atomic batch; a fact with `None` is removed. With `sync` the batch is on disk when this returns.
    ///
    /// # Errors
    /// When it is not certain that the batch was written; the store must not be used again in this process.
    fn write(&self, changes: &[ChangeSet], meta: &[(Meta, Option<&[u8]>)], sync: bool) -> Result<(), StateError>;

    /// A fact.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StateError>;

    /// Removes everything, facts included: the way to begin a restore. Never called on a store that has `Applied` of this lineage.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn clear(&self) -> Result<(), StateError>;
}

/// Why the store cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state in `{path}`: {reason}")]
pub struct StateError {
    /// The directory of the store.
    pub path: String,
    /// What, why, and what to do.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_behind_it() {
        assert_eq!(prefix_end(b"ab").as_deref(), Some(b"ac".as_slice()));
        assert_eq!(prefix_end(b"a\xff\xff").as_deref(), Some(b"b".as_slice()));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }

    #[test]
    fn of_several_changes_of_a_key_the_last_is_kept() {
        let column = |texts: &[Option<&str>]| texts.iter().map(|text| text.map(str::as_bytes)).collect::<BytesColumn>();
        let keys = column(&[Some("b"), Some("a"), Some("b"), Some("c"), Some("b"), Some("a")]);
        let values = column(&[Some("1"), Some("2"), None, Some("3"), Some("4"), None]);
        let newest = ChangeSet::newest(&keys, &values);
        assert_eq!(newest.keys, column(&[Some("a"), Some("b"), Some("c")]));
        assert_eq!(newest.values, column(&[None, Some("4"), Some("3")]));
    }
}
