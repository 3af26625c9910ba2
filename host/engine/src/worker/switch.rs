use super::trial::{Quota, Trial, Watch};
use super::{Lineup, Worker, WorkerError};
use crate::ports::Operator;
use crate::task::Task;
use millstream_model::commit::CommitRecord;
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
    /// By worker: made beforehand, off the data path.
    instances: Mutex<Vec<Option<Box<dyn Operator>>>>,
}

impl Switch {
    /// A switch to `lineup` with an instance for each worker.
    #[must_use]
    pub fn new(lineup: Arc<Lineup>, operator: usize, keeps_cache: bool, instances: Vec<Box<dyn Operator>>) -> Self {
        let instances = Mutex::new(instances.into_iter().map(Some).collect());
        Self { lineup, operator, keeps_cache, quota: None, instances }
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

/// Where to go on after an epoch was dropped.
pub struct Reset {
    /// The newest commit; none: the beginning.
    pub committed: Option<CommitRecord>,
    /// What that was made under, and what runs from now on.
    pub lineup: Arc<Lineup>,
    /// A record to keep an eye on.
    pub watch: Option<Watch>,
}

impl std::fmt::Debug for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Reset");
        let token = self.committed.as_ref().map(|record| record.token);
        debug.field("committed", &token).field("watch", &self.watch).finish_non_exhaustive()
    }
}

/// What a worker waits for before it begins the next epoch.
#[derive(Debug)]
pub(super) enum Awaits {
    /// That the epoch is in the store: the new version reads it from there.
    Applied(Arc<Switch>),
    /// That the trial is judged.
    Verdict,
}

impl Worker {
    /// Begins the epoch behind a cut.
    pub(super) fn begin_epoch(&mut self) -> Result<(), WorkerError> {
        if self.is_on_trial() {
            self.awaits = Some(Awaits::Verdict);
        }
        match self.cut.take_switch() {
            Some(switch) if switch.keeps_cache => self.switch(&switch),
            Some(switch) => {
                self.awaits = Some(Awaits::Applied(switch));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The epoch of the last part is in the store: a switch that waited for that is made.
    pub(super) fn switch_if_awaited(&mut self) -> Result<(), WorkerError> {
        match self.awaits.take() {
            Some(Awaits::Applied(switch)) => self.switch(&switch),
            other => {
                self.awaits = other;
                Ok(())
            }
        }
    }

    /// The trial is passed.
    pub(super) fn proceed(&mut self) {
        self.awaits = None;
        self.trial = None;
    }

    fn switch(&mut self, switch: &Switch) -> Result<(), WorkerError> {
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
        self.share_state();
        self.plan = Arc::clone(&switch.lineup.plan);
        self.replan_time()?;
        self.trial = switch.quota.as_ref().map(|quota| Trial::new(at, quota));
        Ok(())
    }

    /// Drops everything since the newest commit, and every instance that ran since.
    pub(super) fn reset(&mut self, reset: &Reset) -> Result<(), WorkerError> {
        self.exchange.reset();
        self.outputs.iter_mut().for_each(millstream_model::record::RecordBatch::clear);
        self.cut.reset();
        self.forget_trial(reset.watch);
        for (at, (task, parts)) in self.tasks.iter_mut().zip(&reset.lineup.operators).enumerate() {
            if Arc::ptr_eq(task.parts(), parts) {
                task.reset()?;
            } else {
                *task = Task::new(parts)?;
                self.cut.forget(at);
            }
        }
        self.share_state();
        self.plan = Arc::clone(&reset.lineup.plan);
        self.intake.seek(&self.plan, reset.committed.as_ref().map_or(&[], |record| &record.positions))?;
        self.restore_time(reset.committed.as_ref());
        Ok(())
    }
}

/// Drops what may take long to drop (an instance's memory, a large cache) where nobody waits for it.
fn discard<T: Send + 'static>(old: T) {
    // Where no thread can be had, `old` is dropped with the closure.
    let _ = std::thread::Builder::new().name("discard".to_owned()).spawn(move || drop(old));
}
