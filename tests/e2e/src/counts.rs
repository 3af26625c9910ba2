//! Checks the output of a keyed count while it is read.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Isolation, OutsideClient, Positions, Record, eventually};

/// Reads the output topic of a running count: for each key it has to be 1, 2, 3 … in this order, so that any record that
/// is lost, repeated or out of order shows at once.
#[derive(Debug)]
pub struct Counts<'a> {
    client: &'a OutsideClient,
    topic: String,
    next: Positions,
    last: BTreeMap<String, u64>,
    records: u64,
}

impl<'a> Counts<'a> {
    /// A reader at the beginning of a topic.
    #[must_use]
    pub fn new(client: &'a OutsideClient, topic: &str) -> Self {
        Self { client, topic: topic.to_owned(), next: Positions::new(), last: BTreeMap::new(), records: 0 }
    }

    /// Reads what is committed by now; gives the number of records since the beginning.
    ///
    /// # Errors
    /// If a count is not the one that had to come.
    pub fn read_on(&mut self) -> Result<u64> {
        let (records, next) =
            self.client.consume_from(&self.topic, Isolation::Committed, &self.next, 0, Duration::ZERO)?;
        self.next = next;
        for record in &records {
            self.take(record)?;
        }
        Ok(self.records)
    }

    /// Reads until there are `count` records.
    ///
    /// # Errors
    /// If a count is wrong, there are more, or they do not come.
    pub fn wait_for(&mut self, count: u64, timeout: Duration) -> Result<()> {
        let what = format!("{count} records in the output");
        let waited = eventually(&what, timeout, || Ok((self.read_on()? >= count).then_some(())));
        waited.with_context(|| format!("there are {}", self.records))?;
        if self.records > count {
            bail!("{} records in the output, {count} in the input", self.records);
        }
        Ok(())
    }

    /// The newest count of each key.
    #[must_use]
    pub fn by_key(&self) -> &BTreeMap<String, u64> {
        &self.last
    }

    /// How many records were read.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    fn take(&mut self, record: &Record) -> Result<()> {
        let key = record.key_text();
        let count: u64 =
            record.value_text().parse().with_context(|| format!("an output that is no count: {record:?}"))?;
        let place = format!("{}[{}] offset {}", self.topic, record.partition, record.offset);
        let last = self.last.entry(key).or_default();
        if count != *last + 1 {
            let fault = if count <= *last { "repeated" } else { "lost" };
            bail!("{place}: key {:?} goes from {last} to {count}: a record was {fault}", record.key_text());
        }
        *last = count;
        self.records += 1;
        Ok(())
    }
}
