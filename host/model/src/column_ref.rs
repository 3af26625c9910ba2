//! A column that lies in somebody else's memory.

use crate::column::{BytesColumn, ColumnError};

/// A borrowed, not yet checked [`BytesColumn`]: how columns arrive from a guest, read in place.
#[derive(Debug, Clone, Copy)]
pub struct ColumnRef<'a> {
    /// End of each value.
    pub ends: &'a [u32],
    /// The values, end to end.
    pub bytes: &'a [u8],
    /// Rows without a value, ascending.
    pub absent: &'a [u32],
}

impl<'a> ColumnRef<'a> {
    /// Checks the rules of the layout.
    ///
    /// # Errors
    /// When one is broken: rows would overlap or lie outside the bytes.
    pub fn check(self) -> Result<CheckedColumn<'a>, ColumnError> {
        let mut before = 0;
        for (row, &end) in self.ends.iter().enumerate() {
            if end < before {
                return Err(ColumnError::Descending { row: row as u32 });
            }
            before = end;
        }
        if before as usize != self.bytes.len() {
            return Err(ColumnError::Length { end: before, bytes: self.bytes.len() });
        }
        let column = CheckedColumn(self);
        let mut next = 0;
        for &row in self.absent {
            if row < next || row as usize >= self.ends.len() || !column.slice(row).is_empty() {
                return Err(ColumnError::Absent { row });
            }
            next = row + 1;
        }
        Ok(column)
    }
}

/// A borrowed column that keeps the rules.
#[derive(Debug, Clone, Copy)]
pub struct CheckedColumn<'a>(ColumnRef<'a>);

impl<'a> CheckedColumn<'a> {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// Bytes of all values together.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.0.bytes.len()
    }

    #[inline]
    fn slice(&self, row: u32) -> &'a [u8] {
        let end = self.0.ends.get(row as usize).map_or(0, |&end| end as usize);
        let start =
            row.checked_sub(1).and_then(|before| self.0.ends.get(before as usize)).map_or(0, |&end| end as usize);
        self.0.bytes.get(start..end).unwrap_or_default()
    }

    /// The value of a row; `None` if absent.
    #[must_use]
    #[inline]
    pub fn get(&self, row: u32) -> Option<&'a [u8]> {
        let value = self.slice(row);
        let present = !value.is_empty() || self.0.absent.is_empty() || self.0.absent.binary_search(&row).is_err();
        present.then_some(value)
    }

    /// Length of a row's value in bytes, 0 if absent.
    #[must_use]
    #[inline]
    pub fn value_len(&self, row: u32) -> usize {
        self.slice(row).len()
    }

    /// Appends all rows to a column.
    pub fn append_to(&self, column: &mut BytesColumn) {
        column.append_parts(self.0.ends, self.0.bytes, self.0.absent);
    }
}

impl BytesColumn {
    /// The column as a borrowed one.
    #[must_use]
    pub fn as_checked(&self) -> CheckedColumn<'_> {
        CheckedColumn(ColumnRef { ends: self.ends(), bytes: self.bytes(), absent: self.absent() })
    }
}
