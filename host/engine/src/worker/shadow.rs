//! A version beside the one that counts, on this worker: it is called after it with the same records, over state of its own, and whatever it does is compared and dropped.

use super::search::Portion;
use super::{Worker, WorkerError};
use crate::call::{Call, Mark};
use crate::places::Places;
use crate::ports::{CallError, ChangeSet, Clock, Operator, StateBackend};
use crate::swap::FaultPlace;
use crate::swap::shadow::{Difference, Emitted, ShadowTally, compare};
use crate::task::{Attempt, Overlay, Step, Task, TaskParts, next_step};
use std::sync::{Arc, Mutex, PoisonError};

/// Records a shadow may fail on, on each worker: finding each takes time from the version that counts.
const FAULTS_MAX: u64 = 16;

/// A shadow on its way to the workers. Each begins it behind its part of an epoch, once that is in the store.
pub struct ShadowStart {
    /// Position of the operator in the plan.
    pub operator: usize,
    /// For each input of the version that counts: the shadow's of the same name.
    pub inputs: Vec<Option<u32>>,
    /// Names of outputs, those of the version that counts first.
    pub outputs: Vec<String>,
    /// For each output of the shadow: its place in `outputs`.
    pub ports: Vec<u16>,
    /// By worker.
    seats: Mutex<Vec<Option<ShadowSeat>>>,
}

/// What a shadow is made of on one worker.
pub struct ShadowSeat {
    /// What its task is made of. Its store is the overlay.
    pub parts: Arc<TaskParts>,
    /// Where its state goes.
    pub overlay: Arc<Overlay>,
    /// Made beforehand, off the data path.
    pub instance: Box<dyn Operator>,
}

impl ShadowStart {
    /// A shadow of an operator with what each worker needs for it.
    #[must_use]
    pub fn new(
        operator: usize,
        inputs: Vec<Option<u32>>,
        (outputs, ports): (Vec<String>, Vec<u16>),
        seats: Vec<ShadowSeat>,
    ) -> Self {
        let seats = Mutex::new(seats.into_iter().map(Some).collect());
        Self { operator, inputs, outputs, ports, seats }
    }

    fn take(&self, worker: usize) -> Option<ShadowSeat> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).get_mut(worker)?.take()
    }
}

impl std::fmt::Debug for ShadowStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShadowStart").field("operator", &self.operator).finish_non_exhaustive()
    }
}

/// What a shadow did on a worker in an epoch.
#[derive(Debug, Clone, Default)]
pub struct ShadowPart {
    /// What it did.
    pub tally: ShadowTally,
    /// Why it is over, if it is.
    pub over: Option<String>,
}

/// See the module.
pub(super) struct Shadow {
    start: Arc<ShadowStart>,
    task: Task,
    overlay: Arc<Overlay>,
    /// What was cut last and is not in the overlay yet.
    changes: ChangeSet,
    frozen: u32,
    tally: ShadowTally,
    over: Option<String>,
    old: Emitted,
    new: Emitted,
}

/// What the version that counts did in a call.
struct Counted<'a> {
    input: u32,
    portion: &'a Portion,
    mark: Mark,
    call: &'a Call,
    rejected: u64,
    busy_ns: u64,
    retries: u32,
}

impl Shadow {
    fn begin(start: &Arc<ShadowStart>, seat: ShadowSeat) -> Self {
        Self {
            start: Arc::clone(start),
            task: Task::with(&seat.parts, seat.instance),
            overlay: seat.overlay,
            changes: ChangeSet::default(),
            frozen: 0,
            tally: ShadowTally::default(),
            over: None,
            old: Emitted::default(),
            new: Emitted::default(),
        }
    }

    /// Does with records what the version that counts did with them, and compares.
    fn follow(&mut self, counted: &Counted<'_>, clock: &dyn Clock, places: &Places) {
        let Some(input) = self.start.inputs.get(counted.input as usize).copied().flatten() else { return };
        let started_ns = clock.monotonic_ns();
        self.new.clear();
        self.process(input, counted, places);
        let processed_ns = clock.monotonic_ns();
        self.tally.records += counted.portion.batch.len() as u64;
        self.tally.rejected_old += counted.rejected;
        self.tally.busy_old_ns += counted.busy_ns;
        self.tally.busy_new_ns += processed_ns.saturating_sub(started_ns);
        let names = &self.start.outputs;
        let own: Vec<u16> = (0..names.len() as u16).collect();
        self.old.clear();
        self.old.take(counted.call, &own, |row| row);
        let difference = |(row, output): (u32, u16), old, new| Difference {
            place: place(places, counted.portion, row),
            output: names.get(output as usize).cloned().unwrap_or_default(),
            old,
            new,
            failure: None,
        };
        compare((&self.old, &self.new), &mut self.tally, difference);
        self.tally.compared_ns += clock.monotonic_ns().saturating_sub(processed_ns);
    }

    /// Has it process the records as the engine has any version process them: what it fails on is taken out.
    fn process(&mut self, input: u32, counted: &Counted<'_>, places: &Places) {
        let whole = Portion { batch: Arc::clone(&counted.portion.batch), rows: None, searching: false, attempts: 0 };
        let mut portions = vec![whole];
        while let Some(mut portion) = portions.pop() {
            if portion.batch.is_empty() || self.over.is_some() {
                continue;
            }
            portion.attempts += 1;
            let error = match self.task.attempt(input, &portion.batch, counted.mark, portion.searching) {
                Attempt::Applied(rejections) => {
                    self.tally.rejected_new += rejections.len() as u64;
                    if let Some(call) = self.task.take_call() {
                        self.new.take(&call, &self.start.ports, |row| portion.delivered_row(row));
                        self.task.give_back(call);
                    }
                    continue;
                }
                Attempt::Failed(error) => error,
            };
            self.after_failure(error, portion, counted, places, &mut portions);
        }
    }

    fn after_failure(
        &mut self,
        error: CallError,
        portion: Portion,
        counted: &Counted<'_>,
        places: &Places,
        portions: &mut Vec<Portion>,
    ) {
        match next_step(error, portion.batch.len(), portion.attempts, counted.retries) {
            Step::Refuse(refused) => {
                self.tally.rejected_new += refused.len() as u64;
                portions.push(portion.without(&refused));
            }
            Step::Blame(blamed) => {
                self.tally.failed += blamed.len() as u64;
                if let Some((row, reason)) = blamed.first().filter(|_| self.tally.first.is_none()) {
                    let place = place(places, counted.portion, portion.delivered_row(*row));
                    let failure = Some(reason.clone());
                    self.tally.first = Some(Difference { place, output: String::new(), old: None, new: None, failure });
                }
                if self.tally.failed > FAULTS_MAX {
                    self.end(format!("it failed on more than {FAULTS_MAX} records"));
                }
                portions.push(portion.without(&blamed));
            }
            Step::Retry { .. } => portions.push(portion),
            Step::Split { at, timed_out } => {
                let searching = portion.searching || timed_out;
                let rows: Vec<u32> = (0..portion.batch.len() as u32).collect();
                let (first, second) = rows.split_at(at.min(rows.len()));
                portions.push(portion.part(second, searching));
                portions.push(portion.part(first, searching));
            }
            Step::Stop(reason) => self.end(reason),
        }
    }

    fn end(&mut self, reason: String) {
        self.over.get_or_insert(reason);
    }
}

fn place(places: &Places, portion: &Portion, row: u32) -> FaultPlace {
    let origin = portion.batch.origins.get(row as usize).copied().unwrap_or_default();
    super::trial::fault_place(places.of(origin))
}

impl Worker {
    /// Begins a shadow: the epoch before it is in the store.
    pub(super) fn begin_shadow(&mut self, start: &Arc<ShadowStart>) {
        self.shadow = start.take(self.exchange.worker()).map(|seat| Shadow::begin(start, seat));
    }

    /// Has the shadow of an operator, if there is one, do what that did in a call.
    pub(super) fn shadow_call(
        &mut self,
        (at, input): (usize, u32),
        portion: &Portion,
        call: &Call,
        (rejected, busy_ns): (u64, u64),
    ) {
        let Some(shadow) = self.shadow.as_mut().filter(|shadow| shadow.start.operator == at) else { return };
        if shadow.over.is_some() {
            return;
        }
        let retries = self.plan.operators.get(at).map_or(0, |node| node.retries);
        let counted = Counted { input, portion, mark: self.mark, call, rejected, busy_ns, retries };
        shadow.follow(&counted, self.shared.clock.as_ref(), &self.shared.places);
    }

    /// Ends the shadow's part of an epoch. `memory_bytes_max`: what it may hold.
    pub(super) fn cut_shadow(&mut self) -> Option<ShadowPart> {
        let memory_bytes_max = self.task_memory_bytes();
        let shadow = self.shadow.as_mut()?;
        shadow.frozen = shadow.task.freeze(&mut shadow.changes);
        let held = shadow.task.state_bytes() + shadow.overlay.bytes();
        if held > memory_bytes_max {
            shadow.end(format!(
                "its state takes {held} bytes of memory on a worker, of {memory_bytes_max} that the operator's may take there (`state.memory`)"
            ));
        }
        let of_operator = self.tasks.get(shadow.start.operator).map_or(0, Task::state_bytes);
        let tally = ShadowTally {
            state_old_bytes: of_operator as u64,
            state_new_bytes: held as u64,
            ..std::mem::take(&mut shadow.tally)
        };
        Some(ShadowPart { tally, over: shadow.over.clone() })
    }

    /// The epoch of the last part is in the store: what the shadow did in it stays in its overlay.
    pub(super) fn shadow_applied(&mut self) {
        let Some(shadow) = &mut self.shadow else { return };
        let changes = std::mem::take(&mut shadow.changes);
        if let Err(error) = shadow.overlay.write(&[changes], &[], false) {
            shadow.end(error.to_string());
        }
        shadow.task.applied(shadow.frozen, usize::MAX);
    }

    /// Everything since the newest commit is dropped, of the shadow as well.
    pub(super) fn reset_shadow(&mut self) -> Result<(), WorkerError> {
        self.shadow_next = None;
        let Some(shadow) = &mut self.shadow else { return Ok(()) };
        shadow.changes = ChangeSet::default();
        shadow.frozen = 0;
        shadow.tally = ShadowTally::default();
        shadow.task.reset()?;
        Ok(())
    }
}
