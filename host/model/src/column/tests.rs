#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::column_ref::ColumnRef;
use crate::record::{Origin, RecordBatch};
use proptest::prelude::*;

type Values = Vec<Option<Vec<u8>>>;
/// A header: name and value.
type Header = (Vec<u8>, Option<Vec<u8>>);

fn values() -> impl Strategy<Value = Values> {
    prop::collection::vec(prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..6)), 0..20)
}

fn headers() -> impl Strategy<Value = Vec<Vec<Header>>> {
    let header = (prop::collection::vec(b'a'..=b'z', 0..3), prop::option::of(prop::collection::vec(any::<u8>(), 0..3)));
    prop::collection::vec(prop::collection::vec(header, 0..3), 0..10)
}

fn column(values: &[Option<Vec<u8>>]) -> BytesColumn {
    values.iter().map(Option::as_deref).collect()
}

fn headers_column(rows: &[Vec<Header>]) -> HeadersColumn {
    let mut column = HeadersColumn::default();
    for (row, headers) in rows.iter().enumerate() {
        headers.iter().for_each(|(name, value)| column.push(row as u32, name, value.as_deref()));
    }
    column
}

/// The headers of each row, as a list again.
fn listed(column: &HeadersColumn, rows: usize) -> Vec<Vec<Header>> {
    let of = |row| column.of(row).map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
    (0..rows as u32).map(of).collect()
}

/// A batch whose every field tells its rows apart.
fn batch(values: &[Option<Vec<u8>>]) -> RecordBatch {
    let mut batch = RecordBatch::default();
    for (row, value) in values.iter().enumerate() {
        let key = (row % 3 > 0).then(|| vec![row as u8; row % 3]);
        batch.push(key.as_deref(), value.as_deref(), row as i64, Origin { offset: row as i64, ..Origin::default() });
        (0..row % 3).for_each(|at| batch.headers.push(row as u32, &[b'a' + at as u8], value.as_deref()));
    }
    batch
}

fn rows_of(values: &Values, picks: &[prop::sample::Index]) -> Vec<u32> {
    if values.is_empty() { Vec::new() } else { picks.iter().map(|pick| pick.index(values.len()) as u32).collect() }
}

proptest! {
    #[test]
    fn a_column_is_a_list_of_optional_bytes(values in values()) {
        let column = column(&values);
        prop_assert_eq!((column.len(), column.is_empty()), (values.len(), values.is_empty()));
        prop_assert_eq!(column.bytes_len(), values.iter().flatten().map(Vec::len).sum::<usize>());
        prop_assert!(column.iter().eq(values.iter().map(Option::as_deref)));
        for (row, value) in values.iter().enumerate() {
            prop_assert_eq!(column.get(row as u32), value.as_deref());
            prop_assert_eq!(column.value_len(row as u32), value.as_ref().map_or(0, Vec::len));
            prop_assert_eq!(column.as_checked().get(row as u32), value.as_deref());
        }
        prop_assert_eq!(column.get(values.len() as u32), None);
        let parts = (column.ends().to_vec(), column.bytes().to_vec(), column.absent().to_vec());
        prop_assert_eq!(BytesColumn::from_parts(parts.0, parts.1, parts.2), Ok(column));
    }

    #[test]
    fn columns_append_gather_and_truncate_like_lists(
        left in values(), right in values(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        keep in 0usize..25,
    ) {
        let rows = rows_of(&right, &picks);
        let gathered: Values = rows.iter().map(|&row| right.get(row as usize).unwrap().clone()).collect();
        let mut appended = column(&left);
        appended.append(&column(&right));
        prop_assert_eq!(&appended, &column(&[left.clone(), right.clone()].concat()));
        let mut lent = column(&left);
        column(&right).as_checked().append_to(&mut lent);
        prop_assert_eq!(&lent, &appended);
        let mut picked = column(&left);
        picked.gather(&column(&right), &rows);
        prop_assert_eq!(&picked, &column(&[left.clone(), gathered].concat()));
        let all: Vec<u32> = (0..right.len() as u32).collect();
        let mut whole = column(&left);
        whole.gather(&column(&right), &all);
        prop_assert_eq!(&whole, &appended);
        appended.truncate(keep);
        let both = [left, right].concat();
        prop_assert_eq!(&appended, &column(both.get(..keep).unwrap_or(&both)));
    }

    #[test]
    fn noise_is_refused_or_is_a_column(
        ends in prop::collection::vec(0u32..9, 0..6), len in 0usize..9, absent in prop::collection::vec(0u32..7, 0..4),
    ) {
        let bytes = vec![7; len];
        let good = ends.is_sorted() && ends.last().map_or(0, |&end| end as usize) == len
            && absent.is_sorted_by(|a, b| a < b)
            && absent.iter().all(|&row| {
                let start = row.checked_sub(1).map_or(Some(&0), |before| ends.get(before as usize));
                start.is_some() && ends.get(row as usize) == start
            });
        let checked = ColumnRef { ends: &ends, bytes: &bytes, absent: &absent }.check();
        prop_assert_eq!(checked.is_ok(), good, "{:?}", checked);
        if let Ok(checked) = checked {
            let rows = (0..ends.len() as u32).map(|row| checked.get(row));
            prop_assert_eq!(rows.flatten().map(<[u8]>::len).sum::<usize>(), len);
        }
    }

    #[test]
    fn headers_are_a_list_for_each_row(
        left in headers(), right in headers(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..8), keep in 0usize..12,
    ) {
        let mut column = headers_column(&left);
        prop_assert_eq!(listed(&column, left.len()), left.clone());
        column.append(&headers_column(&right), left.len() as u32);
        let both = [left.clone(), right.clone()].concat();
        prop_assert_eq!(&column, &headers_column(&both));
        column.truncate(keep);
        prop_assert_eq!(column, headers_column(both.get(..keep).unwrap_or(&both)));
        let rows: Vec<usize> =
            if right.is_empty() { Vec::new() } else { picks.iter().map(|pick| pick.index(right.len())).collect() };
        let gathered: Vec<_> = rows.iter().map(|&row| right.get(row).unwrap().clone()).collect();
        let mut column = headers_column(&left);
        let rows: Vec<u32> = rows.into_iter().map(|row| row as u32).collect();
        column.gather(&headers_column(&right), &rows, left.len() as u32);
        prop_assert_eq!(column, headers_column(&[left, gathered].concat()));
    }

    #[test]
    fn batches_gather_and_append_row_by_row(
        values in values(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let from = batch(&values);
        let rows = rows_of(&values, &picks);
        let mut gathered = batch(&values);
        gathered.gather(&from, &rows);
        let mut appended = batch(&values);
        for &row in &rows {
            let mut one = RecordBatch::default();
            one.gather(&from, &[row]);
            prop_assert_eq!(one.bytes_len(), from.row_bytes(row));
            prop_assert_eq!(one.framed_bytes_len(), from.framed_bytes(row));
            appended.append(&one);
        }
        prop_assert_eq!(&gathered, &appended);
        for (at, &row) in (values.len() as u32..).zip(&rows) {
            prop_assert_eq!(gathered.keys.get(at), from.keys.get(row));
            prop_assert_eq!(gathered.timestamps_ms.get(at as usize), from.timestamps_ms.get(row as usize));
            prop_assert_eq!(gathered.origins.get(at as usize), from.origins.get(row as usize));
            prop_assert!(gathered.headers.of(at).eq(from.headers.of(row)));
        }
    }
}
