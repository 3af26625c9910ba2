//! Hands batches from worker to worker, so that every key has one owner.
//!
//! Each worker has one inbox. A push never blocks: a worker that finds an inbox too full stops polling its sources and goes on serving its own inbox, so that two
//! workers can never wait for each other. At a cut a *barrier* follows the batches of each stage; what comes after it belongs to the next epoch and waits
//! until this worker's cut is done.

mod split;

pub use split::split_rows;

use crate::time::EdgeTime;
use millstream_model::record::RecordBatch;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Bytes that may wait in an inbox before senders stop polling, unless said otherwise.
pub const INBOX_BYTES_MAX: usize = 16 << 20;

/// What is on its way to an operator on another worker.
#[derive(Debug)]
pub struct Parcel {
    /// Position of the operator in the plan.
    pub operator: u16,
    /// The clock of the poll behind it, in milliseconds since 1970.
    pub now_ms: i64,
    /// What it is.
    pub load: Load,
}

/// What a [`Parcel`] holds.
#[derive(Debug)]
pub enum Load {
    /// Records, on their way to the owner of their keys.
    Records {
        /// Position of the input in the operator's descriptor.
        input: u32,
        /// The records.
        batch: RecordBatch,
    },
    /// A mark: what one of the operator's edges says of time, as far as this sender goes.
    Mark {
        /// Which of its edges.
        edge: u16,
        /// The worker that says it.
        sender: usize,
        /// What it says.
        time: EdgeTime,
    },
}

#[derive(Debug)]
struct Message {
    stage: u32,
    sender: u32,
    /// `None`: the sender has nothing more for the stage in this epoch.
    parcel: Option<Parcel>,
}

/// One worker's place in the exchange.
#[derive(Debug)]
pub struct Exchange {
    worker: u32,
    outlets: Vec<Sender<Message>>,
    inbox: Receiver<Message>,
    /// Bytes waiting in each inbox.
    waiting_bytes: Arc<[AtomicUsize]>,
    /// Bytes that may wait in one before senders stop polling.
    inbox_bytes_max: usize,
    /// By stage, by sender: whether its barrier has passed in the cut under way.
    passed: Vec<Vec<bool>>,
    /// Parcels behind a barrier that has passed.
    held: VecDeque<Parcel>,
    /// Parcels held in the cut before, next in turn.
    ready: VecDeque<Parcel>,
}

impl Exchange {
    /// Connects `workers` workers; `stages` counts the exchanges on the longest way through the plan, and with `inbox_bytes_max` waiting in an
    /// inbox nobody polls.
    #[must_use]
    pub fn connect(workers: u32, stages: u32, inbox_bytes_max: usize) -> Vec<Self> {
        let (outlets, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
        let waiting_bytes: Arc<[AtomicUsize]> = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        let connect = |(worker, inbox)| Self {
            worker,
            outlets: outlets.clone(),
            inbox,
            waiting_bytes: Arc::clone(&waiting_bytes),
            inbox_bytes_max,
            passed: vec![vec![false; workers as usize]; stages as usize + 1],
            held: VecDeque::new(),
            ready: VecDeque::new(),
        };
        (0..workers).zip(inboxes).map(connect).collect()
    }

    /// Number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.outlets.len()
    }

    /// This worker's number.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker as usize
    }

    /// Hands a parcel over. `stage` is the operator's.
    pub fn push(&self, receiver: usize, stage: u32, parcel: Parcel) {
        if let (Some(outlet), Some(waiting)) = (self.outlets.get(receiver), self.waiting_bytes.get(receiver)) {
            waiting.fetch_add(weight(&parcel), Ordering::Relaxed);
            // A receiver that is gone has failed, and its report stops this worker too.
            let _ = outlet.send(Message { stage, sender: self.worker, parcel: Some(parcel) });
        }
    }

    /// Whether every inbox has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting_bytes.iter().all(|waiting| waiting.load(Ordering::Relaxed) < self.inbox_bytes_max)
    }

    /// Tells the others that this worker has nothing more for a stage in this epoch; nothing for a stage that is not there.
    pub fn push_barrier(&mut self, stage: u32) {
        let sender = self.worker;
        if self.passed.get(stage as usize).is_none() {
            return;
        }
        self.set_passed(stage, sender);
        for (at, outlet) in self.outlets.iter().enumerate() {
            if at != sender as usize {
                let _ = outlet.send(Message { stage, sender, parcel: None });
            }
        }
    }

    /// Whether the barriers of a stage have come from all workers.
    #[must_use]
    pub fn is_aligned(&self, stage: u32) -> bool {
        self.passed.get(stage as usize).is_none_or(|senders| senders.iter().all(|passed| *passed))
    }

    /// Ends the cut: what was held is next.
    pub fn end_cut(&mut self) {
        self.passed.iter_mut().flatten().for_each(|passed| *passed = false);
        self.ready.append(&mut self.held);
    }

    /// The next parcel of the open epoch; waits up to `patience` if there is none.
    pub fn next(&mut self, patience: Duration) -> Option<Parcel> {
        let parcel = match self.ready.pop_front() {
            Some(parcel) => parcel,
            None => self.receive(patience)?,
        };
        if let Some(waiting) = self.waiting_bytes.get(self.worker as usize) {
            waiting.fetch_sub(weight(&parcel), Ordering::Relaxed);
        }
        Some(parcel)
    }

    fn receive(&mut self, patience: Duration) -> Option<Parcel> {
        loop {
            let Message { stage, sender, parcel } = self.inbox.recv_timeout(patience).ok()?;
            match parcel {
                None => self.set_passed(stage, sender),
                Some(parcel) if self.has_passed(stage, sender) => self.held.push_back(parcel),
                Some(parcel) => return Some(parcel),
            }
        }
    }

    /// Forgets everything under way to this worker. Only while no worker pushes.
    pub fn reset(&mut self) {
        while self.inbox.try_recv().is_ok() {}
        self.ready.clear();
        self.held.clear();
        self.passed.iter_mut().flatten().for_each(|passed| *passed = false);
        if let Some(waiting) = self.waiting_bytes.get(self.worker as usize) {
            waiting.store(0, Ordering::Relaxed);
        }
    }

    fn has_passed(&self, stage: u32, sender: u32) -> bool {
        self.passed.get(stage as usize).and_then(|senders| senders.get(sender as usize)).is_some_and(|passed| *passed)
    }

    fn set_passed(&mut self, stage: u32, sender: u32) {
        if let Some(passed) = self.passed.get_mut(stage as usize).and_then(|senders| senders.get_mut(sender as usize)) {
            *passed = true;
        }
    }
}

/// What a parcel counts in an inbox, in bytes.
fn weight(parcel: &Parcel) -> usize {
    match &parcel.load {
        Load::Records { batch, .. } => batch.bytes_len() + batch.len() * 48,
        Load::Mark { .. } => size_of::<Message>(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_model::record::Origin;

    const NOW: Duration = Duration::ZERO;

    fn records(batch: RecordBatch) -> Parcel {
        Parcel { operator: 0, now_ms: 0, load: Load::Records { input: 0, batch } }
    }

    fn parcel(name: &str) -> Parcel {
        let mut batch = RecordBatch::default();
        batch.push(Some(name.as_bytes()), None, 0, Origin::default());
        records(batch)
    }

    fn mark(watermark_ms: i64) -> Parcel {
        let time = EdgeTime { watermark_ms: Some(watermark_ms), is_idle: false };
        Parcel { operator: 0, now_ms: 0, load: Load::Mark { edge: 0, sender: 1, time } }
    }

    fn name(parcel: Option<Parcel>) -> Option<String> {
        parcel.map(|parcel| match parcel.load {
            Load::Records { batch, .. } => String::from_utf8(batch.keys.get(0).unwrap().to_vec()).unwrap(),
            Load::Mark { time, .. } => format!("mark {}", time.watermark_ms.unwrap()),
        })
    }

    #[test]
    fn marks_keep_their_place_among_the_records_and_wait_behind_barriers_like_them() {
        let mut workers = Exchange::connect(2, 1, INBOX_BYTES_MAX);
        let (b, mut a) = (workers.pop().unwrap(), workers.pop().unwrap());
        let mut b = b;
        b.push(0, 1, parcel("x"));
        b.push(0, 1, mark(1));
        b.push(0, 1, parcel("y"));
        b.push_barrier(1);
        b.push(0, 1, mark(2));
        let drain = |a: &mut Exchange| std::iter::from_fn(|| name(a.next(NOW))).collect::<Vec<_>>();
        assert_eq!(drain(&mut a), ["x", "mark 1", "y"]);
        a.push_barrier(1);
        assert!(a.is_aligned(1));
        a.end_cut();
        assert_eq!(drain(&mut a), ["mark 2"]);
    }

    #[test]
    fn what_comes_behind_a_barrier_waits_for_the_end_of_the_cut() {
        let mut workers = Exchange::connect(3, 1, INBOX_BYTES_MAX);
        let (mut c, mut b, mut a) = (workers.pop().unwrap(), workers.pop().unwrap(), workers.pop().unwrap());
        b.push(0, 1, parcel("b-before"));
        b.push_barrier(1);
        b.push(0, 1, parcel("b-behind"));
        c.push(0, 1, parcel("c-before"));
        a.push_barrier(1);
        assert_eq!(name(a.next(NOW)).as_deref(), Some("b-before"));
        assert_eq!(name(a.next(NOW)).as_deref(), Some("c-before"));
        assert_eq!(name(a.next(NOW)), None);
        assert!(!a.is_aligned(1));
        c.push_barrier(1);
        assert_eq!(name(a.next(NOW)), None);
        assert!(a.is_aligned(1));
        a.end_cut();
        assert!(!a.is_aligned(1));
        assert_eq!(name(a.next(NOW)).as_deref(), Some("b-behind"));
    }

    #[test]
    fn a_full_inbox_stops_polling_but_never_pushing_and_opens_again() {
        let mut workers = Exchange::connect(2, 1, INBOX_BYTES_MAX);
        let (mut b, a) = (workers.pop().unwrap(), workers.pop().unwrap());
        while a.has_room() {
            let mut batch = RecordBatch::default();
            batch.push(None, Some(&vec![0; 1 << 20]), 0, Origin::default());
            a.push(1, 1, records(batch));
        }
        a.push(1, 1, parcel("one more"));
        assert!(!b.has_room());
        while b.next(NOW).is_some() {}
        assert!(a.has_room());
    }

    #[test]
    fn a_reset_leaves_nothing_of_the_epoch() {
        let mut workers = Exchange::connect(2, 1, INBOX_BYTES_MAX);
        let (mut b, mut a) = (workers.pop().unwrap(), workers.pop().unwrap());
        a.push(1, 1, parcel("x"));
        a.push_barrier(1);
        a.push(1, 1, parcel("y"));
        assert!(b.next(NOW).is_some());
        b.reset();
        a.reset();
        assert_eq!(name(b.next(NOW)), None);
        a.push(1, 1, parcel("z"));
        assert_eq!(name(b.next(NOW)).as_deref(), Some("z"));
        assert!(a.has_room());
    }
}
