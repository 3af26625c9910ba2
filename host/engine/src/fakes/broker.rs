//! The broker's side of the fake log: partitions, and the coordinator of one transactional id.

/// Whether a record counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its transaction is open.
    Undecided,
    /// Its transaction was committed.
    Committed,
    /// Its transaction was aborted.
    Aborted,
}

/// A record in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number of its transaction, in the order they began.
    pub transaction: usize,
    /// When it was appended, counted over all partitions.
    pub at: u64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its producer is not the newest with the transactional id.
    Fenced,
    /// The partition is not part of a transaction (the broker's verification, KIP-890), or there is none to end.
    NotInTransaction,
}

/// A transaction that is open.
#[derive(Debug, Clone)]
struct Open {
    transaction: usize,
    /// Partitions in it, one bit each.
    partitions: u64,
    begun_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) partitions: Vec<Vec<Entry>>,
    fates: Vec<Fate>,
    appended: u64,
    producer_epoch: u32,
    open: Option<Open>,
    /// Whether the last transaction of this producer epoch was committed: the same request again is granted.
    has_committed: bool,
    /// Requests to commit that are still under way, by producer epoch.
    pub(super) late_ends: Vec<u32>,
}

impl Broker {
    pub(super) fn fate(&self, transaction: usize) -> Fate {
        self.fates.get(transaction).copied().unwrap_or(Fate::Undecided)
    }

    /// Ends what was open and fences whoever had the id.
    pub(super) fn init(&mut self) -> u32 {
        self.settle(Fate::Aborted);
        self.producer_epoch += 1;
        self.has_committed = false;
        self.producer_epoch
    }

    /// Aborts a transaction that took too long, and fences its producer.
    pub(super) fn expire(&mut self, now_ms: u64, timeout_ms: u64) {
        if self.open.as_ref().is_some_and(|open| now_ms.saturating_sub(open.begun_ms) > timeout_ms) {
            self.init();
        }
    }

    /// When the open transaction runs out of time.
    pub(super) fn expires_ms(&self, timeout_ms: u64) -> Option<u64> {
        self.open.as_ref().map(|open| open.begun_ms + timeout_ms + 1)
    }

    fn settle(&mut self, fate: Fate) {
        if let Some(open) = self.open.take()
            && let Some(of) = self.fates.get_mut(open.transaction)
        {
            *of = fate;
        }
    }

    pub(super) fn add_partition(&mut self, epoch: u32, partition: usize, now_ms: u64) -> Result<(), Refusal> {
        if epoch != self.producer_epoch {
            return Err(Refusal::Fenced);
        }
        if self.open.is_none() {
            self.open = Some(Open { transaction: self.fates.len(), partitions: 0, begun_ms: now_ms });
            self.fates.push(Fate::Undecided);
            self.has_committed = false;
        }
        if let Some(open) = &mut self.open {
            open.partitions |= 1 << partition;
        }
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        epoch: u32,
        partition: usize,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Result<(), Refusal> {
        if epoch != self.producer_epoch {
            return Err(Refusal::Fenced);
        }
        let open = self.open.as_ref().filter(|open| open.partitions & (1 << partition) != 0);
        let transaction = open.ok_or(Refusal::NotInTransaction)?.transaction;
        self.appended += 1;
        let entry = Entry { transaction, at: self.appended, key, value };
        if let Some(entries) = self.partitions.get_mut(partition) {
            entries.push(entry);
        }
        Ok(())
    }

    /// Commits. The same request again is granted, if nothing has begun since.
    pub(super) fn end(&mut self, epoch: u32) -> Result<(), Refusal> {
        if epoch != self.producer_epoch {
            return Err(Refusal::Fenced);
        }
        if self.open.is_none() && !self.has_committed {
            return Err(Refusal::NotInTransaction);
        }
        self.settle(Fate::Committed);
        self.has_committed = true;
        Ok(())
    }

    /// A request to commit that was under way for long arrives; nobody hears the answer.
    pub(super) fn deliver_late_end(&mut self) {
        if let Some(epoch) = self.late_ends.pop() {
            let _ = self.end(epoch);
        }
    }

    /// Whether records of the partition are undecided, so that a reader of committed ones gets no further.
    pub(super) fn is_held_back(&self, partition: usize) -> bool {
        self.open.as_ref().is_some_and(|open| open.partitions & (1 << partition) != 0)
    }
}
