use super::Cause;
use millstream_model::record::{Origin, RecordBatch};
use std::collections::HashMap;

/// Rows found to be poison in this process, so that a replay after a resolve finds them at once. A row is known by where it comes from and
/// by its place among the rows of that origin: one source record may have become many.
#[derive(Debug, Default)]
pub struct Verdicts {
    found: HashMap<(u16, Origin, u32), Why>,
}

#[derive(Debug, Clone)]
struct Why {
    reason: String,
    stderr: String,
}

/// A row refused before it is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The row.
    pub row: u32,
    /// Why it was refused the first time.
    pub cause: Cause<'a>,
}

/// Verdicts kept; beyond it poison is found anew.
const VERDICTS_MAX: usize = 100_000;

impl Verdicts {
    /// Whether nothing was found yet: the common case, which costs nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Remembers that an operator refused a row of a batch as it was delivered.
    pub fn remember(&mut self, operator: u16, batch: &RecordBatch, row: u32, cause: Cause<'_>) {
        if self.found.len() < VERDICTS_MAX
            && let Some((origin, ordinal)) = place(batch, row)
        {
            let why = Why { reason: cause.reason.to_owned(), stderr: cause.stderr.to_owned() };
            self.found.insert((operator, origin, ordinal), why);
        }
    }

    /// Rows of a batch as delivered that the operator refused before.
    #[must_use]
    pub fn known(&self, operator: u16, batch: &RecordBatch) -> Vec<Verdict<'_>> {
        let known = |row| {
            let (origin, ordinal) = place(batch, row)?;
            let Why { reason, stderr } = self.found.get(&(operator, origin, ordinal))?;
            Some(Verdict { row, cause: Cause { reason, stderr } })
        };
        (0..batch.len() as u32).filter_map(known).collect()
    }
}

/// A row's origin and its place among the neighbouring rows of that origin.
fn place(batch: &RecordBatch, row: u32) -> Option<(Origin, u32)> {
    let origin = *batch.origins.get(row as usize)?;
    let before = batch.origins.get(..row as usize)?;
    Some((origin, before.iter().rev().take_while(|&&other| other == origin).count() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_model::ids::PartitionIndex;

    #[test]
    fn siblings_of_one_source_record_are_told_apart() {
        let mut batch = RecordBatch::default();
        for offset in [1, 2, 2, 2, 3] {
            batch.push(None, None, 0, Origin { partition: PartitionIndex(0), offset });
        }
        let mut verdicts = Verdicts::default();
        let cause = Cause { reason: "bad", stderr: "said so" };
        verdicts.remember(0, &batch, 2, cause);
        assert_eq!(verdicts.known(0, &batch), [Verdict { row: 2, cause }]);
        assert_eq!(verdicts.known(1, &batch), []);
    }
}
