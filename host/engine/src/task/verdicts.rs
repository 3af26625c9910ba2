use millstream_model::record::{Origin, RecordBatch};
use std::collections::HashMap;

/// Rows found to be poison in this process, so that a replay after a resolve finds them at once. A row is known by where it comes from and
/// by its place among the rows of that origin: one source record may have become many.
#[derive(Debug, Default)]
pub struct Verdicts {
    found: HashMap<(u16, Origin, u32), String>,
}

/// A row refused before it is called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The row.
    pub row: u32,
    /// Why it was refused the first time.
    pub reason: String,
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
    pub fn remember(&mut self, operator: u16, batch: &RecordBatch, row: u32, reason: &str) {
        if self.found.len() < VERDICTS_MAX
            && let Some((origin, ordinal)) = place(batch, row)
        {
            self.found.insert((operator, origin, ordinal), reason.to_owned());
        }
    }

    /// Rows of a batch as delivered that the operator refused before.
    #[must_use]
    pub fn known(&self, operator: u16, batch: &RecordBatch) -> Vec<Verdict> {
        let known = |row| {
            let (origin, ordinal) = place(batch, row)?;
            let reason = self.found.get(&(operator, origin, ordinal))?;
            Some(Verdict { row, reason: reason.clone() })
        };
        (0..batch.len() as u32).filter_map(known).collect()
    }
}

/// A row's origin and its place among the neighbouring rows of that origin. What timers emitted cannot be told apart.
fn place(batch: &RecordBatch, row: u32) -> Option<(Origin, u32)> {
    let origin = *batch.origins.get(row as usize).filter(|origin| **origin != Origin::TIMER)?;
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
        verdicts.remember(0, &batch, 2, "bad");
        assert_eq!(verdicts.known(0, &batch), [Verdict { row: 2, reason: "bad".to_owned() }]);
        assert_eq!(verdicts.known(1, &batch), []);
    }
}
