//! What is done with a batch, whatever the way its effects take to the host.

/// Byte values laid end to end, as in the contract.
#[derive(Default)]
pub(crate) struct Column {
    pub(crate) ends: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) absent: Vec<u32>,
}

impl Column {
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as u32);
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let value = &self.bytes[start..end as usize];
            start = end as usize;
            value
        })
    }
}

/// Which of four operators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Forwards every record.
    Identity,
    /// Forwards every second record.
    Filter,
    /// Counts per key.
    Count,
    /// Emits the words of each value, each as a key.
    Split,
}

/// Effects of a call: one emission at most, and new values for key rows.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) parents: Vec<u32>,
    pub(crate) keys: Option<Column>,
    pub(crate) values: Option<Column>,
    pub(crate) put: Option<(Vec<u32>, Column)>,
}

/// Processes a batch: a key row for each record, their values, and the state of each key row.
pub(crate) fn process(work: Work, key_rows: &[u32], values: &Column, seen: &Column) -> Effects {
    let rows = 0..key_rows.len() as u32;
    match work {
        Work::Identity => Effects { parents: rows.collect(), ..Effects::default() },
        Work::Filter => Effects { parents: rows.filter(|row| row % 2 == 0).collect(), ..Effects::default() },
        Work::Count => count(key_rows, seen),
        Work::Split => split(values),
    }
}

fn count(key_rows: &[u32], seen: &Column) -> Effects {
    let mut counts: Vec<u64> = seen.values().map(|bytes| bytes.try_into().map_or(0, u64::from_be_bytes)).collect();
    let mut emitted = Column::default();
    for &key_row in key_rows {
        let count = &mut counts[key_row as usize];
        *count += 1;
        emitted.push(&count.to_be_bytes());
    }
    let mut put = Column::default();
    counts.iter().for_each(|count| put.push(&count.to_be_bytes()));
    Effects {
        parents: (0..key_rows.len() as u32).collect(),
        values: Some(emitted),
        put: Some(((0..counts.len() as u32).collect(), put)),
        ..Effects::default()
    }
}

fn split(values: &Column) -> Effects {
    let (mut parents, mut words, mut ones) = (Vec::new(), Column::default(), Column::default());
    for (row, value) in (0..).zip(values.values()) {
        for word in value.split(|&byte| byte == b' ').filter(|word| !word.is_empty()) {
            parents.push(row);
            words.push(word);
            ones.push(b"1");
        }
    }
    Effects { parents, keys: Some(words), values: Some(ones), put: None }
}
