//! Columns: one list per field, one entry per row.

/// Byte values laid end to end; value `i` is `bytes[ends[i - 1] .. ends[i]]`. Rows in `absent` have no value, as opposed to an empty one.
///
/// The layout is that of `bytes-column` in `wit/operator/types.wit`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BytesColumn {
    ends: Vec<u32>,
    bytes: Vec<u8>,
    absent: Vec<u32>,
}

/// Why parts do not make a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// An end lies before the end of the row before.
    #[error("the end of row {row} lies before that of the row before")]
    Descending {
        /// The row at fault.
        row: u32,
    },
    /// The last end is not the length of the bytes.
    #[error("the last row ends at {end}, the column has {bytes} bytes")]
    Length {
        /// End of the last row, in bytes.
        end: u32,
        /// Bytes of the column.
        bytes: usize,
    },
    /// An absent row does not exist, repeats, descends, or has bytes.
    #[error("absent row {row} does not exist, is out of order, or has bytes")]
    Absent {
        /// The row at fault.
        row: u32,
    },
}

impl BytesColumn {
    /// Makes a column of parts that came from outside.
    ///
    /// # Errors
    /// When the parts break a rule of the layout; the column would have rows that overlap or lie outside its bytes.
    pub fn from_parts(ends: Vec<u32>, bytes: Vec<u8>, absent: Vec<u32>) -> Result<Self, ColumnError> {
        crate::column_ref::ColumnRef { ends: &ends, bytes: &bytes, absent: &absent }.check()?;
        Ok(Self { ends, bytes, absent })
    }

    /// Ends, bytes and absent rows, for somebody who lends them out and gives the memory back with `from_parts`.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u32>, Vec<u8>, Vec<u32>) {
        (self.ends, self.bytes, self.absent)
    }

    /// Number of rows.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all values together.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Ends of the rows, in bytes.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The values, end to end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Rows without a value, ascending.
    #[must_use]
    pub fn absent(&self) -> &[u32] {
        &self.absent
    }

    #[inline]
    fn start(&self, row: u32) -> usize {
        match row.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before as usize).map_or(self.bytes.len(), |&end| end as usize),
        }
    }

    #[inline]
    fn slice(&self, row: u32) -> &[u8] {
        let end = self.ends.get(row as usize).map_or(0, |&end| end as usize);
        self.bytes.get(self.start(row)..end).unwrap_or_default()
    }

    /// The value of a row; `None` if it is absent or there is no such row.
    #[must_use]
    #[inline]
    pub fn get(&self, row: u32) -> Option<&[u8]> {
        let value = self.slice(row);
        if !value.is_empty() {
            return Some(value);
        }
        let there = (row as usize) < self.ends.len();
        (there && (self.absent.is_empty() || self.absent.binary_search(&row).is_err())).then_some(value)
    }

    /// Length of a row's value in bytes, 0 if absent.
    #[must_use]
    #[inline]
    pub fn value_len(&self, row: u32) -> usize {
        self.slice(row).len()
    }

    /// Appends a row.
    #[inline]
    pub fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes.extend_from_slice(value),
            None => self.absent.push(self.ends.len() as u32),
        }
        self.ends.push(self.bytes.len() as u32);
    }

    /// Appends a present row whose bytes `write` appends.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    /// Appends all rows of another column.
    pub fn append(&mut self, other: &Self) {
        self.append_parts(&other.ends, &other.bytes, &other.absent);
    }

    pub(crate) fn append_parts(&mut self, ends: &[u32], bytes: &[u8], absent: &[u32]) {
        let (rows, base) = (self.ends.len() as u32, self.bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self.ends.extend(ends.iter().map(|&end| base + end));
        self.absent.extend(absent.iter().map(|&row| rows + row));
    }

    /// Appends the given rows of another column, in the given order.
    pub fn gather(&mut self, from: &Self, rows: &[u32]) {
        if rows.len() == from.len() && rows.iter().enumerate().all(|(at, &row)| at as u32 == row) {
            return self.append(from);
        }
        self.ends.reserve(rows.len());
        if from.absent.is_empty() {
            for &row in rows {
                self.bytes.extend_from_slice(from.slice(row));
                self.ends.push(self.bytes.len() as u32);
            }
        } else {
            for &row in rows {
                self.push(from.get(row));
            }
        }
    }

    /// Drops all rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |&end| end as usize));
        self.absent.truncate(self.absent.partition_point(|&row| (row as usize) < rows));
    }

    /// Drops all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
        self.absent.clear();
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut start = 0;
        let mut absent = self.absent.iter().peekable();
        self.ends.iter().enumerate().map(move |(row, &end)| {
            let value = self.bytes.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            let is_absent = value.is_empty() && absent.next_if(|&&absent| absent as usize == row).is_some();
            (!is_absent).then_some(value)
        })
    }

    /// Makes room for so many more rows with so many bytes together.
    pub fn reserve(&mut self, rows: usize, bytes: usize) {
        self.ends.reserve(rows);
        self.bytes.reserve(bytes);
    }
}

impl<'a> FromIterator<Option<&'a [u8]>> for BytesColumn {
    fn from_iter<T: IntoIterator<Item = Option<&'a [u8]>>>(values: T) -> Self {
        let mut column = Self::default();
        for value in values {
            column.push(value);
        }
        column
    }
}

/// What the lengths of a header's name and value take at most: two numbers of five bytes (KIP-98).
pub const HEADER_FRAME_BYTES: usize = 10;

/// Headers of many records in their order; a name may repeat within a record.
///
/// The layout is that of `headers-column` in `wit/operator/types.wit`: one entry per header, `rows` says whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadersColumn {
    /// The row each header belongs to, never descending.
    pub rows: Vec<u32>,
    /// Names, UTF-8 by Kafka's custom, never absent.
    pub names: BytesColumn,
    /// Values; may be absent.
    pub values: BytesColumn,
}

impl HeadersColumn {
    /// Whether no record has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Appends a header of `row`, which must not lie before the last one's row.
    pub fn push(&mut self, row: u32, name: &[u8], value: Option<&[u8]>) {
        self.rows.push(row);
        self.names.push(Some(name));
        self.values.push(value);
    }

    /// The entries of a row, as a range of positions.
    #[must_use]
    pub fn range(&self, row: u32) -> std::ops::Range<usize> {
        self.rows.partition_point(|&r| r < row)..self.rows.partition_point(|&r| r <= row)
    }

    /// Names and values of a row, in order.
    pub fn of(&self, row: u32) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.range(row).map(|at| (self.names.get(at as u32).unwrap_or_default(), self.values.get(at as u32)))
    }

    /// Bytes of the names and values of a row.
    #[must_use]
    pub fn bytes_of(&self, row: u32) -> usize {
        self.of(row).map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum()
    }

    /// Bytes of a row's headers as Kafka lays them out, at most: names, values, and the lengths before them.
    #[must_use]
    pub fn framed_bytes_of(&self, row: u32) -> usize {
        self.of(row).map(|(name, value)| HEADER_FRAME_BYTES + name.len() + value.map_or(0, <[u8]>::len)).sum()
    }

    /// Appends all headers of another column, whose first row becomes row `first`.
    pub fn append(&mut self, from: &Self, first: u32) {
        self.rows.extend(from.rows.iter().map(|&row| first + row));
        self.names.append(&from.names);
        self.values.append(&from.values);
    }

    /// Appends the headers of the given rows of `from`; the first becomes row `first`, the next `first + 1`, …
    pub fn gather(&mut self, from: &Self, rows: &[u32], first: u32) {
        if from.is_empty() {
            return;
        }
        for (at, &row) in rows.iter().enumerate() {
            for (name, value) in from.of(row) {
                self.push(first + at as u32, name, value);
            }
        }
    }

    /// Drops all headers of rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let keep = self.rows.partition_point(|&row| (row as usize) < rows);
        self.rows.truncate(keep);
        self.names.truncate(keep);
        self.values.truncate(keep);
    }

    /// Drops all headers and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.names.clear();
        self.values.clear();
    }
}

#[cfg(test)]
mod tests;
