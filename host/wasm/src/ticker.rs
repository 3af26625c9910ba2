//! The thread that moves the epoch by which calls are timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::Thread;
use std::time::Duration;

/// Time from one tick to the next, in milliseconds: how exactly time limits are kept.
pub(crate) const TICK_MS: u64 = 10;

/// Ticks that must pass before a call of `limit_ms` is over: never less time than granted, up to two ticks more.
pub(crate) fn ticks(limit_ms: u64) -> u64 {
    limit_ms.div_ceil(TICK_MS) + 1
}

/// Ticks while any call runs, sleeps otherwise. It counts ticks, not time: a process that was stopped (SIGSTOP) finds its calls where they were.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// Ticks without a call before the ticker goes to sleep; waking it costs the next call a system call.
const IDLE_TICKS_MAX: u32 = 50;

impl Ticker {
    #[expect(
        clippy::disallowed_methods,
        reason = "it makes the time that guests are measured by, and counts ticks of its own"
    )]
    pub(crate) fn start(engine: &wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (of_thread, engine) = (Arc::clone(&shared), engine.weak());
        let thread = std::thread::Builder::new().name("wasm-ticker".to_owned()).spawn(move || {
            let mut idle_ticks = 0;
            while !of_thread.ended.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(TICK_MS));
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
                idle_ticks = if of_thread.running.load(SeqCst) > 0 { 0 } else { idle_ticks + 1 };
                if idle_ticks > IDLE_TICKS_MAX {
                    of_thread.sleep();
                    idle_ticks = 0;
                }
            }
        })?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// Keeps the ticker awake until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        if self.shared.asleep.load(SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Shared {
    /// Sleeps until a call runs. A call counts itself before it looks at `asleep`, and this sets `asleep` before it looks at the count: one sees the other.
    fn sleep(&self) {
        self.asleep.store(true, SeqCst);
        while self.running.load(SeqCst) == 0 && !self.ended.load(SeqCst) {
            std::thread::park();
        }
        self.asleep.store(false, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// A call is running.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
