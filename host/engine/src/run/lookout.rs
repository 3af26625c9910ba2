//! What is looked at beside the data path: whether the log still says what this process believes, and the sizes that topics take.

use crate::call::SizeLimits;
use crate::commit::{Acknowledged, Auditor, Stop};
use crate::ports::{Clock, RecordSizesReader};
use millstream_model::commit::CommitRecord;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often the log is looked at.
const AUDIT_EVERY: Duration = Duration::from_secs(5);

/// How often sizes are asked for, in looks: every five minutes.
const SIZES_EVERY: u32 = 60;

/// How long a look that is under way at the end of a run is waited for, in milliseconds.
const END_PATIENCE_MS: u64 = 2_000;

/// What the thread and the committer's tell each other.
#[derive(Debug, Default)]
struct Seen {
    /// The newest commit that was acknowledged.
    newest: Mutex<Option<Acknowledged>>,
    /// Why there is no going on.
    stop: Mutex<Option<Stop>>,
}

/// The topics' sizes, and who tells them.
pub(super) struct Sizes {
    pub(super) limits: Arc<SizeLimits>,
    pub(super) reader: Arc<dyn RecordSizesReader>,
}

impl Sizes {
    /// Asks anew; what does not answer leaves them as they are.
    pub(super) fn refresh(&self) {
        if let Err(error) = self.limits.refresh(self.reader.as_ref()) {
            tracing::warn!(%error, "the sizes that topics take could not be asked for; they are taken to be as before");
        }
    }
}

/// The thread that looks. It ends when this is dropped.
pub(super) struct Lookout {
    seen: Arc<Seen>,
    clock: Arc<dyn Clock>,
    /// Closed to end the thread.
    end: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Lookout {
    /// Starts the thread; without an auditor there is nothing to look at.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(auditor: Option<Auditor>, sizes: Arc<Sizes>, clock: &Arc<dyn Clock>) -> std::io::Result<Self> {
        let seen = Arc::new(Seen::default());
        let mut lookout = Self { seen: Arc::clone(&seen), clock: Arc::clone(clock), end: None, thread: None };
        let Some(mut auditor) = auditor else { return Ok(lookout) };
        let (end, ended) = channel::<()>();
        let clock = Arc::clone(clock);
        let look = move || {
            let mut looks: u32 = 0;
            while ended.recv_timeout(AUDIT_EVERY) == Err(RecvTimeoutError::Timeout) {
                let newest = *seen.newest.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(stop) = auditor.look(newest, clock.monotonic_ms()) {
                    *seen.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
                    return;
                }
                looks += 1;
                if looks.is_multiple_of(SIZES_EVERY) {
                    sizes.refresh();
                }
            }
        };
        lookout.thread = Some(std::thread::Builder::new().name("lookout".to_owned()).spawn(look)?);
        lookout.end = Some(end);
        Ok(lookout)
    }

    /// A commit was acknowledged.
    pub(super) fn acknowledged(&self, record: &CommitRecord) {
        let newest = Acknowledged { token: record.token, since_ms: self.clock.monotonic_ms() };
        *self.seen.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(newest);
    }

    /// Why there is no going on, if so.
    pub(super) fn stop(&self) -> Option<Stop> {
        self.seen.stop.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        drop(self.end.take());
        let Some(thread) = self.thread.take() else { return };
        // One that waits for brokers is left behind: nothing that it finds counts any more.
        let began = self.clock.monotonic_ms();
        while !thread.is_finished() && self.clock.monotonic_ms().saturating_sub(began) < END_PATIENCE_MS {
            self.clock.pause(5);
        }
    }
}
