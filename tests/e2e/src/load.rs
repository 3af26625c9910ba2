//! Records that keep coming while a test does something else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::{OutsideClient, Record};

/// How often records are sent.
const PERIOD: Duration = Duration::from_millis(20);

/// A thread that writes to a topic at an even rate, over a client of its own. Ends when it is dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<BTreeMap<String, u64>>>>,
}

#[derive(Debug)]
struct Shared {
    is_over: AtomicBool,
    /// Which value every how manieth record has; all others have `x`.
    value: Mutex<(String, u64)>,
}

impl Load {
    /// Begins to write `rate` records a second under `keys` different keys.
    ///
    /// # Errors
    /// If the client does not start.
    pub fn start(bootstrap: &str, topic: &str, seed: u64, (rate, keys): (u64, u64)) -> Result<Self> {
        let client = OutsideClient::start(bootstrap)?;
        let shared = Arc::new(Shared { is_over: AtomicBool::new(false), value: Mutex::new(("x".to_owned(), 1)) });
        let (topic, on_it) = (topic.to_owned(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut sent, mut written, begun) = (BTreeMap::new(), 0, Instant::now());
            while !on_it.is_over.load(Ordering::Relaxed) {
                // What a slow broker kept back is made up for, a second's worth at most.
                let due = (begun.elapsed().as_millis() as u64 * rate / 1_000).min(written + rate);
                let (value, every) = on_it.value.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let records = (written..due).map(|number| {
                    let key = format!("key-{}", random.next_u64() % keys);
                    *sent.entry(key.clone()).or_default() += 1;
                    Record::new(key, if number % every == 0 { value.as_str() } else { "x" })
                });
                client.produce(&topic, records)?;
                written = written.max(due);
                std::thread::sleep(PERIOD);
            }
            Ok(sent)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on every so manieth record has this value.
    pub fn send(&self, value: &str, every: u64) {
        *self.shared.value.lock().unwrap_or_else(PoisonError::into_inner) = (value.to_owned(), every);
    }

    /// Ends it; gives for each key how many records it sent.
    ///
    /// # Errors
    /// If the broker refused one.
    pub fn stop(mut self) -> Result<BTreeMap<String, u64>> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended.ok_or_else(|| anyhow!("it was stopped before"))?.map_err(|_| anyhow!("the load panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}
