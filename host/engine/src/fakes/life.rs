use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What happens elsewhere while the process stands still.
type Interlude = Box<dyn FnMut() + Send>;

/// The life of a simulated process, counted in steps of its ports. Once it is over nothing its ports are asked for has an effect any more, whatever
/// the process believes.
#[derive(Clone, Default)]
pub struct Life(Arc<Inner>);

#[derive(Default)]
struct Inner {
    steps: AtomicU64,
    /// The step that is not made any more; 0 for none.
    last: AtomicU64,
    /// The step before which the process stands still for a while; 0 for none.
    pause: AtomicU64,
    interlude: Mutex<Option<Interlude>>,
}

impl Life {
    /// A life that ends before its `last`-th step from now, the next being the first.
    pub fn ends_in(&self, last: u64) {
        self.0.last.store(self.0.steps.load(Ordering::Relaxed) + last.max(1), Ordering::Relaxed);
    }

    /// Ends it now.
    pub fn end(&self) {
        self.0.steps.fetch_add(1, Ordering::Relaxed);
        self.0.last.store(1, Ordering::Relaxed);
    }

    /// Lets the process stand still before its `step`-th step from now, while `interlude` happens.
    pub fn pauses_in(&self, step: u64, interlude: impl FnMut() + Send + 'static) {
        *self.0.interlude.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(interlude));
        self.0.pause.store(self.0.steps.load(Ordering::Relaxed) + step.max(1), Ordering::Relaxed);
    }

    /// Makes a step; false if the process is not alive to make it.
    #[must_use]
    pub fn step(&self) -> bool {
        let step = self.0.steps.fetch_add(1, Ordering::Relaxed) + 1;
        if step == self.0.pause.load(Ordering::Relaxed) {
            // Taken out first: what happens meanwhile may come back here.
            let interlude = self.0.interlude.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(mut interlude) = interlude {
                interlude();
            }
        }
        !self.is_over()
    }

    /// Whether the process is dead.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let last = self.0.last.load(Ordering::Relaxed);
        last > 0 && self.0.steps.load(Ordering::Relaxed) >= last
    }
}
