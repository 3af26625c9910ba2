use crate::error::{Failure, Outcome};
use std::sync::mpsc::channel;

/// How far the thread gives way: beside a worker that wants all of a core it gets about a tenth of it.
const NICE: i32 = 10;

/// One thread for work that may take long and must not disturb the workers: compiling a module above all. The compiler cuts its work into pieces for all cores; here
/// its pieces stay on this thread, since those of the pool that all share would run with the priority of the workers.
#[derive(Debug)]
pub(crate) struct Background {
    pool: rayon::ThreadPool,
}

impl Background {
    pub(crate) fn new() -> Outcome<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "staging".to_owned())
            .start_handler(|_| give_way())
            // Whoever waits for what panicked finds its channel closed.
            .panic_handler(|_| tracing::error!("preparing a module failed in a way that it must not"));
        Ok(Self { pool: pool.build().map_err(Failure::failed)? })
    }

    /// Does some work, after what was given before.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.pool.spawn_fifo(work);
    }

    /// Does some work and waits for it; `None` if it panicked.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = channel();
        self.spawn(move || {
            // Whoever waits is below.
            let _ = done.send(work());
        });
        result.recv().ok()
    }
}

/// Lowers the priority of the calling thread; on Linux each has its own.
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "modules are compiled with the priority of everything else");
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn its_thread_gives_way_and_nobody_elses_does() {
        let before = rustix::process::getpriority_process(None).unwrap();
        let background = Background::new().map_err(|failure| failure.text).unwrap();
        assert_eq!(background.run(|| rustix::process::getpriority_process(None).unwrap()), Some(NICE.max(before)));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
    }

    #[test]
    fn pieces_of_its_work_stay_with_it() {
        let background = Background::new().map_err(|failure| failure.text).unwrap();
        let name = || std::thread::current().name().unwrap_or_default().to_owned();
        let names = background.run(move || {
            let (one, other) = rayon::join(name, name);
            [one, other, name()]
        });
        assert_eq!(names, Some(["staging"; 3].map(str::to_owned)));
    }

    #[test]
    fn work_that_panics_ends_nothing_else() {
        let background = Background::new().map_err(|failure| failure.text).unwrap();
        assert_eq!(background.run(|| panic!("on purpose")), None::<()>);
        assert_eq!(background.run(|| 7), Some(7));
    }
}
