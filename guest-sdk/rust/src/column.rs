//! Columns: the shape in which everything that repeats crosses the boundary.

use crate::Header;
use std::ops::Range;

/// Byte values laid end to end, some of them absent: `bytes-column` of the contract.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) ends: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) absent: Vec<u32>,
}

impl Column {
    fn range(&self, row: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(row)? as usize;
        let start = match row {
            0 => 0,
            row => *self.ends.get(row - 1)? as usize,
        };
        Some(start..end)
    }

    /// The value of a row; none if it is absent or there is no such row.
    pub(crate) fn get(&self, row: u32) -> Option<&[u8]> {
        let range = self.range(row as usize)?;
        if range.is_empty() && self.is_absent(row) {
            return None;
        }
        self.bytes.get(range)
    }

    fn is_absent(&self, row: u32) -> bool {
        !self.absent.is_empty() && self.absent.binary_search(&row).is_ok()
    }

    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => match <&[u8; 8]>::try_from(value) {
                // A counter, what many values are: a copy of fixed length is a store, one of unknown length a call out of the sandbox.
                Ok(number) => self.bytes.extend_from_slice(number),
                Err(_) => self.bytes.extend_from_slice(value),
            },
            None => self.absent.push(self.ends.len() as u32),
        }
        self.close();
    }

    /// Ends a value whose bytes were appended to `bytes` directly.
    pub(crate) fn close(&mut self) {
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |&end| end as usize));
        let kept = self.absent.partition_point(|&row| (row as usize) < rows);
        self.absent.truncate(kept);
    }

    pub(crate) fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
        self.absent.clear();
    }

    /// Whether this is a column of `rows` rows whose values cover its bytes. One look at its ends, not a pass over it.
    pub(crate) fn has_rows(&self, rows: usize) -> bool {
        self.ends.len() == rows && self.ends.last().map_or(0, |&end| end as usize) == self.bytes.len()
    }
}

/// Part of a range of a map: `entry-page` of the contract.
#[derive(Debug, Default)]
pub(crate) struct EntryPage {
    pub(crate) map_keys: Column,
    pub(crate) values: Column,
    pub(crate) more: bool,
}

/// Part of a list: `element-page` of the contract.
#[derive(Debug, Default)]
pub(crate) struct ElementPage {
    pub(crate) elements: Column,
    pub(crate) more: bool,
}

/// Headers of some rows: `headers-column` of the contract.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HeaderColumn {
    pub(crate) rows: Vec<u32>,
    pub(crate) names: Column,
    pub(crate) values: Column,
}

impl HeaderColumn {
    /// The headers of a row, in order.
    pub(crate) fn of(&self, row: u32) -> Headers<'_> {
        let first = self.rows.partition_point(|&other| other < row);
        let next = self.rows.partition_point(|&other| other <= row);
        Headers { column: self, entries: first as u32..next as u32 }
    }

    pub(crate) fn push(&mut self, row: u32, name: &str, value: Option<&[u8]>) {
        self.rows.push(row);
        self.names.push(Some(name.as_bytes()));
        self.values.push(value);
    }

    /// Forgets the headers of all rows from `row` on.
    pub(crate) fn truncate(&mut self, row: u32) {
        let kept = self.rows.partition_point(|&other| other < row);
        self.rows.truncate(kept);
        self.names.truncate(kept);
        self.values.truncate(kept);
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.names.clear();
        self.values.clear();
    }
}

/// The headers of a record: pairs of name and value, in order. A name may repeat, a value may be absent.
#[derive(Clone)]
pub struct Headers<'b> {
    column: &'b HeaderColumn,
    entries: Range<u32>,
}

impl<'b> Iterator for Headers<'b> {
    type Item = Header<'b>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        let name = self.column.names.get(entry).unwrap_or_default();
        // The contract says names are UTF-8; a host that breaks that gets a header nobody can ask for.
        Some((str::from_utf8(name).unwrap_or_default(), self.column.values.get(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[Option<&[u8]>]) -> Column {
        let mut column = Column::default();
        values.iter().for_each(|&value| column.push(value));
        column
    }

    #[test]
    fn empty_value_differs_from_absent() {
        let column = column(&[Some(b""), None, Some(b"x")]);
        assert_eq!(column.get(0), Some(&b""[..]));
        assert_eq!(column.get(1), None);
        assert_eq!(column.get(2), Some(&b"x"[..]));
        assert_eq!(column.get(3), None);
        assert!(column.has_rows(3) && !column.has_rows(2));
    }

    #[test]
    fn truncating_forgets_bytes_and_absence() {
        let whole = column(&[Some(b"ab"), None, Some(b"cd"), None]);
        for rows in 0..=4 {
            let mut cut = whole.clone();
            cut.truncate(rows);
            assert_eq!(cut.ends.len(), rows);
            cut.push(Some(b"z"));
            assert_eq!(cut.get(rows as u32), Some(&b"z"[..]));
            for row in 0..rows as u32 {
                assert_eq!(cut.get(row), whole.get(row));
            }
        }
    }

    #[test]
    fn headers_are_found_by_row() {
        let mut headers = HeaderColumn::default();
        headers.push(1, "a", Some(b"1"));
        headers.push(1, "a", None);
        headers.push(3, "b", Some(b""));
        let of = |row| headers.of(row).collect::<Vec<_>>();
        assert_eq!(of(0), []);
        assert_eq!(of(1), [("a", Some(&b"1"[..])), ("a", None)]);
        assert_eq!(of(3), [("b", Some(&b""[..]))]);
        headers.truncate(3);
        assert_eq!(headers.rows, [1, 1]);
    }
}
