use super::seat::Previous;
use super::{Step, Swaps, UnderWay};
use crate::swap::{EventKind, GenerationStatus, Probation, SwapDone, SwapEvent, SwapKind, SwapPhase, SwapRefused};
use millstream_model::ids::Digest;
use std::sync::Arc;

impl Swaps {
    /// The commit that names the new version is made: it stands.
    pub(super) fn settle(&mut self) {
        let Some(under_way) = self.under_way.take() else { return };
        let UnderWay { operator, kind, probation, plan, because, done, trial_records, pauses, .. } = under_way;
        let pause = pauses.longest();
        let (now_ms, since_ms) = (self.now_ms(), self.maker.shared.clock.now_ms());
        let before = std::mem::replace(&mut self.committed, Arc::clone(&self.running));
        self.maker.shared.board.show_lineup(&self.committed);
        let (Some(node), Some(seat)) = (self.committed.plan.operators.get(operator), self.seats.get_mut(operator))
        else {
            return;
        };
        let old = std::mem::take(&mut seat.tally);
        let is_return = kind == SwapKind::Return;
        seat.previous = before
            .operators
            .get(operator)
            .filter(|_| !is_return)
            .map(|parts| Previous { parts: Arc::clone(parts), no_return: plan.no_return.clone() });
        seat.probation = (!is_return && probation.records > 0).then(|| Probation::new(probation, old, now_ms));
        let (generation, digest) = (node.generation, node.digest);
        let event = if is_return { EventKind::Returned } else { EventKind::Switched };
        tracing::info!(operator = node.id, %generation, %digest, trial_records, because, "another version has taken over");
        let answer = SwapDone {
            operator: node.id.clone(),
            generation,
            digest,
            trial_records,
            pause,
            no_return: plan.no_return,
            notes: plan.notes,
        };
        let status = GenerationStatus { generation, digest, since_ms: Some(since_ms), trial_records, pause };
        self.maker.shared.board.update_swap(operator, |shown| shown.switch(status));
        let reason = match (is_return, trial_records) {
            (true, _) => because,
            (false, 0) => "no record came in its trial: it is unproven".to_owned(),
            (false, _) => String::new(),
        };
        self.tell(operator, event, digest, reason);
        self.show();
        if let Some(done) = done {
            done(Ok(answer));
        }
    }

    /// Ends the swap under way: the version that runs goes on.
    pub(super) fn give_up(&mut self, refused: SwapRefused) {
        if let Some(under_way) = self.under_way.take() {
            self.refuse(under_way, refused);
        }
    }

    pub(super) fn refuse(&mut self, under_way: UnderWay, refused: SwapRefused) {
        let operator = under_way.operator;
        let digest = under_way.digest();
        tracing::warn!(%digest, "{refused}");
        self.tell(operator, EventKind::Refused, digest, refused.to_string());
        self.show();
        if let Some(done) = under_way.done {
            done(Err(refused));
        }
    }

    /// The run ends: whoever still waits hears that.
    pub(in crate::run) fn end(&mut self) {
        self.end_shadow("the run ended");
        let Some(under_way) = self.under_way.take() else { return };
        let node = self.committed.plan.operators.get(under_way.operator);
        let operator = node.map(|node| node.id.clone()).unwrap_or_default();
        let failure = match &under_way.step {
            Step::Confirming(failure, _) => Some(failure.clone()),
            _ => None,
        };
        self.refuse(under_way, SwapRefused::Ended { operator, failure });
    }

    /// Shows an event.
    pub(super) fn tell(&self, operator: usize, kind: EventKind, digest: Digest, reason: String) {
        let event = SwapEvent { at_ms: self.maker.shared.clock.now_ms(), kind, digest, reason };
        self.maker.shared.board.update_swap(operator, |shown| shown.event = Some(event));
    }

    /// Shows how far everything is.
    pub(super) fn show(&self) {
        for (operator, seat) in self.seats.iter().enumerate() {
            let under_way = self.under_way.as_ref().filter(|under_way| under_way.operator == operator);
            let phase = match (under_way, &seat.probation) {
                (Some(under_way), _) => under_way.phase(),
                (None, Some(probation)) => {
                    let (records, of) = probation.progress();
                    SwapPhase::Probation { records, of }
                }
                (None, None) => SwapPhase::Steady,
            };
            self.maker.shared.board.update_swap(operator, |shown| {
                shown.phase = phase;
                shown.can_return = seat.can_return();
                shown.done = seat.tally;
            });
        }
    }
}
