use super::shadow::ShadowStart;
use super::trial::{Quota, Trial, Watch};
use super::{Lineup, Worker, WorkerError};
use crate::planted::Bug;
use crate::ports::Operator;
use crate::swap::Pause;
use crate::task::Task;
use millstream_model::commit::PartitionPosition;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One operator's change of version, on its way to the workers with a cut: each takes over when it has given its part, so that no epoch has records of two versions.
pub struct Switch {
    /// What runs afterwards.
    pub lineup: Arc<Lineup>,
    /// Position of the operator in the plan.
    pub operator: usize,
    /// Whether what is in memory of its state stays there. Else the workers stand still until the epoch is in the store, and begin with nothing in memory.
    pub keeps_cache: bool,
    /// What the next epoch is to show, if it is a trial.
    pub quota: Option<Arc<Quota>>,
    /// How long workers stand for it.
    pub pauses: Arc<Pauses>,
    /// By worker: made beforehand, off the data path.
    instances: Mutex<Vec<Option<Box<dyn Operator>>>>,
}

impl Switch {
    /// A switch to `lineup` with an instance for each worker.
    #[must_use]
    pub fn new(lineup: Arc<Lineup>, operator: usize, keeps_cache: bool, instances: Vec<Box<dyn Operator>>) -> Self {
        let instances = Mutex::new(instances.into_iter().map(Some).collect());
        Self { lineup, operator, keeps_cache, quota: None, pauses: Arc::default(), instances }
    }

    /// The same, with a trial to begin.
    #[must_use]
    pub fn on_trial(self, quota: &Arc<Quota>) -> Self {
        Self { quota: Some(Arc::clone(quota)), ..self }
    }

    fn take(&self, worker: usize) -> Option<Box<dyn Operator>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner).get_mut(worker)?.take()
    }
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Switch");
        debug.field("operator", &self.operator).field("keeps_cache", &self.keeps_cache).field("quota", &self.quota);
        debug.finish_non_exhaustive()
    }
}

/// How long workers stand for a switch: of each kind the longest, in nanoseconds.
#[derive(Debug, Default)]
pub struct Pauses {
    at_switch_ns: AtomicU64,
    for_verdict_ns: AtomicU64,
}

impl Pauses {
    fn switched(&self, stood_ns: u64) {
        self.at_switch_ns.fetch_max(stood_ns, Ordering::Relaxed);
    }

    fn judged(&self, stood_ns: u64) {
        self.for_verdict_ns.fetch_max(stood_ns, Ordering::Relaxed);
    }

    /// The longest that was told so far.
    #[must_use]
    pub fn longest(&self) -> Pause {
        let micros = |ns: &AtomicU64| ns.load(Ordering::Relaxed) / 1_000;
        Pause { at_switch_us: micros(&self.at_switch_ns), for_verdict_us: micros(&self.for_verdict_ns) }
    }
}

/// Where to go on after an epoch was dropped.
pub struct Reset {
    /// Positions of the newest commit.
    pub positions: Vec<PartitionPosition>,
    /// What that was made under, and what runs from now on.
    pub lineup: Arc<Lineup>,
    /// A record to keep an eye on.
    pub watch: Option<Watch>,
}

impl std::fmt::Debug for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Reset");
        debug.field("positions", &self.positions).field("watch", &self.watch).finish_non_exhaustive()
    }
}

/// What a worker waits for before it begins the next epoch.
#[derive(Debug)]
pub(super) enum Awaits {
    /// That the epoch is in the store: the new version reads it from there. Since when, on the monotonic clock.
    Applied(Arc<Switch>, u64),
    /// The same, for a shadow to begin.
    Shadow(Arc<ShadowStart>),
    /// That the trial is judged.
    Verdict,
}

impl Worker {
    /// Begins the epoch behind a cut.
    pub(super) fn begin_epoch(&mut self) -> Result<(), WorkerError> {
        let now_ns = self.shared.clock.monotonic_ns();
        if let Some(trial) = &mut self.trial {
            trial.stand(now_ns);
            self.awaits = Some(Awaits::Verdict);
        }
        match self.cut.take_switch() {
            Some(switch) if switch.keeps_cache || Bug::SwitchUnapplied.is_planted() => {
                self.switch_after(&switch, now_ns)
            }
            Some(switch) => {
                self.awaits = Some(Awaits::Applied(switch, now_ns));
                Ok(())
            }
            None => {
                if let Some(start) = self.shadow_next.take() {
                    self.awaits = Some(Awaits::Shadow(start));
                }
                Ok(())
            }
        }
    }

    /// The epoch of the last part is in the store: a switch that waited for that is made.
    pub(super) fn switch_if_awaited(&mut self) -> Result<(), WorkerError> {
        match self.awaits.take() {
            Some(Awaits::Applied(switch, since_ns)) => self.switch_after(&switch, since_ns),
            Some(Awaits::Shadow(start)) => {
                self.begin_shadow(&start);
                Ok(())
            }
            other => {
                self.awaits = other;
                Ok(())
            }
        }
    }

    /// The trial is passed.
    pub(super) fn proceed(&mut self) {
        self.awaits = None;
        if let Some((pauses, since_ns)) = self.trial.take().and_then(Trial::stood) {
            pauses.judged(self.shared.clock.monotonic_ns().saturating_sub(since_ns));
        }
    }

    fn switch_after(&mut self, switch: &Switch, since_ns: u64) -> Result<(), WorkerError> {
        self.switch(switch)?;
        switch.pauses.switched(self.shared.clock.monotonic_ns().saturating_sub(since_ns));
        Ok(())
    }

    pub(super) fn switch(&mut self, switch: &Switch) -> Result<(), WorkerError> {
        let at = switch.operator;
        let (Some(parts), Some(task)) = (switch.lineup.operators.get(at), self.tasks.get_mut(at)) else {
            return Ok(());
        };
        let instance = match switch.take(self.exchange.worker()) {
            Some(instance) => instance,
            None => parts.factory.instantiate()?,
        };
        if switch.keeps_cache {
            discard(task.take_over(parts, instance));
        } else {
            discard(std::mem::replace(task, Task::with(parts, instance)));
            self.cut.forget(at);
        }
        self.end_shadow();
        self.plan = Arc::clone(&switch.lineup.plan);
        self.trial = switch.quota.as_ref().map(|quota| Trial::new(at, quota, &switch.pauses));
        Ok(())
    }

    /// Drops everything since the newest commit, and every instance that ran since.
    pub(super) fn reset(&mut self, reset: &Reset) -> Result<(), WorkerError> {
        self.exchange.reset();
        self.outputs.iter_mut().for_each(millstream_model::record::RecordBatch::clear);
        self.cut.reset();
        self.forget_trial(reset.watch);
        self.reset_shadow()?;
        for (at, (task, parts)) in self.tasks.iter_mut().zip(&reset.lineup.operators).enumerate() {
            if Bug::KeepOverlays.is_planted() {
                task.take_over(parts, parts.factory.instantiate()?);
            } else if Arc::ptr_eq(task.parts(), parts) || Bug::KeepInstances.is_planted() {
                task.reset()?;
            } else {
                *task = Task::new(parts)?;
                self.cut.forget(at);
            }
        }
        self.plan = Arc::clone(&reset.lineup.plan);
        self.intake.seek(&self.plan, &reset.positions)?;
        Ok(())
    }
}

impl Worker {
    /// Drops the shadow, if there is one.
    pub(super) fn end_shadow(&mut self) {
        self.shadow_next = None;
        self.awaits.take_if(|awaits| matches!(awaits, Awaits::Shadow(_)));
        if let Some(shadow) = self.shadow.take() {
            discard(shadow);
        }
    }
}

/// Drops what may take long to drop (an instance's memory, a large cache) where nobody waits for it.
fn discard<T: Send + 'static>(old: T) {
    // Where no thread can be had, `old` is dropped with the closure.
    let _ = std::thread::Builder::new().name("discard".to_owned()).spawn(move || drop(old));
}
