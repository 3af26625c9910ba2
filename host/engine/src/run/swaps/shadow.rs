use super::Swaps;
use super::sample::Proposed;
use crate::call::OwnMetrics;
use crate::ports::{Operator, OperatorFactory, StateBackend};
use crate::run::prepare::Preparation;
use crate::swap::shadow::ShadowTally;
use crate::swap::{ShadowAnswer, ShadowStatus, SwapRefused};
use crate::task::{Overlay, TaskParts};
use crate::worker::{Part, ShadowSeat, ShadowStart};
use millstream_model::commit::Catalog;
use millstream_model::descriptor::Descriptor;
use std::sync::Arc;

/// A version that runs beside the one that counts, or is about to.
pub(super) struct Shadowing {
    operator: usize,
    step: Step,
    /// What it did in epochs that are cut and not yet committed.
    pending: ShadowTally,
    status: ShadowStatus,
    /// Hears that it began.
    done: Option<ShadowAnswer>,
}

/// How far a shadow is.
enum Step {
    /// Instances are made.
    Preparing(Preparation, Box<Proposed>),
    /// It waits for the next cut.
    Armed(Arc<ShadowStart>),
    /// Workers begin it once the epoch before is in the store.
    Starting(Arc<ShadowStart>),
    /// It follows.
    Running,
}

impl Swaps {
    /// Begins to begin a shadow, or tells why not.
    pub(super) fn ask_shadow(
        &mut self,
        (operator, factory): (String, Arc<dyn OperatorFactory>),
        done: ShadowAnswer,
        catalog: &Catalog,
    ) {
        let busy = self.under_way.as_ref().map(|under_way| (under_way.operator, under_way.phase().name()));
        if let Some((at, phase)) = busy.or(self.shadowing.as_ref().map(|shadowing| (shadowing.operator, "shadow"))) {
            let node = self.committed.plan.operators.get(at);
            let operator = node.map(|node| node.id.clone()).unwrap_or_default();
            done(Err(SwapRefused::Busy { operator, phase }));
            return;
        }
        let proposed = match self.propose_parts(&operator, &factory, catalog) {
            Ok(proposed) => proposed,
            Err(refused) => {
                done(Err(refused));
                return;
            }
        };
        let status =
            ShadowStatus { digest: factory.digest(), since_ms: None, over: None, tally: ShadowTally::default() };
        self.shadowing = Some(Shadowing {
            operator: proposed.at,
            step: Step::Preparing(Preparation::begin(&operator, &factory, self.workers), Box::new(proposed)),
            pending: ShadowTally::default(),
            status,
            done: Some(done),
        });
        self.show_shadow();
    }

    /// Ends the shadow of an operator because somebody asks for it.
    pub(super) fn discard_shadow(&mut self, operator: String, done: ShadowAnswer) {
        let nodes = &self.committed.plan.operators;
        let of = self.shadowing.as_ref().and_then(|shadowing| nodes.get(shadowing.operator));
        if of.is_none_or(|node| node.id != operator) {
            done(Err(SwapRefused::NoShadow { operator }));
            return;
        }
        match self.end_shadow("it was discarded") {
            Some(status) => done(Ok(status)),
            None => done(Err(SwapRefused::NoShadow { operator })),
        }
    }

    /// Ends the shadow, if there is one.
    pub(super) fn end_shadow(&mut self, reason: &str) -> Option<ShadowStatus> {
        self.shadowing.as_mut()?.status.over.get_or_insert(reason.to_owned());
        self.show_shadow();
        let Shadowing { operator, status, done, .. } = self.shadowing.take()?;
        self.shadow_ended = true;
        if let Some(done) = done {
            let node = self.committed.plan.operators.get(operator);
            let operator = node.map(|node| node.id.clone()).unwrap_or_default();
            done(Err(SwapRefused::Ended { operator, failure: None }));
        }
        Some(status)
    }

    /// Whether workers have to be told that the shadow is over.
    pub(in crate::run) fn take_shadow_end(&mut self) -> bool {
        std::mem::take(&mut self.shadow_ended)
    }

    /// Looks whether the instances are made.
    pub(super) fn tend_shadow(&mut self) {
        let Some(shadowing) = &mut self.shadowing else { return };
        let Step::Preparing(preparation, proposed) = &shadowing.step else { return };
        match preparation.poll() {
            Some(Ok(instances)) => {
                let before = self.committed.plan.operators.get(shadowing.operator);
                let before = before.map(|node| node.descriptor.clone()).unwrap_or_default();
                shadowing.step = Step::Armed(Arc::new(start(proposed, &before, instances)));
            }
            Some(Err(error)) => {
                let done = shadowing.done.take();
                self.end_shadow(&error.to_string());
                if let Some(done) = done {
                    done(Err(error.into()));
                }
            }
            None => {}
        }
    }

    pub(super) fn shadow_is_armed(&self) -> bool {
        self.under_way.is_none() && self.shadowing.as_ref().is_some_and(|it| matches!(it.step, Step::Armed(_)))
    }

    /// The shadow to begin behind a cut that is made now.
    pub(in crate::run) fn take_shadow(&mut self) -> Option<Arc<ShadowStart>> {
        if !self.shadow_is_armed() {
            return None;
        }
        let shadowing = self.shadowing.as_mut()?;
        let Step::Armed(start) = &shadowing.step else { return None };
        let start = Arc::clone(start);
        shadowing.step = Step::Starting(Arc::clone(&start));
        Some(start)
    }

    /// Takes note of what it did in an epoch, all parts of which are in.
    pub(super) fn take_shadow_parts(&mut self, parts: &[Part]) {
        let Some(shadowing) = &mut self.shadowing else { return };
        let parts = parts.iter().filter_map(|part| part.shadow.as_ref());
        let (mut state_old_bytes, mut state_new_bytes, mut over) = (0, 0, None);
        for part in parts {
            shadowing.pending.add(&part.tally);
            state_old_bytes += part.tally.state_old_bytes;
            state_new_bytes += part.tally.state_new_bytes;
            over = over.or_else(|| part.over.clone());
        }
        (shadowing.pending.state_old_bytes, shadowing.pending.state_new_bytes) = (state_old_bytes, state_new_bytes);
        if over.is_some() {
            shadowing.status.over = over;
        }
    }

    /// An epoch is over: what it did counts if that is committed.
    pub(super) fn shadow_epoch_done(&mut self, is_committed: bool) {
        let now_ms = self.maker.shared.clock.now_ms();
        let Some(shadowing) = &mut self.shadowing else { return };
        if matches!(shadowing.step, Step::Starting(_)) {
            shadowing.step = Step::Running;
            shadowing.status.since_ms = Some(now_ms);
            if let Some(done) = shadowing.done.take() {
                done(Ok(shadowing.status.clone()));
            }
        } else if is_committed && matches!(shadowing.step, Step::Running) {
            let pending = std::mem::take(&mut shadowing.pending);
            let tally = &mut shadowing.status.tally;
            tally.add(&pending);
            (tally.state_old_bytes, tally.state_new_bytes) = (pending.state_old_bytes, pending.state_new_bytes);
        }
        if let Some(over) = shadowing.status.over.clone() {
            self.end_shadow(&over);
        }
        self.show_shadow();
    }

    /// Everything since the newest commit is dropped.
    pub(super) fn shadow_rolled_back(&mut self) {
        let Some(shadowing) = &mut self.shadowing else { return };
        shadowing.pending = ShadowTally::default();
        if let Step::Starting(start) = &shadowing.step {
            // No worker has taken anything of it.
            shadowing.step = Step::Armed(Arc::clone(start));
        }
    }

    fn show_shadow(&self) {
        if let Some(shadowing) = &self.shadowing {
            let status = shadowing.status.clone();
            self.maker.shared.board.update_swap(shadowing.operator, |shown| shown.shadow = Some(status));
        }
    }
}

/// What workers need, each over an overlay of its own: none of them sees the keys of another.
fn start(proposed: &Proposed, before: &Descriptor, instances: Vec<Box<dyn Operator>>) -> ShadowStart {
    let mut outputs = before.outputs.clone();
    let mut ports = Vec::new();
    for name in &proposed.parts.node.descriptor.outputs {
        let at = outputs.iter().position(|output| output == name).unwrap_or_else(|| {
            outputs.push(name.clone());
            outputs.len() - 1
        });
        ports.push(u16::try_from(at).unwrap_or(u16::MAX));
    }
    let seats = instances.into_iter().map(|instance| {
        let overlay = Arc::new(Overlay::new(Arc::clone(&proposed.parts.store)));
        let parts = TaskParts {
            node: proposed.parts.node.clone(),
            factory: Arc::clone(&proposed.parts.factory),
            rules: Arc::new(proposed.parts.rules.with_metrics(Arc::new(OwnMetrics::default()))),
            columns: proposed.parts.columns.clone(),
            older_versions: proposed.parts.older_versions.clone(),
            store: Arc::clone(&overlay) as Arc<dyn StateBackend>,
        };
        ShadowSeat { parts: Arc::new(parts), overlay, instance }
    });
    ShadowStart::new(proposed.at, proposed.swap.inputs.clone(), (outputs, ports), seats.collect())
}
